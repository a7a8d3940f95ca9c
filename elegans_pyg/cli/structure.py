"""The shape of wirings, and what it has to do with learning."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from elegans_pyg.cli.app import app, reproduce_app, show
from elegans_pyg.cli.errors import INTERRUPTED
from elegans_pyg.cli.options import OutOption, QuietOption, ResumeOption

MeasuresOption = Annotated[
    str | None, typer.Option("--measures", metavar="M,M,...", help="Measures or sets of them (default: the fast ones).")
]


@app.command()
def relate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    measures: MeasuresOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of permutations, folds and forests.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Output folder (default: a new one in runs/).")] = None,
    quiet: QuietOption = False,
) -> None:
    """Relate the structure of the wirings of finished runs to their accuracies."""
    from elegans_pyg.recipes.relate import relate_runs
    from elegans_pyg.recipes.run_folder import RunFolder

    new = out is None
    folder = RunFolder.free("relate") if out is None else RunFolder(out)
    try:
        related = relate_runs(runs, folder.path, _names(measures), seed=seed, quiet=quiet)
    finally:
        if new:
            folder.remove_if_empty()
    show(related.relation)
    print(f"table: {related.table}")
    for figure in related.figures:
        print(f"figure: {figure}.png")


@app.command()
def analyze(
    wiring: Annotated[
        str, typer.Argument(metavar="CONNECTOME|FILE|RUN", help="Connectome by name, GraphML or CSV file, or run folder.")
    ] = "cook2019-hermaphrodite",
    synapses: Annotated[str, typer.Option("--synapses", metavar="KIND", help="chemical, electrical or both; not for a run.")] = "chemical",
    measures: MeasuresOption = None,
    nulls: Annotated[
        int, typer.Option("--nulls", metavar="N", help="Rewired graphs, degrees kept, to compare with; 0 for none; not for a run.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the rewired graphs.")] = 0,
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure the structure of a connectome, or of all wirings of a run, and draw it."""
    from elegans_pyg.recipes.analyze import analyze_connectome, analyze_run
    from elegans_pyg.recipes.run_folder import RunFolder

    new = out is None
    folder = RunFolder.free("analyze") if out is None else RunFolder(out)
    try:
        if Path(wiring).expanduser().is_dir():
            analysis = analyze_run(wiring, folder.path, _names(measures), seed=seed, quiet=quiet)
        else:
            analysis = analyze_connectome(wiring, folder.path, _names(measures), synapses=synapses, nulls=nulls, seed=seed, quiet=quiet)
    finally:
        if new:
            folder.remove_if_empty()
    show(analysis.rendered())
    for note in analysis.notes:
        print(f"• {note}")
    print(f"table: {analysis.file}")
    for figure in analysis.figures:
        print(f"figure: {figure}.png")


@reproduce_app.command("elegans-structure")
def elegans_structure(
    connectomes: Annotated[
        str | None,
        typer.Option("--connectomes", metavar="C,C,...", help="Connectomes to rewire step by step (default: both sexes, and the paper's)."),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option("--stages", metavar="C,C,...", help="Connectomes to compare with rewired graphs only (default: the eight stages)."),
    ] = None,
    points: Annotated[str | None, typer.Option("--points", metavar="P,P,...", help="Percentages of edges redrawn.")] = None,
    graphs: Annotated[int | None, typer.Option("--graphs", metavar="N", help="Graphs a point (default: 100).")] = None,
    nulls: Annotated[
        int | None, typer.Option("--nulls", metavar="N", help="Wholly rewired graphs to compare with (default: 1,500).")
    ] = None,
    synapses: Annotated[str | None, typer.Option("--synapses", metavar="KIND", help="chemical (default), electrical or both.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of all graphs (default: 0).")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Minutes: one connectome, few fractions and graphs.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes (default: one a processor).")] = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """ElegansNet 2023, section II-A: which structure is none of chance, and how it fades when edges are redrawn."""
    from elegans_pyg.recipes.run_folder import RunFolder
    from elegans_pyg.recipes.structure import SweepConfig, quick_config, read_config, reproduce

    if resume and out is None:
        raise ValueError("resume: expected --out with the folder of the sweep to go on with; add it")
    if resume and quick:
        raise ValueError("quick: a sweep goes on with its own settings, so --quick cannot be used with --resume; leave it out")
    base = read_config(str(out)) if resume else quick_config() if quick else SweepConfig()
    given = {"graphs": graphs, "nulls": nulls, "synapses": synapses, "seed": seed}
    lists = {"connectomes": _names(connectomes), "stages": _names(stages), "percents": _percents(points)}
    config = base.updated({name: value for name, value in {**given, **lists}.items() if value is not None})
    new = out is None
    folder = RunFolder.free("elegans-structure") if out is None else RunFolder(out)
    interrupted = False
    try:
        result = reproduce(config, folder.path, resume=resume, workers=workers, quiet=quiet)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if new:
            folder.remove_if_empty()
    if interrupted or result is None:
        remedy = f"elegans-pyg reproduce elegans-structure --resume --out {shlex.quote(str(folder.path))}"
        print(f"interrupted; go on with: {remedy}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    for table in result.tables():
        show(table)
    for note in result.notes:
        print(f"• {note}")
    for figure in result.figures:
        print(f"figure: {figure}.png")
    print(f"folder: {folder.path}")


def _percents(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"points: expected percentages such as 0,10,50,100, got {text!r}; correct it") from error


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
