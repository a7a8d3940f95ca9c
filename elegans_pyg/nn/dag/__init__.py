"""Message passing along DAGs: the layer, its schedule, and its executors."""

from elegans_pyg.nn.dag.network import DAGNet

__all__ = ["DAGNet"]
