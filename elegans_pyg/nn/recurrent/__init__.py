"""Recurrent layers, dense or wired by a graph, for several replicas or variants at once."""

from elegans_pyg.nn.executors import BACKENDS
from elegans_pyg.nn.recurrent.leaky import ACTIVATIONS, LeakyWalk
from elegans_pyg.nn.recurrent.scan import CELLS, GATES, choose_backend, recurrent

__all__ = ["ACTIVATIONS", "BACKENDS", "CELLS", "GATES", "LeakyWalk", "choose_backend", "recurrent"]
