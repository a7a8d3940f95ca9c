"""WiringBench: wirings, each with the measured scores of networks built from it."""

import itertools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.data.separate import separate

from elegans_pyg._arguments import check_choice
from elegans_pyg._files import cache_folder, sha256
from elegans_pyg._progress import track
from elegans_pyg._tensor_files import read_tensors, write_tensors
from elegans_pyg.datasets.wiringbench import tables
from elegans_pyg.datasets.wiringbench.wirings import PARTS, SPLITS, make_wiring, wiring_hash
from elegans_pyg.wirings import CHEMICAL, NEURON_TYPES

_FORMAT, _PATIENCE_S = 1, 2.0


class WiringBench(InMemoryDataset):
    r"""Wirings like the connectomes of *C. elegans*, each with the scores of networks built from it.

    Wirings are the connectomes of both sexes, of Varshney et al. and of eight developmental stages, and wirings of every family of
    :data:`~elegans_pyg.transforms.FAMILIES` made from them, at several degrees of rewiring, at several densities, and from parts of their
    neurons. :meth:`table` lists those measured; versions before 1.0 are pilots of few. They are stored as recipes, and generated when first
    needed; a wiring whose edges differ from those measured raises. Targets, their reliability, how they were measured, and the licence:
    ``docs/wiringbench.md``.

    Args:
        target: one of :meth:`targets`.
        split: ``"random"``, ``"family"`` (whole families are held out) or ``"size"`` (large wirings are held out); see
            :meth:`get_idx_split`.
        root: folder to cache the generated wirings, by default in the user's cache.
        transform, pre_transform, pre_filter: as in any PyG data set; ``transform`` is applied at every access, the others once at
            construction.

    Shapes (of each ``Data``):
        - ``edge_index (2, E)``, ``edge_weight (E,)``, ``edge_type (E,)``, ``neuron_type (N,)``, ``inhibitory (N,)``, ``neuron_name``:
          as in a :class:`~elegans_pyg.datasets.Connectome`; ``x (N, 6)``: the one-hot type
        - ``y (1, 1)``: mean of the target over its repeats; ``repeats (1, R)``: all of them, NaN for a failed run
        - ``family``; ``number``: the number of the wiring, as in :meth:`table`

    Raises:
        ValueError: for an unknown target or split; if a table is damaged, or a generated wiring differs from the one measured.
        OSError: if ``root`` cannot be written.

    Example:
        >>> bench = WiringBench("memory")
        >>> train = bench[bench.get_idx_split()["train"]]
    """

    def __init__(
        self,
        target: str = "memory",
        split: str = "random",
        root: str | Path | None = None,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
    ) -> None:
        check_choice("target", target, self.targets()["target"].tolist())
        check_choice("split", split, SPLITS)
        super().__init__(root=None, transform=transform)
        self.target, self.split = target, split
        recipes, results = self.table("wirings"), self.table("results")
        values = results[results["target"] == target].pivot(index="number", columns="repeat", values="value")
        values = values[values.notna().any(axis=1)]
        self.data, self.slices = _collated(_made(Path(root) if root else cache_folder("wiringbench"), recipes), values, recipes)
        if pre_transform is not None or pre_filter is not None:
            graphs = [data for data in self if pre_filter is None or pre_filter(data)]
            self.data, self.slices = self.collate(graphs if pre_transform is None else [pre_transform(data) for data in graphs])

    @staticmethod
    def targets() -> pd.DataFrame:
        """Return one row per target.

        Columns: description, whether more is better (missing where neither is), numbers of wirings and repeats, mean and standard deviation
        over wirings, intraclass correlation of one run (``icc``), reliability of the repeats' mean with its interval, the same among the
        draws of a recipe (``within``), whether it is ranked (reliability of at least 0.8), and the number of repeats needed for that.
        """
        return WiringBench.table("targets")

    @staticmethod
    def table(name: str) -> pd.DataFrame:
        """Return a table as published.

        ``"wirings"``: recipes, hashes and parts of each split; ``"results"``: every repeat of every target; ``"targets"``; ``"measures"``:
        structural measures of the wiring and its DAG, see :func:`~elegans_pyg.analysis.measures`.
        """
        return tables.read(name).copy()

    def get_idx_split(self, split: str | None = None) -> dict[str, Tensor]:
        """Return the positions in this data set of the wirings for training, validation and test (``"train"``, ``"valid"``, ``"test"``)."""
        split = self.split if split is None else split
        check_choice("split", split, SPLITS)
        part = self.table("wirings").set_index("number").loc[self._numbers(), f"split_{split}"].to_numpy()
        return {name: torch.from_numpy(np.flatnonzero(part == name)) for name in PARTS}

    @staticmethod
    def query(wiring: Data) -> pd.DataFrame:
        """Look up the results of a wiring by the hash of its edges and the types of its neurons.

        Returns one row per target, with ``mean``, ``repeats`` and the wiring's ``number``. Raises ``ValueError`` if it was not measured.
        """
        wirings, digest = WiringBench.table("wirings"), wiring_hash(wiring)
        numbers = wirings.loc[wirings["sha256"] == digest, "number"]
        if numbers.empty:
            raise ValueError(f"wiring: expected one of the {len(wirings):,} wirings measured, got one with hash {digest[:16]}; measure it")
        results = WiringBench.table("results")
        own = results[results["number"].isin(numbers)].dropna(subset=["value"])
        found = own.groupby(["target", "number"], sort=False, observed=True)["value"].agg(mean="mean", repeats="size")
        return found.reset_index()

    def to_ogb(self, folder: str | Path) -> dict[str, Any]:
        """Write this target in the format of OGB, by :class:`ogb.io.DatasetSaver`; see :func:`~elegans_pyg.datasets.wiringbench.to_ogb`."""
        from elegans_pyg.datasets.wiringbench.ogb import to_ogb

        return to_ogb(self, folder)

    def _numbers(self) -> list[int]:
        # Of all graphs, or of those selected by indexing.
        numbers = self._data.number
        return numbers[torch.as_tensor(list(self.indices()))].tolist()

    def __repr__(self) -> str:
        return f"WiringBench('{self.target}', {len(self)})"


def all_wirings() -> list[Data]:
    """Return every wiring in the order of the table, with or without results."""
    recipes = WiringBench.table("wirings")
    nothing = pd.DataFrame(np.nan, index=recipes["number"], columns=[0])
    data, slices = _collated(_made(cache_folder("wiringbench"), recipes), nothing, recipes)
    return [separate(Data, data, place, slices, decrement=False) for place in range(len(recipes))]


def _made(folder: Path, recipes: pd.DataFrame) -> dict[str, Any]:
    """Return all wirings as joined tensors, from the cache, or generated and cached."""
    description: dict[str, Any] = {"format": _FORMAT, "wirings": sha256("".join(recipes["sha256"]).encode())}
    path = folder / f"wirings-{description['wirings'][:16]}.safetensors"
    if path.exists():
        try:
            tensors, content = read_tensors(path)
            if content["description"] != description:
                raise ValueError(f"{path} holds other wirings")
            return {**tensors, "names": content["names"]}
        except (ValueError, KeyError) as error:
            warnings.warn(f"cached wirings cannot be used and are generated again: {error}", stacklevel=4)
    graphs = []
    for recipe in track(recipes.itertuples(), "making wirings", len(recipes), not sys.stderr.isatty(), _PATIENCE_S):
        graph = make_wiring(recipe)
        if wiring_hash(graph) != recipe.sha256:
            made = f"wiring {recipe.number} ({recipe.family} of {recipe.base})"
            raise ValueError(
                f"wirings: expected {made} with the measured edges, got others; use the package version that it was published with"
            )
        graphs.append(graph)
    names = sorted({name for graph in graphs for name in graph.neuron_name})
    number = {name: place for place, name in enumerate(names)}
    tensors = {
        "nodes": torch.tensor([graph.num_nodes for graph in graphs]),
        "edges": torch.tensor([graph.num_edges for graph in graphs]),
        "edge_index": torch.cat([graph.edge_index for graph in graphs], dim=1).short(),
        "edge_weight": torch.cat([graph.edge_weight for graph in graphs]),
        "neuron_type": torch.cat([graph.neuron_type for graph in graphs]).to(torch.int8),
        "inhibitory": torch.cat([graph.inhibitory for graph in graphs]),
        "name": torch.tensor([number[name] for graph in graphs for name in graph.neuron_name], dtype=torch.int16),
    }
    write_tensors(path, tensors, {"description": description, "names": names})
    return {**tensors, "names": names}


def _collated(made: dict[str, Any], values: pd.DataFrame, recipes: pd.DataFrame) -> tuple[Data, dict[str, Tensor]]:
    """Join the wirings that have the target, in the layout of PyG's in-memory data sets."""
    chosen = torch.tensor(recipes["number"].isin(values.index).to_numpy())
    recipes = recipes[chosen.numpy()]
    nodes, edges = made["nodes"], made["edges"]
    of_nodes, of_edges = chosen.repeat_interleave(nodes), chosen.repeat_interleave(edges)
    node_ptr, edge_ptr = (torch.cat([torch.zeros(1, dtype=torch.int64), count[chosen].cumsum(0)]) for count in (nodes, edges))
    kind, names = made["neuron_type"][of_nodes].long(), [made["names"][place] for place in made["name"][of_nodes].tolist()]
    bounds = node_ptr.tolist()
    repeats = torch.from_numpy(values.loc[recipes["number"]].to_numpy(np.float32, copy=True))
    data = Data(
        x=torch.nn.functional.one_hot(kind, len(NEURON_TYPES)).float(),
        edge_index=made["edge_index"][:, of_edges].long(),
        edge_weight=made["edge_weight"][of_edges],
        edge_type=torch.full((int(of_edges.sum()),), CHEMICAL),
        neuron_type=kind,
        inhibitory=made["inhibitory"][of_nodes],
        y=repeats.nanmean(dim=1, keepdim=True),
        repeats=repeats,
        number=torch.from_numpy(recipes["number"].to_numpy(np.int64, copy=True)),
        family=recipes["family"].tolist(),
        neuron_name=[names[low:high] for low, high in itertools.pairwise(bounds)],
        num_nodes=bounds[-1],
    )
    data._num_nodes = nodes[chosen].tolist()  # PyG's name for it in joined graphs
    graphs = torch.arange(len(recipes) + 1)
    slices = dict.fromkeys(("y", "repeats", "number", "family", "neuron_name"), graphs)
    slices |= dict.fromkeys(("x", "neuron_type", "inhibitory"), node_ptr) | dict.fromkeys(
        ("edge_index", "edge_weight", "edge_type"), edge_ptr
    )
    return data, slices
