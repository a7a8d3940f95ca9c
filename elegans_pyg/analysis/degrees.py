"""Degrees: how many partners neurons have, and who joins whom by degree and by type."""

from typing import Any

import numpy as np
import pandas as pd
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import Floats, Ints, SimpleGraph, measured, share

_DIRECTIONS = ("in", "out", "total")
_RICH_SHARE = 0.1

_NEWMAN = "Newman 2003, doi:10.1103/PhysRevE.67.026126"
_BEYOND_CHANCE = "reciprocity beyond that of random edges, (r - density) / (1 - density); 0 for a complete graph"
_BY_DEGREE = "correlation over edges of the source's out-degree with the target's in-degree; 0 if either is the same on all edges"
_BY_TYPE = "excess of edges within types over chance, relative to the largest possible; 0 if all are within one type"
_RICH = "density among the tenth of neurons with the highest total degree (ties included) over that of the graph; 0 without edges"


def degree_distribution(data: Data, direction: str = "total", weighted: bool = False, synapses: str = "all") -> pd.DataFrame:
    """Count the neurons with each degree, or each strength.

    Args:
        direction: ``"in"``, ``"out"`` or ``"total"``, their sum; others raise a ``ValueError``.
        weighted: use the strength, the sum of weights (synapse counts, or sections), instead of the number of partners.

    Returns:
        one row per value that occurs, ascending: ``degree`` (or ``strength``), ``neurons``, ``share`` and ``share_above`` (share of neurons
        with this value or more).
    """
    values = node_degrees(SimpleGraph.from_data(data, synapses), direction, weighted)
    found, neurons = np.unique(values, return_counts=True)
    table = pd.DataFrame({"strength" if weighted else "degree": found, "neurons": neurons, "share": neurons / len(values)})
    return table.assign(share_above=neurons[::-1].cumsum()[::-1] / len(values))


def node_degrees(graph: SimpleGraph, direction: str, weighted: bool = False) -> Ints | Floats:
    """Degree or strength of each neuron, ``(N,)``."""
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction: expected one of {', '.join(_DIRECTIONS)}, got {direction!r}; choose one of them")
    weights = graph.weight if weighted else None
    out = np.bincount(graph.source, weights, minlength=graph.num_nodes)
    into = np.bincount(graph.target, weights, minlength=graph.num_nodes)
    return out if direction == "out" else into if direction == "in" else out + into


def rich_club(data: Data, synapses: str = "all") -> pd.DataFrame:
    r"""Rich-club coefficient of a directed graph: how densely the neurons above each degree are connected to each other.

    From Zhou & Mondragón (2004), "The rich-club phenomenon in the Internet topology", IEEE Commun. Lett. 8, 180-182,
    doi:10.1109/LCOMM.2004.823426; for *C. elegans*, Towlson et al. (2013), doi:10.1523/JNEUROSCI.3784-12.2013. With :math:`N_k` neurons of
    total degree (in and out) above :math:`k`, and :math:`M_k` directed edges among them,

    .. math:: \phi(k) = \frac{M_k}{N_k (N_k - 1)}.

    Divide by the mean over ``Rewired`` graphs, which keep the degrees, to see what the degrees alone do not explain.

    Returns:
        one row per degree :math:`k`, from 0 up, that at least two neurons exceed: ``degree``, ``neurons``, ``edges``, ``coefficient``.
    """
    graph = SimpleGraph.from_data(data, synapses)
    degree = graph.in_degree + graph.out_degree
    lesser, top = np.minimum(degree[graph.source], degree[graph.target]), int(degree.max())
    neurons = graph.num_nodes - np.cumsum(np.bincount(degree, minlength=top + 1))
    edges = graph.num_edges - np.cumsum(np.bincount(lesser, minlength=top + 1))
    table = pd.DataFrame({"degree": np.arange(top + 1), "neurons": neurons, "edges": edges})[neurons > 1].reset_index(drop=True)
    return table.assign(coefficient=table["edges"] / (table["neurons"] * (table["neurons"] - 1)))


@measured(
    "size",
    ("nodes", "neurons, isolated ones included", "neurons"),
    ("edges", "ordered pairs of different neurons with a synapse, of whatever kind, counted once", "edges"),
    ("self_loops", "neurons with a synapse onto themselves; all other measures leave these synapses out", "neurons"),
    ("isolated", "neurons without any edge", "neurons"),
    ("density", "edges over the ordered pairs of neurons; 0 for one neuron"),
)
def size_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    isolated = int(((graph.in_degree + graph.out_degree) == 0).sum())
    return graph.num_nodes, graph.num_edges, graph.self_loops, isolated, _density(graph)


@measured(
    "degrees",
    ("reciprocity", "share of edges whose reverse is an edge too; 0 without edges"),
    ("reciprocity_excess", _BEYOND_CHANCE, "", "Garlaschelli & Loffredo 2004, doi:10.1103/PhysRevLett.93.268701"),
    ("in_degree_max", "largest number of neurons that synapse onto one neuron", "neurons"),
    ("out_degree_max", "largest number of neurons that one neuron synapses onto", "neurons"),
    ("in_degree_sd", "standard deviation of the in-degree over neurons", "neurons"),
    ("out_degree_sd", "standard deviation of the out-degree over neurons", "neurons"),
    ("in_strength_sd", "standard deviation of the summed incoming weights", "weight"),
    ("out_strength_sd", "standard deviation of the summed outgoing weights", "weight"),
    ("degree_assortativity", _BY_DEGREE, "", _NEWMAN),
    ("type_assortativity", _BY_TYPE, "", _NEWMAN),
    ("rich_club", _RICH, "", "Towlson et al. 2013, doi:10.1523/JNEUROSCI.3784-12.2013"),
)
def degree_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    reciprocity, density = share(int(graph.is_mutual.sum()), graph.num_edges), _density(graph)
    in_strength, out_strength = (node_degrees(graph, direction, weighted=True) for direction in ("in", "out"))
    spreads = (float(values.std()) for values in (graph.in_degree, graph.out_degree, in_strength, out_strength))
    out, into = graph.out_degree[graph.source], graph.in_degree[graph.target]
    by_degree = float(np.corrcoef(out, into)[0, 1]) if graph.num_edges and np.ptp(out) and np.ptp(into) else 0.0
    most = int(graph.in_degree.max()), int(graph.out_degree.max())
    joins = by_degree, _type_assortativity(graph), _rich_density(graph, density)
    return reciprocity, share(reciprocity - density, 1 - density), *most, *spreads, *joins


def _density(graph: SimpleGraph) -> float:
    return share(graph.num_edges, graph.num_nodes * (graph.num_nodes - 1))


def _type_assortativity(graph: SimpleGraph) -> float:
    """Integers until the last division, so that no precision is lost if almost all edges stay within one type."""
    types = len(graph.type_counts)
    mixing = np.bincount(graph.neuron_type[graph.source] * types + graph.neuron_type[graph.target], minlength=types**2)
    mixing = mixing.reshape(types, types)
    by_chance = int(mixing.sum(axis=1) @ mixing.sum(axis=0))
    return share(graph.num_edges * int(np.trace(mixing)) - by_chance, graph.num_edges**2 - by_chance)


def _rich_density(graph: SimpleGraph, density: float) -> float:
    if not density:
        return 0.0
    degree = graph.in_degree + graph.out_degree
    wanted = max(2, int(np.ceil(_RICH_SHARE * graph.num_nodes)))
    # Ties with the last one are included, so that the numbering of neurons has no influence.
    rich = degree >= np.sort(degree)[-wanted]
    neurons = int(rich.sum())
    return float((rich[graph.source] & rich[graph.target]).sum() / (neurons * (neurons - 1)) / density)
