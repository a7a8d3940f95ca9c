"""Layers: connectomes as networks of convolutions or of dense units, reservoirs, and recurrent layers."""

from elegans_pyg.nn.dag import DAGNet
from elegans_pyg.nn.tensor import TensorNetwork

__all__ = ["DAGNet", "TensorNetwork"]
