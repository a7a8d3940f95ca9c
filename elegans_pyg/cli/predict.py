"""The command that applies trained networks to new files."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from elegans_pyg.cli.app import app
from elegans_pyg.cli.options import whole


@app.command
def predict(
    run: Annotated[Path, Parameter(help="Folder of a finished run.")],
    /,
    *files: Annotated[Path, Parameter(help="Images or folders of images; CSV files for networks of sequences and currents.", negative=())],
    family: Annotated[str | None, Parameter(help="Units of this family only.")] = None,
    seed: Annotated[int | None, Parameter(help="A unit's seed, or its number within its family, from 0.", converter=whole)] = None,
    variant: Annotated[int | None, Parameter(help="The unit of this number in results.csv only.", converter=whole)] = None,
    task: Annotated[str | None, Parameter(help="Units of this task only.")] = None,
    out: Annotated[Path | None, Parameter(help="Folder, new or empty (default: a new one, runs/predictions-1, -2, ...).")] = None,
) -> None:
    """Apply a run's trained networks to your own files: classes of images, reconstructions, outputs, voltages.

    Images of any size, grey or colour, dark on light or light on dark, are converted to the format of the training images, and the
    conversion is printed. predictions.csv and figures are written to the output folder; the run is not changed.
    """
    from elegans_pyg.studies.folder import RunFolder
    from elegans_pyg.studies.prediction import check_out, predict, write_report
    from elegans_pyg.studies.tables import show

    if out is not None:
        check_out(out)
    report = predict(run, files, family, seed, variant, task)
    for note in report.notes:
        show(f"• {note}")
    show(*report.tables)
    folder = RunFolder.free("predictions").path if out is None else out
    for figure in write_report(report, folder):
        print(f"figure: {figure}")
    print(f"written to {folder}")
