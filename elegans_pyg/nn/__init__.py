"""Layers: the DAG engine."""

from elegans_pyg.nn.dag import DAGNet
from elegans_pyg.nn.tensor_network import TensorNetwork

__all__ = ["DAGNet", "TensorNetwork"]
