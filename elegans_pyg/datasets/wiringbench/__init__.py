"""WiringBench: the data set, its wirings, and its OGB format."""

from importlib import import_module
from typing import Any

from elegans_pyg.datasets.wiringbench.dataset import WiringBench

_HOMES = {"Evaluator": "ogb", "read_ogb": "ogb", "to_ogb": "ogb"}

__all__ = ["WiringBench", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
