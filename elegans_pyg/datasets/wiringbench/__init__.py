"""WiringBench: the data set, its wirings, and its OGB format."""

from elegans_pyg._on_first_use import on_first_use
from elegans_pyg.datasets.wiringbench.dataset import WiringBench

__getattr__, _of_ogb = on_first_use(__name__, {"ogb": ("Evaluator", "read_ogb", "to_ogb")})
__all__ = ["WiringBench", *_of_ogb]
