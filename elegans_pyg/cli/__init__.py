"""The ``elegans-pyg`` command: a thin skin over :mod:`elegans_pyg.studies`."""

import os
import sys

# A module of commands adds them to the app when it is imported.
from elegans_pyg.cli import export, predict, runs, studies  # noqa: F401
from elegans_pyg.cli.app import run


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``elegans-pyg``."""
    # GNU OpenMP reads this when torch is loaded. By default its threads spin while they wait for each other. When other threads or programs
    # use the same cores, each of thousands of small operations then waits for a scheduler time slice.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
