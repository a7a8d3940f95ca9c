"""Export of trained networks to files that do not need this package and, except for ``.pt2``, do not need PyTorch."""

from elegans_pyg.models.export.files import FORMATS, TOLERANCE, Exported, export_network
from elegans_pyg.models.export.inference import inference_form

__all__ = ["FORMATS", "TOLERANCE", "Exported", "export_network", "inference_form"]
