"""Attributes of a worm's edges beyond their kind: the sign of a chemical synapse, the transmitters of an extrasynaptic one."""

import re

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg._files import data_folder
from elegans_pyg.wirings import CHEMICAL, as_wiring

_TRANSMITTERS = ("Glu", "ACh", "GABA")


def plain_name(name: str) -> str:
    """Return a neuron's name without zeros before its number: ``VA01`` becomes ``VA1``."""
    return re.sub(r"(?<=[A-Za-z])0+(?=[1-9])", "", name)


def edge_sign(data: Data) -> Tensor:
    r"""Predict the sign of every edge between neurons of *C. elegans* from gene expression.

    After Fenyves et al. (2020), PLoS Comput. Biol. 16:e1007974, doi:10.1371/journal.pcbi.1007974. With :math:`R_{mt}` whether neuron
    :math:`m` releases glutamate, acetylcholine or GABA (as its dominant or its alternative transmitter), and :math:`E_{nt}, I_{nt}` whether
    neuron :math:`n` expresses an excitatory or inhibitory ionotropic receptor of it,

    .. math::
        s_{mn} = \max_t R_{mt} E_{nt} - \max_t R_{mt} I_{nt}.

    0 means unknown: receptors of both signs, or none; an edge that is not a chemical synapse; or a neuron that the paper does not list,
    such as those found only in males. For the 3,638 connections listed in the paper this is its prediction; for others the same rule is
    applied. Only names are used, so it works for any graph of the worm's neurons, also DAGs and rewired ones: ``dag.edge_sign =
    edge_sign(dag)``.

    Args:
        data: a wiring; ``neuron_name`` with or without zeros before a number.

    Returns:
        ``(E,)`` int64 of +1 (excitatory), -1 (inhibitory) and 0, on the device of ``data``.

    Raises:
        TypeError, ValueError: as :func:`~elegans_pyg.wirings.as_wiring`.

    Example:
        >>> from elegans_pyg.datasets import Connectome
        >>> edge_sign(Connectome("cook2019-hermaphrodite")[0]).unique(return_counts=True)[1].tolist()
        [436, 1814, 1317]
    """
    data = as_wiring(data)
    table = pd.read_csv(data_folder("connectomes") / "polarity.csv", index_col="name", keep_default_na=False)
    table = table.reindex([plain_name(name) for name in data.neuron_name], fill_value="")

    def has(column: str, sign: str) -> Tensor:
        words = table[column].str.split().tolist()
        return torch.tensor([[transmitter + sign in listed for transmitter in _TRANSMITTERS] for listed in words])

    source, target = data.edge_index.cpu()
    released = has("transmitters", "")[source]
    excitatory, inhibitory = ((released & has("receptors", sign)[target]).any(1).long() for sign in "+-")
    return (excitatory - inhibitory).to(data.edge_index.device) * (data.edge_type == CHEMICAL)


def edge_signals(data: Data, edges: pd.DataFrame) -> tuple[Tensor, list[str]]:
    """Return the transmitter-receptor pairs that link the neurons of every edge.

    Args:
        data: an extrasynaptic layer, built from ``edges``.
        edges: its table, with the columns ``pre``, ``post`` and ``signals``, such as ``dopamine:dop-1;dopamine:dop-3``.

    Returns:
        ``(E, S)`` bool and the ``S`` names, sorted.
    """
    signals = edges.set_index(["pre", "post"])["signals"].str.get_dummies(";")
    source, target = ([data.neuron_name[node] for node in ends] for ends in data.edge_index.tolist())
    chosen = signals.loc[list(zip(source, target, strict=True))]
    return torch.tensor(chosen.to_numpy(dtype=bool)), signals.columns.to_list()
