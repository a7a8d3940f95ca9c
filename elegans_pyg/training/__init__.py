"""Training an ensemble: the loop, its checkpoints, its metrics and the device it runs on."""
# ruff: noqa: F401

from __future__ import annotations

from typing import TYPE_CHECKING

from elegans_pyg._on_first_use import on_first_use

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
__getattr__, __all__ = on_first_use(__name__, _ROOMS)
