"""Layers: the DAG engine."""

from elegans_pyg.nn.dag import DAGNet

__all__ = ["DAGNet"]
