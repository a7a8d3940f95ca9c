"""The command that exports trained networks."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from elegans_pyg.cli.app import app
from elegans_pyg.cli.options import whole


@app.command
def export(
    run: Annotated[Path, Parameter(help="Folder of a finished run.")],
    /,
    *,
    format: Annotated[
        Literal["onnx", "torch", "numpy"], Parameter(help="ONNX, PyTorch's .pt2, or NumPy arrays with a Python script that runs them.")
    ] = "onnx",
    out: Annotated[Path | None, Parameter(help="Output file (default: in the current folder, named after run, family and unit).")] = None,
    family: Annotated[str | None, Parameter(help="A unit of this family.")] = None,
    seed: Annotated[int | None, Parameter(help="The unit's seed, or its number within its family, from 0.", converter=whole)] = None,
    variant: Annotated[int | None, Parameter(help="The unit of this number in results.csv.", converter=whole)] = None,
    task: Annotated[str | None, Parameter(help="A unit of this task.")] = None,
) -> None:
    """Export one trained network, by default the first unit's, to a file that runs without this package, and check its outputs."""
    from rich.console import Console

    from elegans_pyg.studies.export import export_run
    from elegans_pyg.studies.saved import load_run

    with Console(stderr=True).status("Exporting and checking the network; a large one takes a minute"):
        done, unit = export_run(load_run(run), format, out, family=family, seed=seed, variant=variant, task=task)
    labels = ", ".join(f"{name.replace('_', ' ')} {unit[name]}" for name in ("wiring_seed", "seed", "task") if name in unit)
    print(f"unit {unit['variant']}: {unit['family']}, {labels}")
    if done.difference is None:
        print("not checked: ONNX Runtime is missing; run pip install 'elegans-pyg[onnx]'")
    else:
        print(f"largest difference from the network on sample inputs: {done.difference:.1g}")
    for path in done.paths:
        print(f"written: {path}")
