"""Training an ensemble: the loop, its checkpoints, its metrics and the device it runs on."""

from elegans_pyg.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from elegans_pyg.training.config import FitConfig
from elegans_pyg.training.device import resolve_device
from elegans_pyg.training.evaluation import Evaluation, evaluate
from elegans_pyg.training.fit import FitResult, TrainingError, fit
from elegans_pyg.training.objective import Autoencoding, Classification, Objective

__all__ = [
    "Autoencoding",
    "Checkpoint",
    "Classification",
    "Evaluation",
    "FitConfig",
    "FitResult",
    "Objective",
    "TrainingError",
    "evaluate",
    "fit",
    "load_checkpoint",
    "resolve_device",
    "save_checkpoint",
]
