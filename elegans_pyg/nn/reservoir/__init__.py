"""Reservoirs: their steps through time, and the spectral radius of a wiring."""

from elegans_pyg.nn.reservoir.walk import ReservoirWeights

__all__ = ["ReservoirWeights"]
