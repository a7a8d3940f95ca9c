"""``python -m elegans_pyg``: the command ``elegans-pyg``."""

from elegans_pyg.cli import main

main()
