"""The command ``elegans-pyg`` itself.

torch and PyTorch Geometric are imported inside the commands, so that ``--help`` answers at once.
"""

from cyclopts import App

from elegans_pyg import __version__

app = App(
    name="elegans-pyg",
    version=f"elegans-pyg {__version__}",
    help="Networks wired like the nervous system of *C. elegans*, trained beside rewired controls.\n\n"
    "Start with: `elegans-pyg ensemble` (a few minutes, on embedded data), then look at `elegans-pyg info`.",
    help_format="markdown",
    help_flags=["--help", "-h"],
    # Exit codes tell which signal ended a run: see errors.guarded.
    suppress_keyboard_interrupt=False,
)
reproduce_app = App(name="reproduce", help="Repeat a published result and set it against the published numbers.")
app.command(reproduce_app)
