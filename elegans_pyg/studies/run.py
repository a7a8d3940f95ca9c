"""Running a study: prepare, split into shards, run them, join, report."""

import json
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import pandas as pd

from elegans_pyg import plots
from elegans_pyg._files import sha256
from elegans_pyg._progress import Progress
from elegans_pyg._settings import Settings
from elegans_pyg.datasets.graph_cache import hash_graph
from elegans_pyg.studies import engines, machine
from elegans_pyg.studies.folder import RunFolder
from elegans_pyg.studies.html_report.page import FILE, Part, answer_of, render
from elegans_pyg.studies.shards import missing_shards, run_shard, split
from elegans_pyg.studies.study import Finished, Interrupted, Report, Study
from elegans_pyg.studies.units import Units
from elegans_pyg.training.settings import resolve_device

S = TypeVar("S", bound=Settings)
_SUBJECTS = ("dataset", "connectome", "wiring", "runs", "membranes", "scenario")
"""Settings that say what a run is of."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class StudyResult(Generic[S]):
    """What a study ends in: one row a unit with its scores, the report, the run folder if one was asked for, and the figures' files there,
    without their suffixes; ``seconds`` is what this call took."""

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
) -> StudyResult[S]:
    """Run a study, or go on with one, to its report.

    A run can be killed at any moment, and resumed to the same end: bit for bit on one machine with one number of threads, and to rounding
    elsewhere. Ctrl-C, SIGTERM and SIGHUP let the step in hand finish, and raise :class:`Interrupted`.

    Args:
        study: from a recipe, such as :data:`elegans_pyg.recipes.ensemble.ENSEMBLE`, or your own.
        settings: default: the study's own.
        out: run folder, see :class:`~elegans_pyg.studies.folder.RunFolder`. ``None`` keeps nothing.
        engine: ``"local"``: this process (and ``workers`` processes for studies of small independent pieces). ``"ray"``: tasks of Ray
            (extra ``cluster``).
        resume: go on with the run in ``out``, which must have the same settings (those that say where to compute may differ), wirings and
            data. A folder without a run is begun; a finished run is left as it is.
        quiet: show warnings only.
        workers: processes of the local engine (default: one a core), or tasks of Ray at a time.
        address: of a Ray cluster; ``None`` for one on this machine.
        cpus: cores a task of Ray (default: one for studies of small independent pieces, all of this machine's for others).
        shards: how many shards to split into at least; default: as few as fit in memory.

    Raises:
        ValueError: if the settings do not fit together, do not fit in memory, or are not those of the run to resume.
        FileExistsError: if ``out`` holds something, and ``resume`` is not given.
        FolderInUse: if another process works in ``out``.
        OSError: if a file cannot be read or written.
    """
    started = time.monotonic()
    settings = (study.make() if settings is None else settings).with_absolute_paths()
    run = engines.get(engine, workers, address, cpus)
    temporary = None
    if out is None:
        if resume:
            raise ValueError("out: expected the folder of the run to resume, got none; give it")
        temporary = tempfile.mkdtemp(prefix="elegans-pyg-")
    folder = RunFolder(temporary or out)  # type: ignore[arg-type]
    try:
        with stopped_by_signals(), folder.claim():
            units, finished = prepare(study, settings, folder, resume, shards, quiet=quiet)
            if finished:
                Progress("", 1, quiet=quiet).message(f"{folder.path} holds a finished run; nothing is left to do")
            else:
                run(study, settings, folder, units, quiet)
            report, figures = join(study, settings, folder, units, write=not finished)
            rows = folder.read_table("results.csv")
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    kept = None if temporary else folder.path
    return StudyResult(settings, rows, report, kept, figures if kept else [], time.monotonic() - started)


def run_array_shard(study: Study[S], settings: S, out: str | Path, number: int, count: int, *, quiet: bool = False) -> None:
    """Run shard ``number`` of ``count`` of a study, with no engine: for the job arrays of a cluster, all on one shared folder.

    The first job to come writes what the run begins with. :func:`join_folder` reports once all are done.

    Raises:
        ValueError: if ``number`` is not from 1 to ``count``, or the run there has other settings or another number of shards.
    """
    if not 1 <= number <= count:
        raise ValueError(f"shard: expected I/N with I from 1 to N, got {number}/{count}; change it")
    settings, folder = settings.with_absolute_paths(), RunFolder(out)
    with stopped_by_signals():
        # Only the first job writes; the others must not wait for each other's checks.
        with nullcontext() if folder.started() else folder.claim(wait_s=600):
            units, finished = prepare(study, settings, folder, resume=True, shards=count, quiet=quiet)
        there = int(units.table["shard"].max())
        if there != count:
            raise ValueError(f"shard: the run in {folder.path} has {there} shards, got {number}/{count}; give /{there}, or another folder")
        if not finished:
            run_shard(study, settings, folder, number, count, quiet)


def join_folder(study: Study[S], settings: S, folder: RunFolder) -> StudyResult[S]:
    """Report on a run whose shards were run apart.

    Raises:
        ValueError: if some are not done; the message names them.
    """
    started = time.monotonic()
    with folder.claim():
        finished = folder.finished()
        report, figures = join(study, settings, folder, folder.read_units(), write=not finished)
        rows = folder.read_table("results.csv")
    return StudyResult(settings, rows, report, folder.path, figures, time.monotonic() - started)


def prepare(
    study: Study[S], settings: S, folder: RunFolder, resume: bool, shards: int | None = None, *, quiet: bool = False
) -> tuple[Units, bool]:
    """Check everything that can be checked, and write what a run begins with; or check that the run there is this one.

    Returns:
        the units, with their shards, and whether the run is finished.
    """
    state = folder.started()
    if state and not resume:
        raise FileExistsError(f"out: {folder.path} holds a run already; give another folder, or add --resume to go on with it")
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
                raise ValueError(f"resume: the {what} of {folder.path} are not those that its run began with; put them back, or start anew")
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


def join(study: Study[S], settings: S, folder: RunFolder, units: Units, write: bool = True) -> tuple[Report, list[Path]]:
    """Put the rows of all shards together and report; with ``write``, write results, tables, figures and summary.

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
        for path, figure in zip(paths, report.figures.values(), strict=True):
            plots.save(figure, path)
        folder.write(FILE, render([Part(study, settings, units, folder, rows, report)], folder.path))
        comparison = {} if report.comparison is None else {"comparison": report.comparison.to_dict()}
        answer = answer_of(report, settings)
        summary = {"study": study.name, "answer": answer, "score": study.score, "units": len(rows), **dict(report.findings), **comparison}
        folder.finish({**summary, "notes": report.notes, "machine": machine.describe()})
    return report, paths


def entitle(report: Report, settings: Settings, rows: pd.DataFrame) -> None:
    """Give every figure a title: data set, connectome or runs that the settings name, and then its own title, or else the families."""
    values = [getattr(settings, name, None) for name in _SUBJECTS]
    # A number of runs names none.
    names = [name for value in values for name in (value if isinstance(value, tuple) else (value,)) if isinstance(name, str)]
    subject = ", ".join(Path(name).name for name in names)
    families = [str(family) for family in rows["family"].unique()] if "family" in rows else []
    listed = ", ".join(families) if len(families) <= 4 else f"{families[0]} and {len(families) - 1} more families"
    for figure in report.figures.values():
        plots.titled(figure, ": ".join(filter(None, (subject, figure.get_suptitle() or listed))))


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP raise :class:`Interrupted`, as Ctrl-C raises ``KeyboardInterrupt``.

    Training takes them (and Ctrl-C) itself while it lasts, to finish its step and to save.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            # A process told to ignore a signal (nohup) goes on ignoring it.
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_settings(study: Study[S], settings: S, folder: RunFolder) -> None:
    name = folder.study_name()
    if name != study.name:
        remedy = f"elegans-pyg {name} --resume --out {folder.path}"
        raise ValueError(f"out: {folder.path} holds a run of another command; go on with it by: {remedy}")
    before, now = folder.read_config(study.settings).fixed(), settings.fixed()
    different = [key for key in _flat(now) if _flat(before).get(key) != _flat(now)[key]]
    if different:
        key = different[0]
        raise ValueError(
            f"resume: {key} is {_flat(before).get(key)!r} in {folder.path / 'config.yaml'}, and {_flat(now)[key]!r} was given; leave the"
            " option out to go on, or start anew in another folder"
        )


def _warn_of_differences(before: Mapping[str, Any], here: Mapping[str, Any], quiet: bool) -> None:
    old, new = _flat(before), _flat(here)
    changed = [f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]
    if changed:
        Progress("", 1, quiet=quiet).warn(f"the run began elsewhere ({'; '.join(changed)}): results may differ in the last digits")


def _here(settings: Settings) -> dict[str, Any]:
    """What the last bits of a result can depend on, the device and the executor of DAGs among it."""
    here, fields = machine.describe(), settings.flat_fields()
    if "device" in fields:
        device = resolve_device(settings.training.device)  # type: ignore[attr-defined]
        here["device"] = str(device)
        if "executor" in fields:
            here["executor"] = machine.executor_for(settings.executor, device)  # type: ignore[attr-defined]
    return here


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value) if isinstance(value, Mapping) and value else {name: value}
    return flat


def _hash(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode())
