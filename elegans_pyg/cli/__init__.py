"""The ``elegans-pyg`` command: a thin skin over :mod:`elegans_pyg.studies`."""

import sys

# A module of commands adds them to the app when it is imported.
from elegans_pyg.cli import export, predict, runs, simulate, studies  # noqa: F401
from elegans_pyg.cli.app import run


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``elegans-pyg``."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
