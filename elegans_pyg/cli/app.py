"""The command ``elegans-pyg`` itself, and how it ends. torch and PyTorch Geometric are imported inside the commands, so that ``--help``
answers at once."""

import os
import sys

from cyclopts import App, CycloptsError

from elegans_pyg import __version__

BAD_INPUT, FAILED_RUN = 2, 1

app = App(
    name="elegans-pyg",
    version=f"elegans-pyg {__version__}",
    help="Networks wired like the nervous system of *C. elegans*, trained beside null wirings.\n\n"
    "Start with: `elegans-pyg ensemble` (a few minutes, on embedded data), then look at `elegans-pyg info`.",
    help_format="markdown",
    help_flags=["--help", "-h"],
    # Exit codes tell which signal ended a run: see run.
    suppress_keyboard_interrupt=False,
)
reproduce_app = App(name="reproduce", help="Reproduce a published result and compare it with the published numbers.")
app.command(reproduce_app)


def run(tokens: list[str]) -> int:
    """Run a command and return its exit code. An error is printed as one line on standard error; ``ELEGANS_PYG_DEBUG=1`` shows the
    traceback."""
    try:
        app(tokens, exit_on_error=False, print_error=False)
    except KeyboardInterrupt as interrupt:
        return 128 + int(getattr(interrupt, "signum", 2))
    except BrokenPipeError:
        # The reader of the output has closed the pipe; the interpreter's last flush must not raise either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED_RUN
    except Exception as error:
        if os.environ.get("ELEGANS_PYG_DEBUG"):
            raise
        code, line = _explain(error)
        print(f"error: {line}", file=sys.stderr)
        return code
    return 0


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and the one line for an error."""
    text = " ".join(str(error).split())
    if isinstance(error, CycloptsError):
        words = " ".join(error.command_chain or ())
        return BAD_INPUT, f"{text[:400].rstrip('.')}; see {' '.join(('elegans-pyg', words)).strip()} --help"
    if isinstance(error, OSError):
        # Errors of this package have a complete message; those of the system have a number and a separate file name.
        if error.strerror and error.filename is not None:
            return BAD_INPUT, f"{error.strerror}: {error.filename}"
        return BAD_INPUT, " ".join((error.strerror or text).split())
    if isinstance(error, ValueError | TypeError | ImportError):
        return BAD_INPUT, text or type(error).__name__
    if type(error).__name__ == "BrokenProcessPool":
        remedy = "give fewer --workers, and go on with --resume"
        return FAILED_RUN, f"a worker process was killed, most likely because the memory ran out; {remedy}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return FAILED_RUN, f"out of memory; make the network, the batch or the number of units smaller ({text[:200]})"
    if type(error).__name__ == "TrainingError":
        return FAILED_RUN, text
    return FAILED_RUN, f"unexpected {type(error).__name__}: {text[:1000]}; this is a bug, ELEGANS_PYG_DEBUG=1 shows where it happened"
