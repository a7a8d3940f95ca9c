"""The rows of a study, and the wirings they run on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg.datasets.graph_cache import hash_graph
from elegans_pyg.studies import machine
from elegans_pyg.transforms import FAMILIES


def unit_seed(seed: int, family: str, wiring: int, repeat: int = 0) -> int:
    """The one rule by which every seed of every study follows from the study's own.

    A child of NumPy's ``SeedSequence``, named by the family, the number of the wiring within it and the number of the repeat, so that it
    does not depend on what else the study holds. :class:`~elegans_pyg.datasets.WiringEnsemble` draws its wirings by the same rule.
    """
    return int(np.random.SeedSequence([seed, zlib.crc32(family.encode()), wiring, repeat]).generate_state(1)[0])


def drawings(base: Data, family: str, seed: int, count: int) -> Iterator[tuple[dict[str, object], Data]]:
    """``count`` cyclic wirings of a family, each from its own seed, with their rows; of the connectome, ``base`` as often."""
    rewiring = FAMILIES[family].rewiring
    for number in range(count):
        own = unit_seed(seed, family, number)
        row: dict[str, object] = {"family": family, "wiring_seed": 0 if rewiring is None else own, "seed": own}
        yield row, base if rewiring is None else rewiring(seed=own)(base)


def check_room(base: Data, count: int, argument: str) -> None:
    """Refuse, naming ``argument``, more wirings like ``base`` than memory can hold while they are drawn and written."""
    size = sum(value.nbytes for value in base.to_dict().values() if isinstance(value, Tensor))
    if (most := machine.free_memory() // (4 * max(size, 1))) < count:
        raise ValueError(f"{argument}: {count:,} wirings do not fit in memory, about {most:,} do; lower it")


@dataclass(frozen=True)
class Units:
    """What a study consists of.

    Args:
        table: one row a unit, in order: ``variant`` (its number), ``family``, ``wiring_seed``, ``seed``, ``wiring`` (a position in
            ``wirings``, -1 for none), and further columns of the study's own.
        wirings: the distinct graphs.
    """

    table: pd.DataFrame
    wirings: list[Data]

    @classmethod
    def build(cls, rows: Sequence[dict[str, object]], graphs: Sequence[Data | None]) -> Units:
        """From one mapping (``family``, ``wiring_seed``, ``seed``, ...) and one graph or ``None`` a unit; equal graphs are kept once."""
        # Each object once: hashing a graph for each of its units would take long.
        hashes = {id(graph): hash_graph(graph) for graph in {id(graph): graph for graph in graphs if graph is not None}.values()}
        wirings = {hashes[id(graph)]: graph for graph in reversed(graphs) if graph is not None}
        order = list(dict.fromkeys(hashes[id(graph)] for graph in graphs if graph is not None))
        place = {key: number for number, key in enumerate(order)}
        table = pd.DataFrame(list(rows))
        table.insert(0, "variant", range(len(table)))
        table["wiring"] = [-1 if graph is None else place[hashes[id(graph)]] for graph in graphs]
        return cls(table, [wirings[key] for key in order])

    @property
    def notes(self) -> list[str]:
        """What was taken for what in the files of the wirings."""
        return list(dict.fromkeys(graph.read_as for graph in self.wirings if "read_as" in graph))

    def graphs(self, table: pd.DataFrame | None = None) -> list[Data]:
        """The wiring of each row of ``table`` (default: of all units); those without one have none to give."""
        rows = self.table if table is None else table
        return [self.wirings[place] for place in rows["wiring"]]

    def first_of_families(self) -> dict[str, Data]:
        """The first wiring of every family that has one."""
        first = self.table[self.table["wiring"] >= 0].drop_duplicates("family")
        return {str(family): self.wirings[place] for family, place in zip(first["family"], first["wiring"], strict=True)}
