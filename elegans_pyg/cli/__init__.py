"""The ``elegans-pyg`` command: a thin skin over :mod:`elegans_pyg.recipes`."""

from elegans_pyg.cli import ensembles, structure  # noqa: F401  (a module of commands adds them to the app when it is imported)
from elegans_pyg.cli.app import app


def main() -> None:
    """Entry point of ``elegans-pyg``."""
    app()
