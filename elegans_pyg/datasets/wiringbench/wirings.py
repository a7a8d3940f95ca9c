"""The wirings of WiringBench: a table of recipes, the graphs made from them, and the hash that identifies a wiring."""

import hashlib
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.transforms import FAMILIES, RandomDAG

BASES = tuple(
    name for name in Connectome.names() if name.startswith(("cook2019", "varshney", "witvliet")) and not name.endswith("uncorrected")
)
"""Connectomes that wirings are made from: both sexes, Varshney's hermaphrodite, and eight developmental stages."""
OPTIONS = ("share", "fraction", "p", "density")
"""Numbers of a recipe: the share of the base's neurons of each type that is kept, and the options of the family; NaN if not applicable."""
PARTS = ("train", "valid", "test")
SPLITS = ("random", "family", "size")
FAMILY_PARTS = {"ws": "valid", "strength_rewired": "valid", "ba": "test", "type_rewired": "test", "random_dag": "test"}
"""Families held out by the family split; all others are for training."""
SIZE_PARTS = (185, 280)
"""The size split trains on wirings of up to the first number of neurons, validates up to the second, and tests above it."""

_FRACTIONS = [{"fraction": value} for value in (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)]
_DENSITIES = [{"density": value} for value in (0.5, 0.75, 1.25, 1.5)]
_FULL: dict[str, list[dict[str, float]]] = {
    **{family: _FRACTIONS for family in ("rewired", "type_rewired", "random_rewired")},
    **{family: [{}] for family in ("strength_rewired", "weight_shuffled", "random_dag")},
    "ws": [*({"p": value} for value in (0.01, 0.1, 0.3, 1.0)), *_DENSITIES],
    "er": [{}, *_DENSITIES],
    "ba": [{}, *_DENSITIES],
}
_SMALLER = ("connectome", "rewired", "type_rewired", "random_rewired", "ws", "er", "ba")
_SHARES, _DRAWS, _SMALLER_DRAWS = (0.5, 0.75), 6, 4


def recipes(draws: int = _DRAWS) -> pd.DataFrame:
    """Return the recipes of all wirings, one per row, grouped by base and share: ``base``, ``family``, :data:`OPTIONS`, ``draw`` and
    ``wiring_seed``.

    For every base: the connectome itself, ``draws`` wirings of each family and option, and, from random halves and three quarters of its
    neurons, four wirings of each of seven families. A seed depends only on the recipe and the draw.
    """
    rows = [row for base in BASES for row in _of_base(base, draws)]
    table = pd.DataFrame(rows, columns=["base", "family", *OPTIONS, "draw", "wiring_seed"])
    return table.astype(dict.fromkeys(OPTIONS, np.float64))


def _of_base(base: str, draws: int) -> Iterator[dict[str, Any]]:
    yield {"base": base, "family": "connectome", "share": 1.0, "draw": 0, "wiring_seed": 0}
    plan = [(family, option, 1.0, draws) for family, choices in _FULL.items() for option in choices]
    plan += [(family, {}, share, _SMALLER_DRAWS) for share, family in product(_SHARES, _SMALLER)]
    for family, option, share, count in plan:
        recipe = {"base": base, "family": family, "share": share, **FAMILIES[family].options, **option}
        tag = zlib.crc32(repr(sorted(recipe.items())).encode())
        for draw in range(count):
            yield {**recipe, "draw": draw, "wiring_seed": int(np.random.SeedSequence([tag, draw]).generate_state(1)[0])}


def make_wiring(recipe: Any) -> Data:
    """Make the graph of a row of :func:`recipes`: choose neurons first, then redraw edges.

    A ``random_dag`` has the levels and masks of a DAG; all others are cyclic wirings of the family.
    """
    graph, seed = _base(recipe.base), int(recipe.wiring_seed)
    if recipe.share < 1:
        graph = _part(graph, recipe.share, seed)
    if recipe.family == "random_dag":
        graph = RandomDAG(seed)(graph)
    elif (rewiring := FAMILIES[recipe.family].rewiring) is not None:
        graph = rewiring(seed=seed, **{name: float(getattr(recipe, name)) for name in FAMILIES[recipe.family].options})(graph)
    graph.family, graph.wiring_seed = recipe.family, seed
    return graph


def wiring_hash(data: Data) -> str:
    """Return the SHA-256 of a wiring's neurons with their types, and its edges with type and synapse count, sorted by source and target.

    The types decide which neurons get input and which are read, so that the same edges with other types are another wiring.

    Neurons with unique names are sorted by name, so that the hash does not depend on their numbering; others keep their order.
    """
    nodes = int(data.num_nodes or 0)
    names = data.get("neuron_name")
    rank = np.arange(nodes)
    if names is not None and len(set(names)) == nodes:
        rank[sorted(range(nodes), key=names.__getitem__)] = np.arange(nodes)
    source, target = rank[data.edge_index.cpu().numpy()]
    kind = np.zeros(len(source), dtype=np.int64) if data.get("edge_type") is None else data.edge_type.cpu().numpy()
    weight = np.ones(len(source)) if data.get("edge_weight") is None else data.edge_weight.detach().cpu().numpy()
    order = np.lexsort((kind, target, source))
    types = np.zeros(nodes) if data.get("neuron_type") is None else data.neuron_type.cpu().numpy()
    digest = hashlib.sha256(f"{nodes} neurons, {len(source)} edges".encode())
    edges = [column[order] for column in (source, target, kind, weight)]
    for column, dtype in zip((types[np.argsort(rank)], *edges), ("<i4", "<i4", "<i4", "<i4", "<f4"), strict=True):
        digest.update(np.ascontiguousarray(column.astype(dtype)).data)
    return digest.hexdigest()


def parts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the part (``train``, ``valid``, ``test``) of each wiring in every split, from the columns ``sha256``, ``family`` and
    ``neurons``.

    ``random``: by the hash, 60, 20 and 20 %; ``family``: whole families are held out; ``size``: training on small wirings, test on large
    ones.
    """
    tenth = table["sha256"].map(lambda digest: int(digest[:8], 16) % 10).to_numpy()
    return pd.DataFrame(
        {
            "random": np.select([tenth < 6, tenth < 8], PARTS[:2], PARTS[2]),
            "family": table["family"].map(FAMILY_PARTS).fillna("train").to_numpy(),
            "size": np.select([table["neurons"] <= SIZE_PARTS[0], table["neurons"] <= SIZE_PARTS[1]], PARTS[:2], PARTS[2]),
        }
    )


@lru_cache(maxsize=len(BASES))
def _base(name: str) -> Data:
    graph = Connectome(name)[0]
    del graph.y
    return graph


def _part(graph: Data, share: float, seed: int) -> Data:
    """Return the subgraph of a random ``share`` of the neurons of each type."""
    rng, chosen = np.random.default_rng([zlib.crc32(b"share"), seed]), list[int]()
    kinds = graph.neuron_type.numpy()
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        chosen += rng.permutation(own)[: max(1, round(share * len(own)))].tolist()
    keep = torch.tensor(sorted(chosen))
    part = graph.subgraph(keep)
    part.neuron_name = [graph.neuron_name[neuron] for neuron in keep.tolist()]
    return part
