"""Transforms of wirings, ``Data`` to ``Data``: into a DAG, or into a control that keeps some of its properties and redraws the rest."""

from elegans_pyg.transforms.barabasi_albert import BarabasiAlbert
from elegans_pyg.transforms.constrained_dag import ConstrainedDAG
from elegans_pyg.transforms.erdos_renyi import ErdosRenyi
from elegans_pyg.transforms.families import FAMILIES, Family
from elegans_pyg.transforms.random_dag import RandomDAG
from elegans_pyg.transforms.random_rewired import RandomRewired
from elegans_pyg.transforms.rewired import Rewired
from elegans_pyg.transforms.type_rewired import TypeRewired
from elegans_pyg.transforms.watts_strogatz import WattsStrogatz
from elegans_pyg.transforms.weight_shuffled import WeightShuffled

__all__ = [
    "FAMILIES",
    "BarabasiAlbert",
    "ConstrainedDAG",
    "ErdosRenyi",
    "Family",
    "RandomDAG",
    "RandomRewired",
    "Rewired",
    "TypeRewired",
    "WattsStrogatz",
    "WeightShuffled",
]
