"""Whole networks."""

from elegans_pyg.models.classifier import ConnectomeClassifier

__all__ = ["ConnectomeClassifier"]
