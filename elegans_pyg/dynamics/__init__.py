"""Simulating the worm's nervous system: membrane models, stimuli, many simulations at once, waveforms, and NEURON as the reference."""

from elegans_pyg.dynamics.neuron_backend import NeuronRun, simulate_neuron
from elegans_pyg.dynamics.scenarios import SCENARIOS, Scenario
from elegans_pyg.dynamics.simulate import LARGEST_ERROR_MV, Simulation, StepWarning, simulate
from elegans_pyg.dynamics.stimuli import Stimuli, stimuli
from elegans_pyg.dynamics.waveforms import Waveforms
from elegans_pyg.dynamics.worm import State, Worm

__all__ = ["LARGEST_ERROR_MV", "SCENARIOS", "NeuronRun", "Scenario", "Simulation", "State", "StepWarning", "Stimuli", "Waveforms", "Worm"]
__all__ += ["simulate", "simulate_neuron", "stimuli"]
