"""The shape of wirings, and what it has to do with learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elegans_pyg.cli.app import app, show
from elegans_pyg.cli.options import QuietOption

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


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
