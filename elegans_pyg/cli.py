"""The ``elegans-pyg`` command: a thin skin over :mod:`elegans_pyg.recipes`.

torch and PyTorch Geometric are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from elegans_pyg import __version__
from elegans_pyg._cli_errors import INTERRUPTED, OneLineErrors
from elegans_pyg._cli_settings import settings_from

if TYPE_CHECKING:
    from elegans_pyg.recipes.config import RunConfig
    from elegans_pyg.recipes.run import RunResult

app = typer.Typer(
    name="elegans-pyg",
    cls=OneLineErrors,
    help="Networks wired like the nervous system of [i]C. elegans[/i], trained beside rewired controls.\n\n"
    "Start with: [b]elegans-pyg ensemble[/b] (a few minutes, on embedded data), then look at [b]elegans-pyg info[/b].",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
reproduce_app = typer.Typer(help="Repeat a published result and set it against the published numbers.", no_args_is_help=False)
app.add_typer(reproduce_app, name="reproduce")

_NETWORK, _TRAINING, _RUN = "Wiring and network", "Images and training", "Run"

ConnectomeOption = Annotated[
    str | None,
    typer.Option("--connectome", metavar="NAME|FILE", help="Connectome by name, or a GraphML or CSV file.", rich_help_panel=_NETWORK),
]
FamiliesOption = Annotated[
    str | None,
    typer.Option("--families", metavar="F,F,...", help="Families of control wirings, such as ws,er,ba,rewired.", rich_help_panel=_NETWORK),
]
SeedsOption = Annotated[
    int | None, typer.Option("--seeds", metavar="N", help="Runs of the connectome, each from its own seed.", rich_help_panel=_NETWORK)
]
VariantsOption = Annotated[
    int | None, typer.Option("--variants", metavar="N", help="Wirings drawn from each family.", rich_help_panel=_NETWORK)
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Start of all seeds: wirings, first parameters, order of images.", rich_help_panel=_NETWORK),
]
MatchOption = Annotated[
    str | None,
    typer.Option("--match", metavar="dag", help="Fit the DAG edge count of ws, er, ba to the connectome's.", rich_help_panel=_NETWORK),
]
FamilyOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--family-option", metavar="F.NAME=VALUE", help="Such as rewired.fraction=0.5; may be repeated.", rich_help_panel=_NETWORK
    ),
]
ChannelsOption = Annotated[int | None, typer.Option("--channels", metavar="N", help="Feature maps per neuron.", rich_help_panel=_NETWORK)]
ExecutorOption = Annotated[
    str | None, typer.Option("--executor", metavar="NAME", help="Code that walks the DAGs; see info.", rich_help_panel=_NETWORK)
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME|FOLDER", help="Images by name (see info), or a folder of them.", rich_help_panel=_TRAINING),
]
ImageRootOption = Annotated[
    str | None,
    typer.Option(
        "--image-root", metavar="FOLDER", help="Folder that holds image sets by name, read before any download.", rich_help_panel=_TRAINING
    ),
]
IterationsOption = Annotated[
    int | None,
    typer.Option(
        "--iterations", metavar="N", help="Optimiser steps; the learning rate schedule keeps its proportions.", rich_help_panel=_TRAINING
    ),
]
BatchSizeOption = Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Images a step.", rich_help_panel=_TRAINING)]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:<number>.", rich_help_panel=_TRAINING)
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Run folder (default: a new one in runs/).", rich_help_panel=_RUN)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings in YAML, such as a run's config.yaml; options override them.", rich_help_panel=_RUN
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel=_RUN)]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.", rich_help_panel=_RUN)]


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"elegans-pyg {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


@reproduce_app.callback(invoke_without_command=True)
def _reproduce(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


@app.command()
def info() -> None:
    """Show connectomes, families, image sets, executors, devices and versions."""
    from elegans_pyg.recipes.info import info_tables

    for part in info_tables():
        _print(part)


@app.command()
def ensemble(
    ctx: typer.Context,
    connectome: ConnectomeOption = None,
    wiring: Annotated[
        str | None,
        typer.Option("--wiring", metavar="HOW", help="How a graph becomes a DAG: constrained or random.", rich_help_panel=_NETWORK),
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
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", help="Runs of the wiring, each from its own seed.", rich_help_panel=_NETWORK)
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
        _print(table)
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
    _print(comparison)
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
        _print(result.comparison)
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
        _print(table)
    _print(render_match(result.match))
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


def _print(part: Any) -> None:
    console = Console()
    # Piped into a file there is no width to fit, and the narrow default would fold the tables.
    (console if console.is_terminal else Console(width=120)).print(part)


def main() -> None:
    """Entry point of ``elegans-pyg``."""
    app()


if __name__ == "__main__":
    main()
