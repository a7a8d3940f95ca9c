"""The wiring diagram of *C. elegans* as trainable networks on PyTorch Geometric.

Start from :mod:`elegans_pyg.datasets` (connectomes and ensembles of wirings), :mod:`elegans_pyg.transforms` (graph to DAG),
:mod:`elegans_pyg.nn` (the DAG engine) and :mod:`elegans_pyg.models` (whole networks). Importing this package does nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans_pyg import analysis, datasets, dynamics, models, nn, plots, studies, training, transforms

__version__ = "0.1.0"
__all__ = ["analysis", "datasets", "dynamics", "models", "nn", "plots", "studies", "training", "transforms"]


def __getattr__(name: str) -> Any:
    # On first use: recipes declare what they do with these, and the command line reads their settings, without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
