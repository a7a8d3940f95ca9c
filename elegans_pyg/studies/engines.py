"""Engines that run the shards of a study: in this process, in worker processes, or on Ray."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

import torch

from elegans_pyg._extras import require
from elegans_pyg._progress import Progress
from elegans_pyg._settings import Settings
from elegans_pyg.studies import machine
from elegans_pyg.studies.folder import RunFolder
from elegans_pyg.studies.registry import RECIPES, find
from elegans_pyg.studies.shards import missing_shards, run_shard
from elegans_pyg.studies.study import Study
from elegans_pyg.studies.units import Units

ENGINES = ("local", "ray")
RETRIES = 5
"""How often a Ray task is retried after its worker, or its machine, was lost."""
AHEAD = 1_000
"""Most tasks submitted to Ray at a time: enough for its scheduler, and few enough for the driver's memory."""
POLL_S = 2.0
"""Seconds between two readings of the progress of running shards."""
T = TypeVar("T")
Engine = Callable[[Study[Any], Any, RunFolder, Units, bool], None]


def get(name: str, processes: bool = True, workers: int | None = None, address: str | None = None, cpus: int | None = None) -> Engine:
    """Return the engine of that name.

    Args:
        name: one of :data:`ENGINES`.
        processes: whether the study's shards use one core each, so that the local engine can run several.
        workers: number of processes, or of Ray tasks at a time.
        address: address of a Ray cluster.
        cpus: cores per Ray task.

    Raises:
        ValueError: for another name, a number below 1, or an option that the engine does not have.
        ImportError: if the extra ``cluster`` is missing.
    """
    if name not in ENGINES:
        raise ValueError(f"engine: unknown choice {name!r}; choose from {', '.join(ENGINES)}")
    for option, value in (("workers", workers), ("cpus", cpus)):
        if value is not None and value < 1:
            raise ValueError(f"{option}: expected at least 1, got {value}; leave it out for the default")
    if name == "local":
        for option, given in (("address", address), ("cpus", cpus)):
            if given is not None:
                raise ValueError(f"{option}: only the engine 'ray' has this option; add --engine ray, or leave it out")
        if not processes and (workers or 1) > 1:
            raise ValueError(f"workers: a shard of this study uses all cores, so they run one after another, got {workers}; leave it out")
        return partial(_local, workers=workers)
    require("ray", "cluster", "the engine 'ray'")
    return partial(_ray, workers=workers, address=address, cpus=cpus)


def _local(study: Study[Any], settings: Settings, folder: RunFolder, units: Units, quiet: bool, workers: int | None) -> None:
    """Run shards one after another in this process, or, where each uses one core only, several in parallel processes."""
    todo, total = missing_shards(folder, units), int(units.table["shard"].max())
    workers = min(workers or machine.cores(), len(todo)) if study.processes else 1
    small = study.processes and total > 1
    with Progress(study.short_name, total, total - len(todo), quiet=quiet or not small) as progress:
        if workers <= 1:
            for number in todo:
                # A large shard shows its own progress.
                run_shard(study, settings, folder, number, total, quiet or small)
                progress.advance()
            return
        # Threads and a CUDA context do not survive a fork.
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_worker)

        def submit(number: int) -> Future[None]:
            return pool.submit(run_one, _sent(study), settings, str(folder.path), number, total, 1)

        def collect(running: Iterable[Future[None]]) -> Iterable[Future[None]]:
            done = wait(running, POLL_S, FIRST_COMPLETED).done
            for future in done:
                future.result()
            return done

        try:
            _keep_busy(progress, folder, todo, 2 * workers, submit, collect)
        finally:
            pool.shutdown(cancel_futures=True)


def _keep_busy(
    progress: Progress,
    folder: RunFolder,
    todo: Iterable[int],
    ahead: int,
    submit: Callable[[int], T],
    collect: Callable[[Iterable[T]], Iterable[T]],
) -> None:
    """Run all shards, up to ``ahead`` of them submitted at a time; the progress shown includes the finished part of running shards."""
    waiting, finished, shown = iter(todo), int(progress.done), time.monotonic()
    running: dict[T, int] = {}
    while True:
        while len(running) < ahead and (number := next(waiting, None)) is not None:
            running[submit(number)] = number
        if not running:
            return
        for job in collect(running):
            del running[job]
            finished += 1
        shares = 0.0
        if time.monotonic() - shown >= POLL_S:
            shares, shown = sum(folder.shard(number).progress() for number in running.values()), time.monotonic()
        progress.update(max(progress.done, finished + shares))


def _worker() -> None:
    """Leave Ctrl-C to the parent process, and exit when it does: a killed parent cannot stop its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _sent(study: Study[Any]) -> Study[Any] | str:
    """What is sent to another process: the name of a study of this package, or the study itself."""
    return study.name if study.name in RECIPES else study


def run_one(study: Study[Any] | str, settings: Settings, path: str, number: int, count: int, threads: int) -> None:
    """Run one shard in a process of its own, which gets the run folder's path only."""
    torch.set_num_threads(threads)
    run_shard(find(study) if isinstance(study, str) else study, settings, RunFolder(path), number, count)


def _ray(
    study: Study[Any],
    settings: Settings,
    folder: RunFolder,
    units: Units,
    quiet: bool,
    workers: int | None,
    address: str | None,
    cpus: int | None,
) -> None:
    """Run shards as Ray Core tasks; the run folder is on a file system that all machines share."""
    ray: Any = require("ray", "cluster", "the engine 'ray'")
    device = str(getattr(getattr(settings, "training", None), "device", "cpu"))
    threads = cpus or (1 if study.processes else machine.cores())
    resources = {"num_cpus": threads, "num_gpus": 1 if device.startswith("cuda") else 0}
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A Ray instance started here listens on this machine only.
        own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address is None else {}
        ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
    task = ray.remote(max_retries=RETRIES, **resources)(run_one)
    todo, total = missing_shards(folder, units), int(units.table["shard"].max())
    sent, options, path = ray.put(_sent(study)), ray.put(settings), str(folder.path.resolve())
    running: set[Any] = set()

    def submit(number: int) -> Any:
        reference = task.remote(sent, options, path, number, total, threads)
        running.add(reference)
        return reference

    def collect(references: Iterable[Any]) -> list[Any]:
        some, rest = ray.wait(list(references), timeout=POLL_S)
        done = [*some, *ray.wait(rest, num_returns=len(rest), timeout=0)[0]] if some and rest else some
        for reference in done:
            running.remove(reference)
            _result(ray, reference)
        return done

    try:
        with Progress(f"{study.short_name} on ray", total, total - len(todo), quiet=quiet) as progress:
            _keep_busy(progress, folder, todo, workers or AHEAD, submit, collect)
    except KeyboardInterrupt:
        for reference in running:
            ray.cancel(reference)
        raise
    finally:
        if started:
            ray.shutdown()


def _result(ray: Any, reference: Any) -> None:
    """Wait for a task; an error in the study is raised as it was, not wrapped by Ray."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
