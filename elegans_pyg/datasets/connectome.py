"""The connectomes of *C. elegans* as PyG graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
from torch_geometric.data import Data, InMemoryDataset

from elegans_pyg.datasets.wiring_files import read_wiring
from elegans_pyg.datasets.wiring_tables import build_data, read_edges, read_neurons

_NAMES = (
    "cook2019-hermaphrodite",
    "cook2019-male",
    "cook2019-male-uncorrected",
    "varshney2011-hermaphrodite",
    *(f"witvliet2021-{stage}" for stage in range(1, 9)),
)


def data_folder() -> Path:
    """Where the packaged text files are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "data" / "connectomes"
    return installed if installed.is_dir() else package.parent / "data" / "connectomes"


class Connectome(InMemoryDataset):
    """One published connectome of *C. elegans*, as a data set of one graph.

    Neurons are the nodes; muscles, glia and other end organs are left out, and so are neurons without an edge of the chosen kind.

    ============================ ========== ============ ================ ====================================================
    name                         neurons    chemical     electrical pairs source
    ============================ ========== ============ ================ ====================================================
    cook2019-hermaphrodite       282        3,567        1,069            Cook et al. 2019, doi:10.1038/s41586-019-1352-7,
                                                                          SI 5 as corrected in July 2020
    cook2019-male                360        3,907        1,269            the same
    cook2019-male-uncorrected    359        3,899        1,270            the same, as first published
    varshney2011-hermaphrodite   279        2,194        517              Varshney et al. 2011,
                                                                          doi:10.1371/journal.pcbi.1001066
    witvliet2021-1 ... -8        161 .. 180 675 .. 1,944 83 .. 304        Witvliet et al. 2021, doi:10.1038/s41586-021-03778-8
    ============================ ========== ============ ================ ====================================================

    Counts are without the pharynx, the neurons' those of the chemical graph. The weights of Cook et al. count the sections of electron
    micrographs in which a connection is seen, those of the others count synapses. Licences, counts by neuron type and differences from the
    published counts: ``data/README.md``.

    Args:
        name: one of :meth:`names`.
        synapses: ``"chemical"``, ``"electrical"`` (each stored in both directions) or ``"both"``.
        pharynx: keep the 20 pharyngeal neurons, which Cook et al. list apart.
        keep_isolated: keep neurons of that animal that no edge of the chosen kind touches.
        root: folder with files of your own in the layout of ``data/connectomes`` (``neurons.csv`` and ``<name>.csv``), in place of the
            packaged ones. Nothing is ever written to it.
        transform: applied at every access.
        pre_transform: applied once, now.

    Shapes (of the one ``Data``):
        - ``edge_index (2, E)``, ``edge_weight (E,)``, ``edge_type (E,)``: 0 chemical, 1 electrical; sorted by (source, target, type)
        - ``neuron_type (N,)``: position in ``NEURON_TYPES``; ``x (N, 6)``: the same one-hot; ``neuron_name``: list of ``N`` names;
          ``inhibitory (N,)``: whether the principal neurotransmitter is GABA

    Raises:
        ValueError: for an unknown name or kind of synapse, or a file of ``root`` that is not in order.
        FileNotFoundError: if ``root`` lacks a file.

    Example:
        >>> Connectome("cook2019-hermaphrodite")[0].num_nodes
        282
    """

    def __init__(
        self,
        name: str = "cook2019-hermaphrodite",
        synapses: str = "chemical",
        pharynx: bool = False,
        keep_isolated: bool = False,
        root: str | Path | None = None,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
    ) -> None:
        folder = data_folder() if root is None else Path(root)
        path = folder / f"{name}.csv"
        if root is None and name not in _NAMES:
            raise ValueError(f"name must be one of {', '.join(_NAMES)}, got '{name}'; a file of your own is read by Connectome.from_files")
        for file in (path, folder / "neurons.csv"):
            if not file.is_file():
                raise FileNotFoundError(f"'{file}' does not exist; root must hold neurons.csv and a file for each connectome")
        super().__init__(root=None, transform=transform)
        neurons, edges = read_neurons(folder / "neurons.csv"), read_edges(path)
        # Which neurons an animal has is what all of its synapses touch.
        touched = set(edges["pre"]) | set(edges["post"])
        if root is None:
            neurons = neurons[neurons["name"].isin(touched)]
        if not pharynx:
            pharyngeal = set(neurons["name"][neurons["type"] == "pharyngeal"])
            neurons = neurons[~neurons["name"].isin(pharyngeal)]
            edges = edges[~(edges["pre"].isin(pharyngeal) | edges["post"].isin(pharyngeal))]
        data = build_data(neurons, edges, synapses=synapses, keep_isolated=keep_isolated)
        self.name, self.synapses = name, synapses
        self.data, self.slices = self.collate([data if pre_transform is None else pre_transform(data)])

    @classmethod
    def from_files(
        cls,
        source: str | Path | nx.Graph,
        neurons: str | Path | None = None,
        synapses: str = "chemical",
        keep_isolated: bool = False,
    ) -> Data:
        """Read a wiring of one's own: a GraphML file, a CSV edge list (with or without a neuron table), or a NetworkX graph.

        Types and neurotransmitters that the source does not give are looked up among the worm's neurons by name. The formats, and what is
        refused, are described in :func:`~elegans_pyg.datasets.wiring_files.read_wiring`.

        Args:
            source: ``.graphml``, ``.xml`` or ``.csv`` file, or graph.
            neurons: CSV table ``name,type[,neurotransmitter]`` of the neurons.
            synapses: ``"chemical"``, ``"electrical"`` or ``"both"``, as for a packaged connectome.
            keep_isolated: keep neurons that have none of these synapses.
        """
        known = read_neurons(data_folder() / "neurons.csv")
        return read_wiring(source, neurons, known=known, synapses=synapses, keep_isolated=keep_isolated)

    @staticmethod
    def names() -> list[str]:
        """The connectomes that the package carries."""
        return list(_NAMES)

    def __repr__(self) -> str:
        return f"Connectome('{self.name}', synapses='{self.synapses}')"
