"""Ensembles of DAGs from a connectome: nulls of one family, made by the same procedure as the connectome's own DAG."""

import hashlib
import json
import sys
import warnings
import zlib
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data, InMemoryDataset

from elegans_pyg._arguments import check_choice, check_seed, check_whole, shown
from elegans_pyg._progress import track
from elegans_pyg._threads import in_threads
from elegans_pyg.datasets.graph_cache import hash_graph, load_graphs, save_graphs
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG, RandomDAG
from elegans_pyg.transforms.strength_rewired import relative_error, strengths
from elegans_pyg.wirings import as_wiring

_TOLERANCE = 0.01
_MATCH_TRIES = 64
_CACHE_FORMAT = 3
_PATIENCE_S = 2.0


class WiringEnsemble(InMemoryDataset):
    r"""``count`` DAGs of one family, made from a cyclic connectome: rewire first, make the DAG second.

    Every variant is :math:`\mathrm{DAG}(\mathrm{rewire}_i(\mathrm{base}))` with the same DAG step as for the base, so that other families
    can be compared with an ensemble of family ``connectome``. Variant :math:`i` has its own seed, drawn from ``seed``, the family's name
    and :math:`i`; it depends neither on ``count`` nor on other families.

    ==================== ==========================================================================================================
    family               what is kept
    ==================== ==========================================================================================================
    ``connectome``       everything; variants differ only in their seed, and with ``dag="random"`` in their numbering
    ``ws``               numbers of neurons, of each type, of edges; option ``p``, see :class:`~elegans_pyg.transforms.WattsStrogatz`
    ``er``               the same, see :class:`~elegans_pyg.transforms.ErdosRenyi`
    ``ba``               the same, see :class:`~elegans_pyg.transforms.BarabasiAlbert`
    ``rewired``          in- and out-degrees; option ``fraction``, see :class:`~elegans_pyg.transforms.Rewired`
    ``type_rewired``     degrees to and from each type; option ``fraction``, see :class:`~elegans_pyg.transforms.TypeRewired`
    ``strength_rewired`` degrees, nearly strengths, see :class:`~elegans_pyg.transforms.StrengthRewired`
    ``random_rewired``   numbers of neurons and edges; option ``fraction``, see :class:`~elegans_pyg.transforms.RandomRewired`
    ``weight_shuffled``  topology, see :class:`~elegans_pyg.transforms.WeightShuffled`
    ``names_shuffled``   the graph and its types, see :class:`~elegans_pyg.transforms.NamesShuffled`
    ``random_dag``       undirected topology, see :class:`~elegans_pyg.transforms.RandomDAG`, which is its DAG step for any ``dag``
    ==================== ==========================================================================================================

    The families ``ws``, ``er`` and ``ba`` have as many edges as the base, but the DAG step may keep a different number. Of the
    hermaphrodite's 3,530 edges between different neurons it keeps 2,263; of theirs, 1,870 to 1,880 on average over 30 graphs (see
    :meth:`match_report`). ``match="dag"`` searches for each variant the density at which its DAG has the number of edges of the base's DAG
    within 1 % (about 4,350 edges before the DAG step). The other families have no density, and raise for ``match``.

    Args:
        base: the cyclic connectome.
        family: one of :data:`~elegans_pyg.transforms.FAMILIES`.
        count: number of variants.
        seed: non-negative integer from which the variants' seeds are drawn.
        root: folder to cache the ensemble, in ``root/processed``, one file per choice of arguments; ``None``: no cache. A damaged file, or
            one that holds another ensemble, is reported by a ``UserWarning`` and rebuilt.
        match: ``None`` or ``"dag"``.
        dag: ``"constrained"`` for :class:`~elegans_pyg.transforms.ConstrainedDAG` or ``"random"`` for
            :class:`~elegans_pyg.transforms.RandomDAG`, numbered by each variant's seed.
        progress: show a progress bar if it takes over two seconds and standard error is a terminal.
        transform, pre_transform, pre_filter: as in any PyG data set; the files in ``root`` are written before they are applied.
        **options: options of the family, as in the table; ``ws``, ``er`` and ``ba`` also take ``density``, the number of edges as a
            multiple of the base's.

    Each ``Data`` has the attributes of the DAG step, ``family``, ``wiring_seed`` (an integer), and ``y (1,)``, the index of the family in
    :data:`~elegans_pyg.transforms.FAMILIES`, as a label.

    Raises:
        TypeError: if an argument has the wrong type, or the family has no such option.
        ValueError: if a name is unknown, a number out of range, ``match`` does not apply or cannot be reached, or ``base`` is a DAG or not
            a wiring.
        OSError: if ``root`` cannot be read or written.
    """

    def __init__(
        self,
        base: Data,
        family: str,
        count: int,
        seed: int = 0,
        root: str | Path | None = None,
        match: str | None = None,
        dag: str = "constrained",
        progress: bool = True,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        **options: float,
    ) -> None:
        base = as_wiring(base, "base", cyclic=True)
        _check_arguments(base, family, match, dag, options)
        count = check_whole("count", count, 1)
        super().__init__(None if root is None else str(Path(root).expanduser()), transform, pre_transform, pre_filter)
        self.family, self.seed, self.match, self.dag, self.options = family, check_seed(seed), match, dag, options
        self._base = base
        # By wiring_seed, so that they stay valid when the data set is indexed or copied.
        self._before: dict[int, tuple[int, float]] = {}
        graphs = self._make(count, progress) if root is None else self._load_or_make(count, progress)
        graphs = [graph for graph in graphs if pre_filter is None or pre_filter(graph)]
        if not graphs:
            raise ValueError("pre_filter: expected at least one graph, got none; keep more")
        self.data, self.slices = self.collate(graphs if pre_transform is None else [pre_transform(graph) for graph in graphs])

    num_classes = len(FAMILIES)

    def get(self, idx: int) -> Data:
        data = super().get(idx)
        # Collating joined the seeds into one tensor.
        if "wiring_seed" in data:
            data.wiring_seed = int(data.wiring_seed)
        return data

    def match_report(self, channels: int = 78) -> pd.DataFrame:
        """Report how closely the variants match the base.

        Returns:
            One row per variant, after that of the base (``variant`` -1, family ``base``, no ``wiring_seed``). Columns: ``variant``,
            ``family``, ``wiring_seed``, ``nodes``; ``edges`` and ``dag_edges``, before and after the DAG step, without self-loops;
            ``strength_error``, before the DAG step, see :func:`~elegans_pyg.transforms.strength_rewired.strength_error`;
            ``input_nodes``, ``output_nodes``, ``levels``, ``unreached_nodes``; and ``parameters``, the number of parameters of a
            :class:`~elegans_pyg.nn.DAGNet` with ``channels`` ``C`` (at least 1) and 3x3 kernels: one per edge of the DAG, ``11 C`` per
            node.
        """
        check_whole("channels", channels, 1)
        dags = [(-1, "base", None, self._dag_step(self.seed)(self._base), _edges_without_loops(self._base), 0.0)]
        for number in self.indices():
            dag = self.get(number)
            dags.append((number, dag.family, dag.wiring_seed, dag, *self._before[dag.wiring_seed]))
        rows = [
            {
                "variant": number,
                "family": family,
                "wiring_seed": seed,
                "nodes": dag.level.numel(),
                "edges": edges,
                "dag_edges": dag.num_edges,
                "strength_error": strength_error,
                "input_nodes": int(dag.input_mask.sum()),
                "output_nodes": int(dag.output_mask.sum()),
                "levels": int(dag.level.max()) + 1,
                "unreached_nodes": int((dag.level < 0).sum()),
                "parameters": dag.num_edges + 11 * channels * dag.level.numel(),
            }
            for number, family, seed, dag, edges, strength_error in dags
        ]
        return pd.DataFrame(rows).astype({"wiring_seed": "Int64"})

    def __repr__(self) -> str:
        return f"WiringEnsemble({self.family!r}, {len(self)})"

    def _dag_step(self, seed: int) -> RandomDAG | ConstrainedDAG:
        return RandomDAG(seed) if self.dag == "random" or self.family == "random_dag" else ConstrainedDAG()

    def _variant(self, seed: int, options: dict[str, float]) -> tuple[Data, Data]:
        """Return a DAG, and the graph that it was made from."""
        rewiring = FAMILIES[self.family].rewiring
        graph = copy(self._base)
        if rewiring is not None:
            graph = rewiring(seed=seed, **options).on_wiring(graph)
        return self._dag_step(seed).on_wiring(copy(graph)), graph

    def _make(self, count: int, progress: bool) -> list[Data]:
        wanted = self._dag_step(self.seed)(self._base).num_edges if self.match else None
        tag, expected = zlib.crc32(self.family.encode()), strengths(self._base)

        def make(number: int) -> Data:
            wiring_seed = int(np.random.SeedSequence([self.seed, tag, number]).generate_state(1)[0])
            graph, cyclic = self._variant(wiring_seed, self.options) if wanted is None else self._matched(wiring_seed, wanted)
            graph.family, graph.wiring_seed = self.family, wiring_seed
            graph.y = torch.tensor([list(FAMILIES).index(self.family)])
            self._before[wiring_seed] = _edges_without_loops(cyclic), relative_error(expected, strengths(cyclic))
            return graph

        quiet = not (progress and sys.stderr.isatty())
        return list(track(in_threads(make, range(count)), f"{self.family} wirings", count, quiet, _PATIENCE_S))

    def _matched(self, seed: int, wanted: int) -> tuple[Data, Data]:
        """Try numbers of edges, each scaled by the error of the last, until the DAG has as many edges as the base's."""
        source, target = self._base.edge_index
        kinds, nodes = self._base.edge_type[source != target].bincount(), self._base.neuron_type.numel()
        # At most, each kind of synapse joins all pairs of neurons in both directions.
        total, most = int(kinds.sum()), int(kinds.sum()) * nodes * (nodes - 1) // int(kinds.max())
        tried: set[int] = set()
        closest, edges = 0, total
        while edges and len(tried) < _MATCH_TRIES:
            tried.add(edges)
            graph, cyclic = self._variant(seed, {**self.options, "density": edges / total})
            found = graph.num_edges
            if abs(found - wanted) <= _TOLERANCE * wanted:
                return graph, cyclic
            closest = min(closest, found, key=lambda dag_edges: abs(dag_edges - wanted))
            aim = min(max(1, round(edges * wanted / max(found, 1))), most)
            near = range(min(most, aim + len(tried)), max(0, aim - len(tried) - 1), -1)
            edges = min((number for number in near if number not in tried), key=lambda number: abs(number - aim), default=0)
        expected = f"a DAG of {self.family} with {wanted} edges to within 1 %"
        got = f"{closest} at best in {len(tried)} tries of up to {most} edges (seed {seed})"
        raise ValueError(f"match: expected {expected}, got {got}; leave match out, and see match_report()")

    def _load_or_make(self, count: int, progress: bool) -> list[Data]:
        description: dict[str, Any] = {
            "format": _CACHE_FORMAT,
            "base": hash_graph(self._base),
            "count": count,
            **{name: getattr(self, name) for name in ("family", "seed", "match", "dag")},
            "options": {name: float(value) for name, value in sorted(self.options.items())},
        }
        key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
        path = Path(self.processed_dir) / f"{self.family}-{count}-{key[:16]}.safetensors"
        if path.exists():
            try:
                graphs, stored = load_graphs(path)
                before = stored.pop("before")
                if stored != description:
                    raise ValueError(f"{path} holds another ensemble")
                self._before = {graph.wiring_seed: tuple(row) for graph, row in zip(graphs, before, strict=True)}
                return graphs
            except (ValueError, KeyError) as error:
                warnings.warn(f"cached ensemble cannot be used and is rebuilt: {error}", stacklevel=3)
        graphs = self._make(count, progress)
        save_graphs(path, graphs, {**description, "before": [self._before[graph.wiring_seed] for graph in graphs]})
        return graphs


def _check_arguments(base: Data, family: str, match: str | None, dag: str, options: dict[str, float]) -> None:
    if not _edges_without_loops(base):
        raise ValueError("base: expected synapses between different neurons, got none; give another wiring")
    check_choice("family", family, FAMILIES)
    check_choice("dag", dag, ("constrained", "random"))
    known = FAMILIES[family].options
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"{unknown[0]}: expected an option of family {family!r} ({', '.join(known) or 'it has none'}); leave it out")
    if match not in (None, "dag"):
        raise ValueError(f"match: expected None or 'dag', got {shown(match)}; choose one of them")
    if match and not FAMILIES[family].has_density:
        able = ", ".join(name for name, entry in FAMILIES.items() if entry.has_density)
        raise ValueError(
            f"match: expected a family whose density can be chosen ({able}), got {family!r}, which keeps the connectome's edges or degrees;"
            " leave match out, and see match_report()"
        )
    if match and "density" in options:
        raise ValueError("density: not allowed with match='dag', which chooses it; leave one of them out")


def _edges_without_loops(graph: Data) -> int:
    source, target = graph.edge_index.cpu().numpy()
    return int(np.count_nonzero(source != target))
