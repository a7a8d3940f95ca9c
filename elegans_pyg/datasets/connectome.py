"""The connectomes of *C. elegans* as PyG graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch_geometric.data import Data, InMemoryDataset

from elegans_pyg.neuron_types import NEURON_TYPES

_NAMES = (
    "cook2019-hermaphrodite",
    "cook2019-male",
    "cook2019-male-uncorrected",
    "varshney2011-hermaphrodite",
    *(f"witvliet2021-{stage}" for stage in range(1, 9)),
)
_SYNAPSES = {"chemical": ("chemical",), "electrical": ("electrical",), "both": ("chemical", "electrical")}


def data_folder() -> Path:
    """Where the packaged text files are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "data" / "connectomes"
    return installed if installed.is_dir() else package.parent / "data" / "connectomes"


def build_data(neurons: pd.DataFrame, edges: pd.DataFrame, keep_isolated: bool = False) -> Data:
    """A graph in this package's conventions from checked tables.

    Args:
        neurons: columns name, type, and optionally neurotransmitter.
        edges: columns pre, post, weight, synapse; electrical ones in either direction, each pair once.
        keep_isolated: keep neurons that no edge touches.
    """
    electrical = edges[edges["synapse"] == "electrical"]
    back = electrical[electrical["pre"] != electrical["post"]].rename(columns={"pre": "post", "post": "pre"})
    edges = pd.concat([edges, back], ignore_index=True)
    if not keep_isolated:
        neurons = neurons[neurons["name"].isin(set(edges["pre"]) | set(edges["post"]))]
    number = {name: i for i, name in enumerate(neurons["name"])}
    table = pd.DataFrame(
        {
            "source": edges["pre"].map(number),
            "target": edges["post"].map(number),
            "type": (edges["synapse"] == "electrical").astype("int64"),
            "weight": edges["weight"],
        }
    ).sort_values(["source", "target", "type"])
    neuron_type = torch.tensor([NEURON_TYPES.index(kind) for kind in neurons["type"]], dtype=torch.long)
    transmitter = neurons["neurotransmitter"] if "neurotransmitter" in neurons else pd.Series("", index=neurons.index)
    # The first one named is the principal one; uptake from neighbours is no release.
    inhibitory = [str(text).split(";")[0].strip() == "GABA" for text in transmitter]
    return Data(
        x=torch.nn.functional.one_hot(neuron_type, len(NEURON_TYPES)).float(),
        edge_index=torch.tensor(table[["source", "target"]].to_numpy(dtype="int64").T.copy()),
        edge_weight=torch.tensor(table["weight"].to_numpy(dtype="float32").copy()),
        edge_type=torch.tensor(table["type"].to_numpy(dtype="int64").copy()),
        neuron_type=neuron_type,
        neuron_name=neurons["name"].tolist(),
        inhibitory=torch.tensor(inhibitory, dtype=torch.bool),
    )


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
        ValueError: for an unknown name or kind of synapse.
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
        if synapses not in _SYNAPSES:
            raise ValueError(f"synapses must be one of {', '.join(_SYNAPSES)}, got '{synapses}'")
        folder = data_folder() if root is None else Path(root)
        path = folder / f"{name}.csv"
        if root is None and name not in _NAMES:
            raise ValueError(f"name must be one of {', '.join(_NAMES)}, got '{name}'; a file of your own is read by Connectome.from_files")
        for file in (path, folder / "neurons.csv"):
            if not file.is_file():
                raise FileNotFoundError(f"'{file}' does not exist; root must hold neurons.csv and a file for each connectome")
        super().__init__(root=None, transform=transform)
        neurons = pd.read_csv(folder / "neurons.csv", keep_default_na=False)
        edges = pd.read_csv(path)
        # Which neurons an animal has is what all of its synapses touch.
        neurons = neurons[neurons["name"].isin(set(edges["pre"]) | set(edges["post"]))]
        if not pharynx:
            neurons = neurons[neurons["type"] != "pharyngeal"]
        listed = set(neurons["name"])
        edges = edges[edges["synapse"].isin(_SYNAPSES[synapses]) & edges["pre"].isin(listed) & edges["post"].isin(listed)]
        data = build_data(neurons, edges, keep_isolated)
        self.name, self.synapses = name, synapses
        self.data, self.slices = self.collate([data if pre_transform is None else pre_transform(data)])

    @staticmethod
    def names() -> list[str]:
        """The connectomes that the package carries."""
        return list(_NAMES)

    def __repr__(self) -> str:
        return f"Connectome('{self.name}', synapses='{self.synapses}')"
