"""Networks of dense units whose values are multiplied along the synapses."""

from elegans_pyg.nn.tensor.network import TensorNetwork

__all__ = ["TensorNetwork"]
