"""The ``elegans-pyg`` command: a thin skin over :mod:`elegans_pyg.studies`."""

import sys

# A module of commands adds them to the app when it is imported.
from elegans_pyg.cli import runs, simulate, studies  # noqa: F401
from elegans_pyg.cli.app import app
from elegans_pyg.cli.errors import guarded


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``elegans-pyg``."""
    tokens = sys.argv[1:] if arguments is None else arguments
    sys.exit(guarded(lambda: app(tokens, exit_on_error=False, print_error=False)))
