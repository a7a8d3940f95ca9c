"""Things you load: connectomes, signs of their edges, ensembles of wirings, images, sequences."""

from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.edge_attributes import edge_sign
from elegans_pyg.datasets.images import ImageData, load_images
from elegans_pyg.datasets.sequences import SequenceTask, sequence_task
from elegans_pyg.datasets.wiring_ensemble import WiringEnsemble

__all__ = ["Connectome", "ImageData", "SequenceTask", "WiringEnsemble", "edge_sign", "load_images", "sequence_task"]
