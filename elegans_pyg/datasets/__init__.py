"""Things you load: connectomes, ensembles of wirings, images, sequences."""

from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.image_kind import ImageKind
from elegans_pyg.datasets.images import ImageData, load_images
from elegans_pyg.datasets.own_images import OwnImages, read_images
from elegans_pyg.datasets.sequences import SequenceTask, sequence_task
from elegans_pyg.datasets.wiring_ensemble import WiringEnsemble

__all__ = [
    "Connectome",
    "ImageData",
    "ImageKind",
    "OwnImages",
    "SequenceTask",
    "WiringEnsemble",
    "load_images",
    "read_images",
    "sequence_task",
]
