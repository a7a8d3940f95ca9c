"""Run a study: prepare it, split it into shards, run them, join the results and report."""

import json
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import pandas as pd

from elegans_pyg import plots
from elegans_pyg._files import sha256
from elegans_pyg._progress import Progress, counted
from elegans_pyg._settings import Settings
from elegans_pyg.datasets.graph_cache import hash_graph
from elegans_pyg.studies import engines, machine
from elegans_pyg.studies.folder import RunFolder
from elegans_pyg.studies.html_report.page import FILE, Part, answer_of, render
from elegans_pyg.studies.shards import missing_shards, run_shard, split
from elegans_pyg.studies.study import Finished, Interrupted, Report, Study
from elegans_pyg.studies.units import Units
from elegans_pyg.training.objective import float_dtype
from elegans_pyg.training.settings import resolve_device

S = TypeVar("S", bound=Settings)
_SUBJECTS = ("dataset", "connectome", "wiring", "runs", "membranes", "scenario")
"""Settings that say what a run is of."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class StudyResult(Generic[S]):
    """Result of a study: one row per unit with its scores, the report, the run folder (``None`` if none was kept) and the figures' files in
    it, without suffixes; ``seconds`` is the wall-clock time of this call."""

    settings: S
    results: pd.DataFrame
    report: Report
    out: Path | None
    figures: list[Path]
    seconds: float

    @property
    def comparison(self) -> Any:
        return self.report.comparison


def run_study(
    study: Study[S],
    settings: S | None = None,
    out: str | Path | None = None,
    engine: str = "local",
    resume: bool = False,
    *,
    quiet: bool = False,
    workers: int | None = None,
    address: str | None = None,
    cpus: int | None = None,
    shards: int | None = None,
    tell: Callable[[Report], None] | None = None,
) -> StudyResult[S]:
    """Run or resume a study, and report its results.

    A run can be killed at any moment and resumed with the same result: bit for bit on the same machine with the same number of threads, and
    up to rounding elsewhere. On Ctrl-C, SIGTERM or SIGHUP the current step finishes, and :class:`Interrupted` is raised.

    Args:
        study: from a recipe, such as :data:`elegans_pyg.recipes.ensemble.ENSEMBLE`, or your own.
        settings: default: the study's own.
        out: run folder, see :class:`~elegans_pyg.studies.folder.RunFolder`. ``None`` keeps no files.
        engine: ``"local"``: this process (and ``workers`` processes for studies whose shards use one core each). ``"ray"``: Ray tasks
            (extra ``cluster``).
        resume: resume the run in ``out``, which must have the same settings (those that say where to compute may differ), wirings and
            data. In a folder without a run, a new run starts; a finished run is not changed.
        quiet: show warnings only.
        workers: processes of the local engine (default: one per core), or Ray tasks at a time.
        address: address of a Ray cluster; ``None`` starts one on this machine.
        cpus: cores per Ray task (default: one for studies whose shards use one core each, all of this machine's for others).
        shards: number of shards; default: as few as fit in memory.
        tell: called with the report as soon as the results are written, before the figures are drawn.

    Raises:
        ValueError: if the settings do not fit together, do not fit in memory, or are not those of the run to resume.
        FileExistsError: if ``out`` is not empty and ``resume`` is not set, or it holds something other than a run.
        FolderInUse: if another process is using ``out``.
        OSError: if a file cannot be read or written.
    """
    started = time.monotonic()
    settings = (study.make() if settings is None else settings).with_absolute_paths()
    run = engines.get(engine, study.processes, workers, address, cpus)
    temporary = None
    if out is None:
        if resume:
            raise ValueError("out: expected the folder of the run to resume, got none; give one")
        temporary = tempfile.mkdtemp(prefix="elegans-pyg-")
    folder = RunFolder(temporary or out)  # type: ignore[arg-type]
    try:
        with stopped_by_signals(), folder.claim():
            units, finished = prepare(study, settings, folder, resume, shards, quiet=quiet)
            message = Progress("", 1, quiet=quiet).message
            if finished:
                message(f"{folder.path} holds a finished run; nothing is left to do")
            else:
                message(f"{counted(len(units.table), 'unit')} in {counted(units.table['shard'].nunique(), 'shard')}")
                run(study, settings, folder, units, quiet)
            report, figures = join(study, settings, folder, units, write=not finished, quiet=quiet, tell=tell)
            rows = folder.read_table("results.csv")
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    kept = None if temporary else folder.path
    return StudyResult(settings, rows, report, kept, figures if kept else [], time.monotonic() - started)


def run_array_shard(study: Study[S], settings: S, out: str | Path, number: int, count: int, *, quiet: bool = False) -> None:
    """Run shard ``number`` of ``count`` of a study, for the job arrays of a cluster, all with one shared folder.

    The first job to start writes settings, units and wirings. :func:`join_folder` reports once all shards are done.

    Raises:
        ValueError: if ``number`` is not from 1 to ``count``, or the run there has other settings or another number of shards.
    """
    if not 1 <= number <= count:
        raise ValueError(f"shard: expected I/N with I from 1 to N, got {number}/{count}; change it")
    settings, folder = settings.with_absolute_paths(), RunFolder(out)
    with stopped_by_signals():
        prepared = None
        if not folder.started():
            with folder.claim(wait_s=600):
                # Only the first job writes; the others must not wait for each other's checks.
                if not folder.started():
                    prepared = prepare(study, settings, folder, resume=True, shards=count, quiet=quiet)
        units, finished = prepared or prepare(study, settings, folder, resume=True, shards=count, quiet=quiet)
        there = int(units.table["shard"].max())
        if there != count:
            raise ValueError(f"shard: the run in {folder.path} has {there} shards, got {number}/{count}; give /{there}, or another folder")
        if not finished:
            run_shard(study, settings, folder, number, count, quiet)


def join_folder(study: Study[S], settings: S, folder: RunFolder, tell: Callable[[Report], None] | None = None) -> StudyResult[S]:
    """Join and report a run whose shards were run separately; for ``tell`` see :func:`run_study`.

    Raises:
        ValueError: if some are not done; the message names them.
    """
    started = time.monotonic()
    with folder.claim():
        finished = folder.finished()
        report, figures = join(study, settings, folder, folder.read_units(), write=not finished, quiet=False, tell=tell)
        rows = folder.read_table("results.csv")
    return StudyResult(settings, rows, report, folder.path, figures, time.monotonic() - started)


def prepare(
    study: Study[S], settings: S, folder: RunFolder, resume: bool, shards: int | None = None, *, quiet: bool = False
) -> tuple[Units, bool]:
    """Check everything that can be checked before a run, and write its settings, units and wirings; for a run to resume, check that these
    have not changed.

    Returns:
        the units, with their shards, and whether the run is finished.
    """
    state = folder.started()
    if state and not resume:
        raise FileExistsError(f"out: {folder.path} holds a run already; give another folder, or add --resume to continue it")
    if state:
        _check_settings(study, settings, folder)
        if folder.finished():
            return folder.read_units(), True
    units = study.units(settings)
    identity = {
        "study": study.name,
        "settings": _hash(settings.fixed()),
        "units": _hash(units.table.to_csv(index=False)),
        "wirings": _hash([hash_graph(graph) for graph in units.wirings]),
        "data": {} if study.data is None else study.data(settings),
    }
    here = _here(settings)
    if state:
        before = folder.read_json("identity.json")
        for name in identity:
            if before.get(name) != identity[name]:
                what = {"units": "units", "wirings": "wirings (a file of them was changed)", "data": "images or other data"}.get(name, name)
                raise ValueError(f"resume: the {what} of {folder.path} have changed since its run started; restore them or start a new run")
        _warn_of_differences(before.get("machine", {}), here, quiet)
        return folder.read_units(), False
    table = units.table.assign(shard=split(study, settings, units, shards))
    units = Units(table, units.wirings)
    for note in units.notes:
        Progress("", 1, quiet=quiet).message(note)
    folder.write_units(units)
    folder.write_json("identity.json", {**identity, "machine": here})
    folder.write_config(study.name, settings)
    return units, False


def join(
    study: Study[S],
    settings: S,
    folder: RunFolder,
    units: Units,
    write: bool = True,
    *,
    quiet: bool = True,
    tell: Callable[[Report], None] | None = None,
) -> tuple[Report, list[Path]]:
    """Join the rows of all shards and report; with ``write``, write results, tables, figures, ``report.html`` and summary.

    Raises:
        ValueError: if shards are missing; the message names them.
    """
    numbers = sorted(units.table["shard"].unique().tolist())
    missing = missing_shards(folder, units)
    if missing:
        some = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
        raise ValueError(f"run: {len(missing)} of {len(numbers)} shards of {folder.path} are not done ({some}); run them first")
    rows = pd.concat([folder.shard(number).read_rows() for number in numbers], ignore_index=True)
    report = study.report(Finished(settings, rows, units, [folder.shard(number).path for number in numbers]))
    entitle(report, settings, rows)
    paths = [folder.path / "figures" / name for name in report.figures]
    if write:
        folder.write("results.csv", rows)
        for name, content in report.files.items():
            folder.write(name, content)
    if tell is not None:
        tell(report)
    if write:
        with Progress("figures", len(paths), quiet=quiet, patience_s=5) as progress:
            for path, figure in zip(paths, report.figures.values(), strict=True):
                plots.save(figure, path)
                progress.advance()
        folder.write(FILE, render([Part(study, settings, units, folder, rows, report)], folder.path))
        comparison = {} if report.comparison is None else {"comparison": report.comparison.to_dict()}
        answer = answer_of(report, settings)
        summary = {"study": study.name, "answer": answer, "score": study.score, "units": len(rows), **dict(report.findings), **comparison}
        finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
        folder.finish({**summary, "notes": report.notes, "machine": machine.describe(), "finished": finished})
    return report, paths


def entitle(report: Report, settings: Settings, rows: pd.DataFrame) -> None:
    """Give every figure a title: data set, connectome or runs that the settings name, then its own title, and the families if that names
    none."""
    values = [getattr(settings, name, None) for name in _SUBJECTS]
    # A number of runs names none.
    names = [name for value in values for name in (value if isinstance(value, tuple) else (value,)) if isinstance(name, str)]
    subject = ", ".join(Path(name).name for name in names)
    families = [str(family) for family in rows["family"].unique()] if "family" in rows else []
    listed = ", ".join(families) if len(families) <= 4 else f"{families[0]} and {len(families) - 1} more families"
    for figure in report.figures.values():
        own = figure.get_suptitle()
        if own and listed and not any(re.search(rf"(?<!\w){re.escape(family)}(?!\w)", own) for family in families):
            own = f"{own} ({listed})"
        plots.titled(figure, ": ".join(filter(None, (subject, own or listed))))


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP raise :class:`Interrupted`, as Ctrl-C raises ``KeyboardInterrupt``.

    Training handles them (and Ctrl-C) itself, to finish its step and write a checkpoint.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            # A signal that the process was told to ignore (nohup) stays ignored.
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_settings(study: Study[S], settings: S, folder: RunFolder) -> None:
    before, now = folder.read_config(study).flat(fixed=True), settings.flat(fixed=True)
    different = [key for key in now if before[key] != now[key]]
    if different:
        key = different[0]
        raise ValueError(
            f"resume: {key} is {before[key]!r} in {folder.path / 'config.yaml'}, and {now[key]!r} was given; leave the option out to"
            " resume, or start a new run in another folder"
        )


def _warn_of_differences(before: Mapping[str, Any], here: Mapping[str, Any], quiet: bool) -> None:
    old, new = _flat(before), _flat(here)
    # What is gone counts too: without Numba a run goes on, several times slower.
    changed = [f"{name} {old.get(name)} -> {new.get(name)}" for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        Progress("", 1, quiet=quiet).warn(
            f"the environment has changed ({'; '.join(changed)}): results may differ in the last digits, and speed"
        )


def _here(settings: Settings) -> dict[str, Any]:
    """Describe what the last digits of a result can depend on, including the device and the DAG executor."""
    here, fields = machine.describe(), settings.flat_fields()
    if "device" in fields:
        device = resolve_device(settings.training.device)  # type: ignore[attr-defined]
        here["device"] = str(device)
        if "executor" in fields:
            dtype = float_dtype(settings.training.precision)  # type: ignore[attr-defined]
            here["executor"] = machine.executor_for(settings.executor, device, dtype)  # type: ignore[attr-defined]
    return here


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value) if isinstance(value, Mapping) and value else {name: value}
    return flat


def _hash(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())
