"""Whole networks: classifiers, autoencoders, reservoirs and recurrent networks, wired by connectomes."""

from elegans_pyg.models.classifier import ConnectomeClassifier
from elegans_pyg.models.connectome_rnn import ConnectomeRNN
from elegans_pyg.models.dense_network import DenseNetwork
from elegans_pyg.models.echo_state_network import EchoStateNetwork
from elegans_pyg.models.elegans_m1 import ElegansM1
from elegans_pyg.models.elegans_m2 import ElegansM2
from elegans_pyg.models.linear_propagation import LinearPropagation
from elegans_pyg.models.reduced_order import ReducedOrder
from elegans_pyg.models.reservoir import Reservoir
from elegans_pyg.models.ridge_readout import RidgeReadout
from elegans_pyg.models.variants import SideBySide

__all__ = [
    "ConnectomeClassifier",
    "ConnectomeRNN",
    "DenseNetwork",
    "EchoStateNetwork",
    "ElegansM1",
    "ElegansM2",
    "LinearPropagation",
    "ReducedOrder",
    "Reservoir",
    "RidgeReadout",
    "SideBySide",
]
