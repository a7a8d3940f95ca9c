"""Data sets: connectomes, ensembles of wirings, neural activity, images and sequences."""

from elegans_pyg.datasets.calcium import load_calcium
from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.edge_attributes import edge_sign
from elegans_pyg.datasets.image_kind import ImageKind
from elegans_pyg.datasets.images import ImageData, load_images
from elegans_pyg.datasets.own_images import OwnImages, read_images
from elegans_pyg.datasets.sequences import SequenceTask, sequence_task
from elegans_pyg.datasets.signal_propagation import SignalPropagation
from elegans_pyg.datasets.wiring_ensemble import WiringEnsemble
from elegans_pyg.datasets.wiring_tables import Choices
from elegans_pyg.datasets.wiringbench import WiringBench

__all__ = [
    "Choices",
    "Connectome",
    "ImageData",
    "ImageKind",
    "OwnImages",
    "SequenceTask",
    "SignalPropagation",
    "WiringBench",
    "WiringEnsemble",
    "edge_sign",
    "load_calcium",
    "load_images",
    "read_images",
    "sequence_task",
]
