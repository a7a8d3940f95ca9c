"""Commands that list what is available and that inspect finished runs."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from elegans_pyg.cli.app import app


@app.command
def info() -> None:
    """List connectomes, families, image sets, executors, devices and versions."""
    from elegans_pyg.studies.info import info_tables
    from elegans_pyg.studies.tables import show

    show(*info_tables())


@app.command
def compare(
    *runs: Annotated[Path, Parameter(help="Run folders, of any study that compares families.", negative=())],
    reference: Annotated[str | None, Parameter(help="Family to compare with (default: the connectome).")] = None,
    margin: Annotated[
        float | None,
        Parameter(help="Smaller differences count as equal; set it before the runs (default: their setting). 0.003 is 0.3 points."),
    ] = None,
    json_file: Annotated[Path | None, Parameter(name="--json", help="Also write the table to this file.")] = None,
) -> None:
    """Join the results of one or more runs and compare their families: different, equal within a margin, or undecided."""
    from elegans_pyg._files import write_atomic
    from elegans_pyg.studies.saved import compare_runs
    from elegans_pyg.studies.tables import comparison_table, show

    comparisons = compare_runs(runs, reference, margin)
    for comparison in comparisons:
        show(comparison_table(comparison))
    if json_file is not None:
        content = [comparison.to_dict() for comparison in comparisons]
        text = json.dumps(content[0] if len(content) == 1 else content, indent=2, allow_nan=False)
        write_atomic(json_file, f"{text}\n".encode())


@app.command
def plot(run: Annotated[Path, Parameter(help="Run folder.")], /) -> None:
    """Draw all figures of a finished run again."""
    from elegans_pyg.studies.saved import load_run

    for figure in load_run(run).redraw():
        print(f"{figure}.png")


@app.command
def report(
    *runs: Annotated[Path, Parameter(help="Run folders; several are shown side by side.", negative=())],
    out: Annotated[
        Path | None, Parameter(help="Output file (default: report.html in the run's folder, or in a new folder for several runs).")
    ] = None,
    open_it: Annotated[bool, Parameter(name="--open", help="Open it in the browser.", negative=())] = False,
) -> None:
    """Write a run's report again, or one page for several runs: results, interactive charts, settings, and links to all files."""
    import webbrowser

    from elegans_pyg.studies.saved import report_runs

    path = report_runs(runs, out)
    print(f"report: {path}")
    if open_it:
        webbrowser.open(path.resolve().as_uri())


@app.command
def join(run: Annotated[Path, Parameter(help="Run folder whose shards were run separately.")], /) -> None:
    """Join the shards of a run, once all are done, and report."""
    from elegans_pyg.cli.studies import print_files, print_findings
    from elegans_pyg.studies.run import join_folder
    from elegans_pyg.studies.saved import load_run

    loaded = load_run(run)
    print_files(loaded.study, join_folder(loaded.study, loaded.settings, loaded.folder, print_findings))
