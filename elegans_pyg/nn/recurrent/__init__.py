"""Recurrent layers of several replicas at once."""

from elegans_pyg.nn.recurrent.scan import CELLS, EXECUTORS, GATES, choose_executor, recurrent

__all__ = ["CELLS", "EXECUTORS", "GATES", "choose_executor", "recurrent"]
