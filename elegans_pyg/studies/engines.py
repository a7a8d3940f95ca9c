"""What runs the shards of a study: this process, processes beside it, or Ray."""

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
"""How often a task of Ray is tried again after its worker, or its machine, was lost."""
AHEAD = 1_000
"""Tasks that Ray is given at a time: enough for it to choose from, and few enough for the driver's memory."""
POLL_S = 2.0
"""How often to look how far running shards are."""
T = TypeVar("T")
Engine = Callable[[Study[Any], Any, RunFolder, Units, bool], None]


def get(name: str, workers: int | None = None, address: str | None = None, cpus: int | None = None) -> Engine:
    """The engine of that name.

    Args:
        name: one of :data:`ENGINES`.
        workers: processes, or tasks at a time.
        address: of a Ray cluster.
        cpus: cores a task of Ray.

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
        return partial(_local, workers=workers)
    require("ray", "cluster", "the engine 'ray'")
    return partial(_ray, workers=workers, address=address, cpus=cpus)


def _local(study: Study[Any], settings: Settings, folder: RunFolder, units: Units, quiet: bool, workers: int | None) -> None:
    """Shards one after another in this process; or, where each keeps one core busy only, several side by side."""
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
    """Run all shards, up to ``ahead`` of them submitted at a time; the display also counts what has been done of those that run."""
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
    """Leave signals to the parent, and end with it: a killed parent cannot tell its workers to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _sent(study: Study[Any]) -> Study[Any] | str:
    """A study as it travels to another process: one of this package's by its name."""
    return study.name if study.name in RECIPES else study


def run_one(study: Study[Any] | str, settings: Settings, path: str, number: int, count: int, threads: int) -> None:
    """One shard in a process of its own, which knows the folder only."""
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
    """Shards as tasks of Ray Core; the run folder is on a file system that all machines share."""
    ray: Any = require("ray", "cluster", "the engine 'ray'")
    device = str(getattr(getattr(settings, "training", None), "device", "cpu"))
    threads = cpus or (1 if study.processes else machine.cores())
    resources = {"num_cpus": threads, "num_gpus": 1 if device.startswith("cuda") else 0}
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A Ray of our own talks to this machine alone.
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
    """What a task ended in: an error of the study is raised as it was, and not as Ray wraps it."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
