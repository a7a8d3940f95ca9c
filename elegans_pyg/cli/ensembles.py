"""Training image classifiers, one or many, and looking at finished runs."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from elegans_pyg.cli.app import app, reproduce_app, show
from elegans_pyg.cli.errors import INTERRUPTED
from elegans_pyg.cli.options import (
    NETWORK,
    BatchSizeOption,
    ChannelsOption,
    ConfigOption,
    ConnectomeOption,
    DatasetOption,
    DeviceOption,
    ExecutorOption,
    FamiliesOption,
    FamilyOptions,
    ImageRootOption,
    IterationsOption,
    MatchOption,
    OutOption,
    QuietOption,
    ResumeOption,
    SeedOption,
    SeedsOption,
    VariantsOption,
)
from elegans_pyg.cli.settings import settings_from

if TYPE_CHECKING:
    from elegans_pyg.recipes.config import RunConfig
    from elegans_pyg.recipes.run import RunResult


@app.command()
def ensemble(
    ctx: typer.Context,
    connectome: ConnectomeOption = None,
    wiring: Annotated[
        str | None,
        typer.Option("--wiring", metavar="HOW", help="How a graph becomes a DAG: constrained or random.", rich_help_panel=NETWORK),
    ] = None,
    families: FamiliesOption = None,
    seeds: SeedsOption = None,
    variants: VariantsOption = None,
    seed: SeedOption = None,
    match: MatchOption = None,
    family_option: FamilyOptions = None,
    channels: ChannelsOption = None,
    executor: ExecutorOption = None,
    dataset: DatasetOption = None,
    image_root: ImageRootOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the connectome and its controls side by side, and compare them: the main job.

    By default: the hermaphrodite with 3 seeds and 3 wirings each of ws, er, ba and rewired, 24 channels, 500 iterations on the embedded
    8x8 digits.
    """
    from elegans_pyg.recipes.ensemble import ensemble_config

    settings = settings_from(ctx.params, ensemble_config)
    _finish(_execute(settings, "ensemble", ctx.params))


@app.command()
def train(
    ctx: typer.Context,
    connectome: ConnectomeOption = None,
    wiring: Annotated[
        str | None,
        typer.Option(
            "--wiring",
            metavar="WHICH",
            help="The connectome made into a DAG, constrained or random; or a family to draw one wiring from.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", help="Runs of the wiring, each from its own seed.", rich_help_panel=NETWORK)
    ] = None,
    seed: SeedOption = None,
    match: MatchOption = None,
    family_option: FamilyOptions = None,
    channels: ChannelsOption = None,
    executor: ExecutorOption = None,
    dataset: DatasetOption = None,
    image_root: ImageRootOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one wiring: by default the hermaphrodite's constrained DAG, 24 channels, 500 iterations on the embedded 8x8 digits."""
    from elegans_pyg.recipes.ensemble import train_config

    params = dict(ctx.params)
    which, runs = params.pop("wiring"), params.pop("seeds")
    if (which is not None or runs is not None) and (config is not None or resume):
        raise ValueError("wiring: --wiring and --seeds choose what train starts with, and --config or --resume has chosen; leave them out")
    settings = settings_from(params, lambda: train_config(which or "constrained", 1 if runs is None else runs))
    _finish(_execute(settings, "train", ctx.params))


@reproduce_app.command("park-kim")
def park_kim(
    ctx: typer.Context,
    families: FamiliesOption = None,
    seeds: SeedsOption = None,
    variants: VariantsOption = None,
    seed: SeedOption = None,
    channels: ChannelsOption = None,
    executor: ExecutorOption = None,
    dataset: DatasetOption = None,
    image_root: ImageRootOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Park & Kim 2023: hermaphrodite, male and random DAGs as image classifiers.

    With --dataset mnist or fashion_mnist: the published settings, 15,000 iterations and 78 channels, for hours on a GPU; --iterations and
    --channels shorten it, and the table says so. By default: the embedded digits, 500 iterations and 24 channels.
    """
    from elegans_pyg.recipes.park_kim import park_kim_config, reproduce

    settings = settings_from(ctx.params, lambda: park_kim_config(dataset or "digits"))
    done: list[Any] = []

    def work(*args: Any, **options: Any) -> RunResult:
        done.append(reproduce(*args, **options))
        return done[0].run

    result = _execute(settings, "reproduce park-kim", ctx.params, work)
    for table in done[0].tables():
        show(table)
    for note in done[0].notes:
        print(f"• {note}")
    _finish(result)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    reference: Annotated[
        str | None, typer.Option("--reference", metavar="FAMILY", help="Family to compare with (default: the connectome).")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the table to this file.")] = None,
) -> None:
    """Join the results of several runs and compare their families."""
    from elegans_pyg.recipes.saved_runs import compare_runs

    comparison = compare_runs(runs, reference)
    show(comparison)
    if json_file is not None:
        json_file.write_text(json.dumps(comparison.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


@app.command()
def plot(run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]) -> None:
    """Draw all figures of a finished run again."""
    from elegans_pyg.recipes.saved_runs import redraw

    for figure in redraw(run):
        print(f"{figure}.png")


def _execute(config: RunConfig, command: str, options: dict[str, Any], work: Callable[..., RunResult] | None = None) -> RunResult:
    """Run, in the folder asked for or a new one; on Ctrl-C say how to go on."""
    from elegans_pyg.recipes.run import run
    from elegans_pyg.recipes.run_folder import RunFolder

    new = options["out"] is None
    folder = RunFolder.free(command.split()[-1]) if new else RunFolder(options["out"])
    try:
        result = (work or run)(config, folder.path, resume=options["resume"], quiet=options["quiet"])
        interrupted = result.interrupted
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if new:
            folder.remove_if_empty()
    if interrupted:
        if folder.has_checkpoint():
            remedy = f"go on with: {_command_line(command, folder.path)}"
        else:
            remedy = "nothing was trained yet, start it again"
        print(f"interrupted; {remedy}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    return result


def _finish(result: RunResult) -> None:
    """The end of a run's output: the answer, where everything is, and how to have it again."""
    from elegans_pyg.recipes.match import render_match

    if result.comparison is not None:
        show(result.comparison)
    else:
        table = Table(title="Test accuracy", title_justify="left")
        for heading in ("variant", "family", "wiring seed", "seed", "accuracy %"):
            table.add_column(heading, justify="left" if heading == "family" else "right")
        for row in result.results.itertuples():
            table.add_row(
                str(row.variant),
                row.family,
                str(row.wiring_seed),
                str(row.seed),
                "stopped" if row.accuracy != row.accuracy else f"{100 * row.accuracy:.2f}",
            )
        show(table)
    show(render_match(result.match))
    for variant, reason in result.fit.stopped.items():
        print(f"variant {variant} ({result.results['family'].iloc[variant]}) was stopped: {reason}")
    print(f"{result.fit.iterations:,} iterations of {len(result.results)} variants took {result.fit.seconds:.0f} s")
    if result.out is not None:
        for figure in result.figures:
            print(f"figure: {figure}.png")
        print(f"run folder: {result.out}")
        print(f"repeat it:  elegans-pyg ensemble --config {shlex.quote(str(result.out / 'config.yaml'))}")


def _command_line(command: str, folder: Path) -> str:
    return f"elegans-pyg {command} --resume --out {shlex.quote(str(folder))}"
