"""Things you load: connectomes, ensembles of wirings, neural activity, images, sequences."""

from elegans_pyg.datasets.calcium import load_calcium
from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.edge_attributes import edge_sign
from elegans_pyg.datasets.images import ImageData, load_images
from elegans_pyg.datasets.sequences import SequenceTask, sequence_task
from elegans_pyg.datasets.signal_propagation import SignalPropagation
from elegans_pyg.datasets.wiring_ensemble import WiringEnsemble

__all__ = [
    "Connectome",
    "ImageData",
    "SequenceTask",
    "SignalPropagation",
    "WiringEnsemble",
    "edge_sign",
    "load_calcium",
    "load_images",
    "sequence_task",
]
