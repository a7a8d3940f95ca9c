"""Figures that are not drawn: laying out dozens of panels takes most of a short study's time, and what they show is tested on its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from elegans_pyg import plots
from elegans_pyg.studies import Run, load_run, run_study


@contextmanager
def undrawn() -> Iterator[None]:
    """Figures become empty files."""

    def save(figure: Figure, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".png").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", save)
        yield


def learnt(study: Any, settings: Any, folder: Path, **options: Any) -> Run:
    """A finished run in ``folder``."""
    with undrawn():
        run_study(study, settings, folder, quiet=True, **options)
    return load_run(folder)
