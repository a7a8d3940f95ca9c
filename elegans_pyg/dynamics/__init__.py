"""The living worm: membrane models, simulation under many stimuli at once, and NEURON as the reference."""

from elegans_pyg.dynamics.simulate import simulate
from elegans_pyg.dynamics.worm import State, Worm

__all__ = ["State", "Worm", "simulate"]
