"""Whole networks."""

from elegans_pyg.models.classifier import ConnectomeClassifier
from elegans_pyg.models.reservoir import Reservoir
from elegans_pyg.models.ridge_readout import RidgeReadout

__all__ = ["ConnectomeClassifier", "Reservoir", "RidgeReadout"]
