"""The connectomes of *C. elegans* as PyG graphs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch_geometric.data import Data, InMemoryDataset

from elegans_pyg._arguments import check_choice
from elegans_pyg._files import data_folder
from elegans_pyg.datasets.edge_attributes import edge_sign, edge_signals
from elegans_pyg.datasets.wiring_files import read_wiring
from elegans_pyg.datasets.wiring_tables import (
    EDGE_COLUMNS,
    NEURON_COLUMNS,
    TYPE_WORDS,
    Choices,
    build_data,
    read_neurons,
    read_table,
    to_pandas,
)
from elegans_pyg.wirings import NEURON_TYPES

_NAMES = (
    "cook2019-hermaphrodite",
    "cook2019-male",
    "cook2019-male-uncorrected",
    "varshney2011-hermaphrodite",
    *(f"witvliet2021-{stage}" for stage in range(1, 9)),
    "bentley2016-monoamine",
    "bentley2016-neuropeptide",
)
_LAYERS = _NAMES[-2:]


class Connectome(InMemoryDataset):
    """A published connectome of *C. elegans*, as a data set of one graph.

    Nodes are neurons. Muscles, glia and other end organs are left out, and so are neurons without an edge of the chosen kind.

    ========================== ========== ============ ========== =========================================================================
    name                       neurons    chemical     electrical source
    ========================== ========== ============ ========== =========================================================================
    cook2019-hermaphrodite     282        3,567        1,069      Cook et al. 2019, doi:10.1038/s41586-019-1352-7, SI 5 corrected July 2020
    cook2019-male              360        3,907        1,269      the same
    cook2019-male-uncorrected  359        3,899        1,270      the same, as first published
    varshney2011-hermaphrodite 279        2,194        517        Varshney et al. 2011, doi:10.1371/journal.pcbi.1001066
    witvliet2021-1 ... -8      161 .. 180 675 .. 1,944 83 .. 304  Witvliet et al. 2021, doi:10.1038/s41586-021-03778-8
    ========================== ========== ============ ========== =========================================================================

    ========================== ========== ============== ==================================================================================
    extrasynaptic layer        neurons    pairs, signals source
    ========================== ========== ============== ==================================================================================
    bentley2016-monoamine      219        1,668, 2,322   Bentley et al. 2016, doi:10.1371/journal.pcbi.1005283: a neuron releases a
                                                         monoamine for which another one has a receptor
    bentley2016-neuropeptide   222        5,960, 7,445   the same for 15 neuropeptides
    ========================== ========== ============== ==================================================================================

    Counts are numbers of neurons and edges of the chemical graph, and of pairs with electrical synapses, without the pharynx. Weights are
    the number of electron-microscope sections in which a connection is seen (Cook et al.), of transmitter-receptor pairs (signals; Bentley
    et al.), or of synapses (the others). Licences, counts by neuron type and differences from the published counts: ``data/README.md``.

    Args:
        name: one of :meth:`names`.
        synapses: ``"chemical"``, ``"electrical"`` (stored in both directions), ``"extrasynaptic"`` or ``"both"`` (all kinds). The default
            is chemical, or extrasynaptic for an extrasynaptic layer.
        pharynx: keep the 20 pharyngeal neurons, which Cook et al. list separately.
        keep_isolated: keep neurons of the animal without an edge of the chosen kind.
        root: folder with your own files in the layout of ``data/connectomes`` (``neurons.csv`` and ``<name>.csv``), instead of the packaged
            ones. Nothing is ever written to it.
        transform, pre_transform, pre_filter: as in any PyG data set; ``transform`` is applied at every access, the others once at
            construction.
        edge_attributes: also add attributes of single edges (see Shapes). Transforms that merge or redraw edges drop them, so graphs with
            and without them cannot be batched together.

    Shapes (of the one ``Data``):
        - ``edge_index (2, E)``, ``edge_weight (E,)``, ``edge_type (E,)``: 0 chemical, 1 electrical, 2 extrasynaptic; sorted by
          (source, target, type)
        - with ``edge_attributes``: ``edge_sign (E,)``, +1, -1 or 0 (unknown), by :func:`~elegans_pyg.datasets.edge_sign`; for an
          extrasynaptic layer ``edge_signal (E, S)`` bool and ``signal_name``, list of ``S``: which of ``"serotonin:mod-1"``, ... link the
          two neurons
        - ``neuron_type (N,)``: index into ``NEURON_TYPES``; ``x (N, 6)``: its one-hot encoding; ``neuron_name``: list of ``N`` names;
          ``inhibitory (N,)``: whether the principal neurotransmitter is GABA; ``y (N,)``: the type as a label; ``family`` and
          ``wiring_seed``: ``"connectome"`` and 0

    PyG's transforms keep names, types and kinds where they keep neurons and synapses (``subgraph``, ``LargestConnectedComponents``), and
    where they add up both directions of a chemical graph (``ToUndirected``). Added self-loops and virtual nodes are for PyG's own layers;
    the transforms that make DAGs raise for such graphs. ``RemoveIsolatedNodes`` cannot index a list of names: use
    ``data.subgraph(data.edge_index.unique())``.

    Raises:
        ValueError: for an unknown name or kind of synapse, or an invalid file in ``root``.
        FileNotFoundError: if ``root`` lacks a file.

    Example:
        >>> Connectome("cook2019-hermaphrodite")[0].num_nodes
        282
    """

    def __init__(
        self,
        name: str = "cook2019-hermaphrodite",
        synapses: str | None = None,
        pharynx: bool = False,
        keep_isolated: bool = False,
        root: str | Path | None = None,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        edge_attributes: bool = False,
    ) -> None:
        folder = data_folder("connectomes") if root is None else Path(root)
        if root is None:
            check_choice("name", name, _NAMES, "to read your own file use Connectome.from_edges")
        super().__init__(root=None, transform=transform)
        layer = root is None and name in _LAYERS
        synapses = synapses or ("extrasynaptic" if layer else "chemical")
        neurons = read_table(folder / "neurons.csv", NEURON_COLUMNS, "root")
        edges = read_table(folder / f"{name}.csv", EDGE_COLUMNS, "root")
        if root is None:
            # The neurons of an animal are those with any synapse.
            neurons = neurons[neurons["name"].isin({*edges["pre"], *edges["post"]})]
        if not pharynx:
            pharyngeal = neurons["name"][neurons["type"].str.lower().map(TYPE_WORDS) == NEURON_TYPES.index("pharyngeal")]
            neurons = neurons[~neurons["name"].isin(pharyngeal)]
            edges = edges[~(edges["pre"].isin(pharyngeal) | edges["post"].isin(pharyngeal))]
        data = build_data(neurons, edges, synapses=synapses, keep_isolated=keep_isolated)
        if edge_attributes and layer:
            data.edge_signal, data.signal_name = edge_signals(data, edges)
        elif edge_attributes:
            data.edge_sign = edge_sign(data)
        self.name, self.synapses = name, synapses
        data.y, data.family, data.wiring_seed = data.neuron_type.clone(), "connectome", 0
        if pre_filter is not None and not pre_filter(data):
            raise ValueError("pre_filter: expected True for the connectome, got False; leave it out")
        self.data, self.slices = self.collate([data if pre_transform is None else pre_transform(data)])

    num_classes = len(NEURON_TYPES)

    def get(self, idx: int) -> Data:
        data = super().get(idx)
        if "wiring_seed" in data:
            data.wiring_seed = int(data.wiring_seed)  # collating made a tensor of it
        return data

    @classmethod
    def from_edges(
        cls,
        source: Any,
        neurons: str | Path | pd.DataFrame | None = None,
        synapses: str = "chemical",
        keep_isolated: bool = False,
        *,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        sensory: Sequence[str] = (),
        motor: Sequence[str] = (),
    ) -> Data:
        """Read your own wiring from a file, table, matrix or graph.

        ``from_files``, ``from_pandas``, ``from_scipy``, ``from_networkx`` and ``from_data`` are aliases.

        * **Edge lists** in CSV, TSV, text separated by semicolons (with decimal commas if need be) or blanks, Parquet, and pandas tables,
          with or without header and index column. A header may name the columns ``source, target``, ``pre, post``, ``from, to``, ...,
          ``weight``, ``synapses``, ``count``, ..., and ``synapse``; without one, columns 1 and 2 are the edge and column 3 is the weight.
          NetworkX's edge lists are read too.
        * **Matrices**, source by target, with or without labels: CSV, ``.npy``, Matrix Market (``.mtx``), pandas, SciPy, NumPy.
        * **GraphML, GML, GEXF and NetworkX graphs**, such as neurodata's (https://neurodata.io/project/connectomes): nodes with
          ``cell_name``, ``name`` or ``label``, and ``cell_type``, ``neuron_type``, ``role`` or ``type``; edges with ``weight`` and
          ``synapse_type``, or with ``chemical_weight`` and ``electrical_weight``, where 0 means no such synapse; or without attributes. The
          edges of undirected graphs are stored in both directions.
        * **PyG Data** with at least ``edge_index``; all nodes and attributes are kept.

        If there are no weights, all are 1; if there are no kinds of synapses, all are chemical. A synapse is ``chemical`` (``C``) or
        ``electrical`` (``E``); electrical ones are stored in both directions, and a missing direction gets the weight of the other. Neuron
        types may be any words: ``sensory``, ``inter``, ``motor`` and the like are roles; other words are kept in ``cell_type``, and their
        neurons have type ``other``. Missing types are looked up by name if at least half of the neurons are the worm's (``VA01`` is
        ``VA1``). If no role is given or found, sources are sensory and sinks motor, see :func:`elegans_pyg.wirings.roles`.

        Args:
            source: path, graph, table, matrix or ``Data``.
            neurons: file or pandas table with columns ``name`` (or ``node_id``, ``id``, ...), and optionally ``type`` and
                ``neurotransmitter``. It lists all neurons, in its order. Not allowed with a ``Data``.
            synapses: ``"chemical"``, ``"electrical"`` or ``"both"``, as for a packaged connectome; a ``Data`` keeps all its edges.
            keep_isolated: keep neurons without a synapse of the chosen kind.
            inputs, outputs, sensory, motor: names (``inputs``, ``outputs``) or types (``sensory``, ``motor``) of the input and output
                neurons, see :class:`~elegans_pyg.datasets.Choices`.

        Returns:
            A ``Data`` as for a packaged connectome, without ``y``, ``family`` and ``wiring_seed``; ``read_as`` describes in one line how
            the source was read.

        Raises:
            FileNotFoundError: if a file is missing.
            TypeError: if ``source`` is none of these.
            ValueError: if a file has another format, is too large, or is not UTF-8; if a neuron has no name or is listed twice; if an edge
                has an unknown neuron or synapse, a weight that is not finite and above 0, or is listed twice; if no neuron has a chosen
                name or type.

        Example:
            >>> graph = nx.DiGraph()
            >>> graph.add_edge("a", "b", weight=13)
            >>> data = Connectome.from_edges(graph)
            >>> data.read_as
            'edges of the graph, weight as weight; no types: inputs are sources (1), outputs sinks (1)'
        """
        choices = Choices(inputs, outputs, sensory, motor)
        known = read_neurons(data_folder("connectomes") / "neurons.csv")
        return read_wiring(source, neurons, known=known, choices=choices, synapses=synapses, keep_isolated=keep_isolated)

    from_files = from_pandas = from_scipy = from_networkx = from_data = from_edges
    to_pandas = staticmethod(to_pandas)

    @staticmethod
    def names() -> list[str]:
        """Return the names of the packaged connectomes."""
        return list(_NAMES)

    def __repr__(self) -> str:
        return f"Connectome('{self.name}', synapses='{self.synapses}')"
