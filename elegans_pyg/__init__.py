"""The wiring diagram of *C. elegans* as trainable networks on PyTorch Geometric.

:mod:`elegans_pyg.datasets` has connectomes and ensembles of wirings, :mod:`elegans_pyg.transforms` turns graphs into DAGs,
:mod:`elegans_pyg.nn` runs them, and :mod:`elegans_pyg.models` has whole networks. Subpackages are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans_pyg import analysis, datasets, dynamics, models, nn, plots, studies, training, transforms

__version__ = "0.1.0"
__all__ = ["analysis", "datasets", "dynamics", "models", "nn", "plots", "studies", "training", "transforms"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the command line can read the settings of recipes without importing torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
