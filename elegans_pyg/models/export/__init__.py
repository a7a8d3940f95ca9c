"""Trained networks as files that need neither this package nor, but for one of them, PyTorch."""

from elegans_pyg.models.export.files import FORMATS, TOLERANCE, Exported, export_network
from elegans_pyg.models.export.inference import inference_form

__all__ = ["FORMATS", "TOLERANCE", "Exported", "export_network", "inference_form"]
