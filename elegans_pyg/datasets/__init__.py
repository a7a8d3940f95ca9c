"""Things you load: connectomes and images."""

from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.images import ImageData, load_images

__all__ = ["Connectome", "ImageData", "load_images"]
