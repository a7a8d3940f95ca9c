"""What runs the shards of a study: this process, processes beside it, or Ray."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

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
    todo = missing_shards(folder, units)
    workers = min(workers or machine.cores(), len(todo)) if study.processes else 1
    total = int(units.table["shard"].max())
    # A single shard shows its own progress.
    small = study.processes and total > 1
    with Progress(study.short_name, total, total - len(todo), quiet=quiet or not small) as progress:
        if workers <= 1:
            for number in todo:
                run_shard(study, settings, folder, number, units, quiet or small)
                progress.advance()
            return
        # Threads and a CUDA context do not survive a fork.
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_worker)
        try:
            for _ in _side_by_side(pool, study, settings, folder, todo, workers):
                progress.advance()
        finally:
            pool.shutdown(cancel_futures=True)


def _side_by_side(
    pool: ProcessPoolExecutor, study: Study[Any], settings: Settings, folder: RunFolder, todo: list[int], workers: int
) -> Iterable[int]:
    """Numbers of the shards as they are done."""
    waiting = iter(todo)
    running: dict[Future[None], int] = {}
    while True:
        while len(running) < 2 * workers and (number := next(waiting, None)) is not None:
            running[pool.submit(run_one, _sent(study), settings, str(folder.path), number, 1)] = number
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            future.result()
            yield running.pop(future)


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


def run_one(study: Study[Any] | str, settings: Settings, path: str, number: int, threads: int | None = None) -> None:
    """One shard in a process of its own, which knows the folder only."""
    if threads is not None:
        torch.set_num_threads(threads)
    folder = RunFolder(path)
    study = find(study) if isinstance(study, str) else study
    run_shard(study, settings, folder, number, folder.read_units())


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
    todo = missing_shards(folder, units)
    total = int(units.table["shard"].max())
    sent, options, path = ray.put(_sent(study)), ray.put(settings), str(Path(folder.path).resolve())
    waiting = iter(todo)
    running: set[Any] = set()
    try:
        with Progress(f"{study.short_name} on ray", total, total - len(todo), quiet=quiet) as progress:
            while True:
                while len(running) < (workers or AHEAD) and (number := next(waiting, None)) is not None:
                    running.add(task.remote(sent, options, path, number, threads))
                if not running:
                    return
                done, _ = ray.wait(list(running), timeout=1.0)
                for reference in done:
                    _result(ray, reference)
                    running.remove(reference)
                    progress.advance()
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
