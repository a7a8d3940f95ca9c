"""Whole networks."""

from elegans_pyg.models.classifier import ConnectomeClassifier
from elegans_pyg.models.reduced_order import ReducedOrder

__all__ = ["ConnectomeClassifier", "ReducedOrder"]
