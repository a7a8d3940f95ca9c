"""Echo-state networks wired by the worm."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elegans_pyg.cli.app import reproduce_app, show
from elegans_pyg.cli.errors import INTERRUPTED
from elegans_pyg.cli.options import NETWORK, ConnectomeOption, FamiliesOption, OutOption, QuietOption, ResumeOption, SeedOption

SWEEP = "Sweep and tasks"
QUICK = {"variants": 5, "radii": (0.5, 0.9, 1.2), "leaks": (1.0,)}


@reproduce_app.command("elegans-echo")
def elegans_echo(
    ctx: typer.Context,
    connectome: ConnectomeOption = None,
    neuron_table: Annotated[
        Path | None,
        typer.Option("--neuron-table", metavar="FILE", help="CSV with the neuron types of an edge list.", rich_help_panel=NETWORK),
    ] = None,
    families: FamiliesOption = None,
    variants: Annotated[
        int | None,
        typer.Option("--variants", metavar="N", help="Wirings a family, and runs of the connectome.", rich_help_panel=NETWORK),
    ] = None,
    seed: SeedOption = None,
    readout: Annotated[
        str | None, typer.Option("--readout", metavar="WHICH", help="Neurons to read: motor or all.", rich_help_panel=NETWORK)
    ] = None,
    signed: Annotated[
        bool | None,
        typer.Option("--signed/--unsigned", help="Whether GABAergic neurons inhibit (default: they do).", rich_help_panel=NETWORK),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", metavar="T,T,...", help="Of memory, narma10, mackey-glass, lorenz, parity.", rich_help_panel=SWEEP),
    ] = None,
    radii: Annotated[str | None, typer.Option("--radii", metavar="R,R,...", help="Spectral radii.", rich_help_panel=SWEEP)] = None,
    leaks: Annotated[str | None, typer.Option("--leaks", metavar="A,A,...", help="Leak rates; 1: no leak.", rich_help_panel=SWEEP)] = None,
    train: Annotated[int | None, typer.Option("--train", metavar="N", help="Time steps to learn from.", rich_help_panel=SWEEP)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="5 variants a family, 3 radii, no leak: under two minutes.", rich_help_panel=SWEEP)
    ] = False,
    out: OutOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Echo-state networks: memory capacity against spectral radius, and four more tasks, by family.

    By default: the hermaphrodite with 30 seeds and 30 wirings each of ws, er, ba and rewired, 7 spectral radii and 2 leaks, some minutes on
    2 cores. Radius and leak are chosen on validation segments, never on the test segments that are compared.
    """
    from elegans_pyg.recipes.elegans_echo import EchoConfig, EchoFolder, run_echo

    given: dict[str, Any] = {
        name: ctx.params[name]
        for name in ("connectome", "neuron_table", "families", "variants", "seed", "readout", "signed", "tasks", "radii", "leaks", "train")
        if ctx.params[name] is not None
    }
    if neuron_table is not None:
        given["neuron_table"] = str(neuron_table)
    for name in ("families", "tasks", "radii", "leaks"):
        if name in given:
            given[name] = [text.strip() for text in given[name].split(",") if text.strip()]
    for name in ("radii", "leaks"):
        if name in given:
            given[name] = [_number(name, text) for text in given[name]]
    if resume and out is None:
        raise ValueError("resume: expected --out with the folder of the run to go on with; add it")
    if resume and (given or quick):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in [*given, *(["quick"] if quick else [])])
        raise ValueError(f"resume: a run goes on with its own settings, so {names} cannot be used with --resume; leave it out")
    config = EchoConfig.from_dict({**(QUICK if quick else {}), **given})
    new = out is None
    folder = EchoFolder.free("elegans-echo") if out is None else EchoFolder(out)
    try:
        result = run_echo(config, folder.path, resume=resume, quiet=quiet)
    except KeyboardInterrupt:
        if (folder.path / "config.yaml").is_file():
            command = f"elegans-pyg reproduce elegans-echo --resume --out {shlex.quote(str(folder.path))}"
            print(f"interrupted; go on with: {command}", file=sys.stderr)
        else:
            print("interrupted; nothing was measured yet, start it again", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if new:
            folder.remove_if_empty()
    # All of them are in comparisons.md; five times the notes would bury the tables.
    if result.comparisons:
        show(next(iter(result.comparisons.values())))
    for table in result.tables():
        show(table)
    for note in result.notes:
        print(f"• {note}")
    print(f"{len(result.results) // len(result.config.tasks)} variants took {result.seconds:.0f} s")
    for figure in result.figures:
        print(f"figure: {figure}.png")
    print(f"run folder: {result.out}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{name}: expected numbers with commas between them, got {text!r}; write such as 0.5,0.9") from error
