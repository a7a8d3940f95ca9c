"""Recurrent layers, dense or wired by a graph, for several replicas or variants at once."""

from elegans_pyg.nn.recurrent.leaky import ACTIVATIONS, BACKENDS, LeakyWalk
from elegans_pyg.nn.recurrent.scan import CELLS, EXECUTORS, GATES, choose_executor, recurrent

__all__ = ["ACTIVATIONS", "BACKENDS", "CELLS", "EXECUTORS", "GATES", "LeakyWalk", "choose_executor", "recurrent"]
