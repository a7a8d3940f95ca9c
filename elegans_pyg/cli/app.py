"""The command ``elegans-pyg`` itself: its groups, and what every command's module shares.

torch and PyTorch Geometric are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from elegans_pyg import __version__
from elegans_pyg.cli.errors import OneLineErrors

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
        show(part)


def show(part: Any) -> None:
    """Print a table or a text of rich's."""
    console = Console()
    # Piped into a file there is no width to fit, and the narrow default would fold the tables.
    (console if console.is_terminal else Console(width=120)).print(part)
