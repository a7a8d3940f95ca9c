"""Transforms of wirings, ``Data`` to ``Data``: into a DAG, or into a null that keeps some properties and randomises the rest."""

from elegans_pyg.transforms.constrained_dag import ConstrainedDAG
from elegans_pyg.transforms.families import FAMILIES, Family
from elegans_pyg.transforms.generated import BarabasiAlbert, ErdosRenyi, WattsStrogatz
from elegans_pyg.transforms.names_shuffled import NamesShuffled
from elegans_pyg.transforms.random_dag import RandomDAG
from elegans_pyg.transforms.random_rewired import RandomRewired
from elegans_pyg.transforms.rewired import Rewired, TypeRewired
from elegans_pyg.transforms.strength_rewired import StrengthRewired
from elegans_pyg.transforms.weight_shuffled import WeightShuffled

__all__ = [
    "FAMILIES",
    "BarabasiAlbert",
    "ConstrainedDAG",
    "ErdosRenyi",
    "Family",
    "NamesShuffled",
    "RandomDAG",
    "RandomRewired",
    "Rewired",
    "StrengthRewired",
    "TypeRewired",
    "WattsStrogatz",
    "WeightShuffled",
]
