"""How the command ends when something goes wrong: one line on standard error and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

BAD_INPUT, FAILED_RUN, INTERRUPTED = 2, 1, 130


class OneLineErrors(TyperGroup):
    """The command group whose every error becomes one line; ``ELEGANS_PYG_DEBUG=1`` lets the traceback through."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except (typer.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        except Exception as error:
            if os.environ.get("ELEGANS_PYG_DEBUG"):
                raise
            code, line = explain(error)
            print(f"error: {line}", file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and the one line for an error."""
    text = " ".join(str(error).split())
    # Option errors: Typer has its own copy of click or the installed one, so their class has no one place to be imported from.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        hint = f"; see {context.command_path} --help" if context is not None else ""
        return BAD_INPUT, " ".join(str(error.format_message()).split()).rstrip(".") + hint
    if isinstance(error, OSError):
        # What this package raises says it all in its message; what the system raises has a number, and the file apart.
        if error.strerror and error.filename is not None:
            return BAD_INPUT, f"{error.strerror}: {error.filename}"
        return BAD_INPUT, error.strerror or text
    if isinstance(error, ValueError | TypeError | ImportError):
        return BAD_INPUT, text or type(error).__name__
    if type(error).__name__ in ("TrainingError", "OutOfMemoryError"):
        return FAILED_RUN, text
    return FAILED_RUN, f"unexpected {type(error).__name__}: {text}; this is a bug, ELEGANS_PYG_DEBUG=1 shows where it happened"
