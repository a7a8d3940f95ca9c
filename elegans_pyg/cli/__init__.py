"""The ``elegans-pyg`` command: a thin skin over :mod:`elegans_pyg.recipes`."""

# A module of commands adds them to the app when it is imported.
from elegans_pyg.cli import dynamics, echo, elegans, ensembles, reduced_order, structure  # noqa: F401
from elegans_pyg.cli.app import app


def main() -> None:
    """Entry point of ``elegans-pyg``."""
    app()
