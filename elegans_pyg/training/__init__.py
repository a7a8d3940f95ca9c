"""Training an ensemble: the loop, its checkpoints, its metrics and the device it runs on."""
# ruff: noqa: F401

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans_pyg.training.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, save_checkpoint
    from elegans_pyg.training.loop import FitResult, TrainingError, fit
    from elegans_pyg.training.objective import Autoencoding, Classification, Evaluation, Objective, evaluate
    from elegans_pyg.training.settings import FitSettings, SequenceSettings, resolve_device

_ROOMS = {
    "checkpoint": ("Checkpoint", "has_checkpoint", "load_checkpoint", "save_checkpoint"),
    "loop": ("FitResult", "TrainingError", "fit"),
    "objective": ("Autoencoding", "Classification", "Evaluation", "Objective", "evaluate"),
    "settings": ("FitSettings", "SequenceSettings", "resolve_device"),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # On first use, since PyTorch takes seconds to import, and the settings are read for every --help.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
