"""The report page of one run, or of several runs side by side: findings, data, settings and files."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from elegans_pyg._settings import Settings
from elegans_pyg.analysis.answers import task_answers
from elegans_pyg.analysis.compare import Comparison
from elegans_pyg.datasets import Connectome
from elegans_pyg.studies.folder import RunFolder
from elegans_pyg.studies.html_report import charts, wirings
from elegans_pyg.studies.html_report.images import confusions, packed
from elegans_pyg.studies.study import Report, Study
from elegans_pyg.studies.tables import comparison_table, to_plain
from elegans_pyg.studies.units import Units

FILE = "report.html"
MOST_FIGURES = 3_000_000
"""Bytes of static figures that a page embeds; it links to the others."""
_UNTESTED = "This run is descriptive. It tests no hypothesis."


@dataclass(frozen=True)
class Part:
    """One run on the page.

    Args:
        study, settings, units, folder: as in :class:`~elegans_pyg.studies.Run`.
        rows: one row per unit with its scores, if the run is finished.
        report: the study's report.
        missing: sentences that say why parts are missing.
        name: name that distinguishes the run from others on the page.
    """

    study: Study[Any]
    settings: Settings
    units: Units
    folder: RunFolder
    rows: pd.DataFrame | None = None
    report: Report = field(default_factory=Report)
    missing: Sequence[str] = ()
    name: str = ""


def subject(settings: Settings) -> str:
    """Name the real wiring in a sentence."""
    name = getattr(settings, "connectome", None)
    return "the worm's wiring" if name is None or name in Connectome.names() else f"the wiring of {Path(name).stem}"


def answer_of(report: Report, settings: Settings) -> list[str]:
    """State a study's findings in sentences."""
    compared = report.comparisons or ({} if report.comparison is None else {"": report.comparison})
    return list(report.answer) or task_answers(compared, *_named(settings)) or [_UNTESTED]


def _named(settings: Settings) -> tuple[str, str]:
    """The real wiring, and the data set if there is one."""
    return subject(settings), Path(getattr(settings, "dataset", "")).name


def render(parts: Sequence[Part], place: Path, joint: Sequence[Comparison] = (), notes: Sequence[str] = ()) -> bytes:
    """Render the page as HTML.

    Args:
        parts: the runs, in order.
        place: the folder that the page will be written to, to which links are relative.
        joint: comparisons of the families of all runs together.
        notes: notes on these comparisons.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    data: dict[str, Any] = {"charts": {}, "wirings": {}, "images": {}, "types": wirings.types()}
    runs = [_context(part, f"run{number}", place, data) for number, part in enumerate(parts, 1)]
    score = parts[0].study.score
    found, leads = task_answers({own.value.removesuffix(f" {score}"): own for own in joint}, *_named(parts[0].settings)), True
    # An answer instead of that of a comparison: there was nothing to compare.
    if joint and all(part.report.answer and part.report.comparison is not None for part in parts):
        found, leads = list(dict.fromkeys(sentence for part in parts for sentence in part.report.answer)), False
    together = {"answer": found, "leads": leads, "tables": to_plain(*map(comparison_table, joint)), "notes": list(notes)}
    title = runs[0]["title"] if len(runs) == 1 else f"{len(runs)} runs side by side"
    page = environment.get_template("page.html").render(title=title, runs=runs, together=together, data=data, library=_library())
    return page.encode()


def _context(part: Part, key: str, place: Path, data: dict[str, Any]) -> dict[str, Any]:
    """The template's values for one run; what the scripts draw is added to ``data``."""
    settings, report = part.settings, part.report
    drawn = _charts(part)
    data["charts"] |= {f"{key}-{number}": chart for number, (_, chart) in enumerate(drawn)}
    families = part.units.first_of_families()
    graphs = {family: graph for family, data_ in families.items() if (graph := wirings.drawn(data_)) is not None}
    if graphs:
        data["wirings"][key] = graphs
    units: list[dict[str, Any]] = []
    # If the training of all units was stopped, nothing was classified.
    if report.classified is not None and part.rows is not None and bool((report.classified.predictions >= 0).any()):
        data["images"][key] = confusions(report.classified)
        units = part.rows[["variant", "family", "seed"]].to_dict("records")
    covered = {"families", "accuracy", "scores"} if drawn else set()
    covered |= {"confusion", "examples-right", "examples-wrong"} if units else set()
    covered |= {f"dag-{family}" for family in graphs}
    figures, linked = _figures(part, covered)
    about = [str(value) for name in ("connectome", "wiring", "dataset", "model") if (value := getattr(settings, name, None))]
    finished = part.rows is not None
    return {
        "key": key,
        "name": part.name,
        "title": f"{part.study.name}: {', '.join(Path(name).name for name in about)}" if about else part.study.name,
        "answer": answer_of(report, settings) if finished and not part.missing else [],
        "leads": not report.answer,
        "missing": list(part.missing),
        "tables": to_plain(*report.tables),
        "notes": report.notes,
        "charts": [
            {"id": f"{key}-{number}", "title": title, "height": chart["layout"].get("height", 420)}
            for number, (title, chart) in enumerate(drawn)
        ],
        "families": list(dict.fromkeys(map(str, part.units.table["family"]))) if drawn else [],
        "has_curves": any(chart["data"][0]["mode"] == "lines" for _, chart in drawn),
        "has_runs": any(trace.get("meta") == "runs" for _, chart in drawn for trace in chart["data"]),
        "wirings": list(graphs),
        "units": units,
        "figures": figures,
        "linked": [_link(part, name, place) for name in linked],
        "settings": _settings(settings),
        "command": f"elegans-pyg {part.study.name} --config config.yaml",
        "machine": _machine(part.folder),
        "files": [_link(part, name, place) for name in _files(part.folder)],
    }


def _charts(part: Part) -> list[tuple[str, charts.Chart]]:
    """Charts with their titles: a dot for every unit, and training curves."""
    comparison = part.report.comparison
    if part.rows is None:
        return []
    reference = str(part.rows["family"].iloc[0])
    share = comparison.share if comparison is not None else part.study.score == "accuracy"
    scale, unit = (100, " (%)") if share else (1, "")
    found: list[tuple[str, charts.Chart | None]] = []
    for name, table in _dots(part).items():
        own = comparison or part.report.comparisons.get(name.partition(":")[0])
        summary = own.to_dict()["families"] if own is not None else ()
        title = f"{name.replace('_', ' ')}{unit}"
        found.append((f"Every unit: {title}", charts.dots(table, title, reference, summary, scale)))
    for split, step, value, table in _evaluations(part):
        factor, word = (scale, unit) if value == part.study.score else (1, "")
        title = f"{split} {value.replace('_', ' ')}{word}"
        for task, own in table.groupby("task", sort=False) if "task" in table else [("", table)]:
            prefix = f"{task}: " if task else ""
            found.append((f"{prefix}{title} by {step}", charts.curves(own, step, value, title, reference, factor)))
    return [(title, chart) for title, chart in found if chart is not None]


def _dots(part: Part) -> Mapping[str, pd.DataFrame]:
    rows, score = part.rows, part.study.score
    if part.report.dots or rows is None or score not in rows:
        return part.report.dots
    values = rows.rename(columns={score: "value"})
    if "task" not in rows:
        return {score: values}
    return {f"{task}: {score}": own for task, own in values.groupby("task", sort=False)}


def _evaluations(part: Part) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Training curves: the split, the columns of step and value, and the rows."""
    files = part.report.files
    metrics, history = files.get("metrics.csv"), files.get("history.csv")
    if isinstance(metrics, pd.DataFrame) and part.rows is not None:
        if "task" in part.rows and "task" not in metrics:
            metrics = metrics.merge(part.rows[["variant", "task"]], on="variant")
        held = next((name for name in ("validation", "train") if (metrics["split"] == name).any()), "train")
        wanted = (
            [(held, part.study.score), ("train", "loss")] if part.study.score in metrics else [("train", "loss"), ("validation", "loss")]
        )
        return [(split, "iteration", value, metrics[metrics["split"] == split]) for split, value in wanted if value in metrics]
    if isinstance(history, pd.DataFrame):
        return [(split, "epoch", "RMSE", history.rename(columns={split: "RMSE"})) for split in ("train", "validation") if split in history]
    return []


def _figures(part: Part, covered: set[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The static figures that no chart replaces, as embedded images, and the files of those that do not fit on the page."""
    shown, linked, room = [], [], MOST_FIGURES
    for name, figure in part.report.figures.items():
        path = part.folder.path / "figures" / f"{name}.png"
        if name in covered or not path.is_file() or not path.stat().st_size:
            continue
        content = path.read_bytes()
        if len(content) > room:
            linked.append(f"figures/{name}.png")
            continue
        room -= len(content)
        title = f"{name[:1].upper()}{name[1:].replace('-', ' ')}: {' '.join(figure.get_suptitle().split())}"
        shown.append({"title": title.removesuffix(": "), "source": f"data:image/png;base64,{b64encode(content).decode()}"})
    return shown, linked


def _settings(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and description of all settings that a result depends on."""
    fixed, rows = settings.fixed(), []
    for name, (path, info) in type(settings).flat_fields().items():
        group = fixed if len(path) == 1 else fixed[path[0]]
        if name in group:
            rows.append((name, _written(group[name]), info.description or ""))
    return rows


def _written(value: Any) -> str:
    """The value of a setting as a user would write it, with six digits at most; ``config.yaml`` has all."""
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{family}.{name}={_written(own)}" for family, options in value.items() for name, own in options.items())
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _machine(folder: RunFolder) -> list[tuple[str, str]]:
    """The machine and versions that the run started with."""
    known = folder.read_json("identity.json").get("machine", {}) if (folder.path / "identity.json").is_file() else {}
    return [*((name, str(value)) for name, value in known.items() if name != "versions"), *known.get("versions", {}).items()]


def _files(folder: RunFolder) -> list[str]:
    """The run's files without those of its shards; includes ``summary.json``, which is written after the page."""
    names = {path.relative_to(folder.path) for path in folder.path.rglob("*") if path.is_file()} | {Path("summary.json")}
    return sorted(str(name) for name in names if "shards" not in name.parts and name.name != FILE and not name.name.startswith("."))


def _link(part: Part, name: str, place: Path) -> dict[str, str]:
    return {"name": name, "address": quote(os.path.relpath(part.folder.path / name, place))}


@lru_cache(maxsize=1)
def _library() -> str:
    """plotly.js, compressed."""
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs().encode())
