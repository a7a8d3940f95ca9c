"""The living worm: membrane models, simulation under many stimuli at once, and NEURON as the reference."""

from elegans_pyg.dynamics.neuron_backend import NeuronRun, simulate_neuron
from elegans_pyg.dynamics.simulate import simulate
from elegans_pyg.dynamics.worm import State, Worm

__all__ = ["NeuronRun", "State", "Worm", "simulate", "simulate_neuron"]
