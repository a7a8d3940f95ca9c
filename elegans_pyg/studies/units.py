"""The units of a study, and their wirings."""

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
    """Derive a unit's seed from the study's seed.

    The seed comes from NumPy's ``SeedSequence`` of the study's seed, the family, the number of the wiring within it and the number of the
    repeat, so it does not depend on the study's other units. For a study's seed below 2**32, the first repeat has the wiring's own seed in
    :class:`~elegans_pyg.datasets.WiringEnsemble`.
    """
    return int(np.random.SeedSequence([seed, zlib.crc32(family.encode()), wiring, repeat]).generate_state(1)[0])


def drawings(base: Data, family: str, seed: int, count: int) -> Iterator[tuple[dict[str, object], Data]]:
    """Draw ``count`` cyclic wirings of a family, each from its own seed, with their rows; for the connectome, ``base`` itself each time."""
    rewiring = FAMILIES[family].rewiring
    for number in range(count):
        own = unit_seed(seed, family, number)
        row: dict[str, object] = {"family": family, "wiring_seed": 0 if rewiring is None else own, "seed": own}
        yield row, base if rewiring is None else rewiring(seed=own)(base)


def check_room(base: Data, count: int, argument: str) -> None:
    """Raise ``ValueError``, naming ``argument``, if ``count`` wirings of the size of ``base`` do not fit in memory."""
    size = sum(value.nbytes for value in base.to_dict().values() if isinstance(value, Tensor))
    if (most := machine.free_memory() // (4 * max(size, 1))) < count:
        raise ValueError(f"{argument}: {count:,} wirings do not fit in memory, about {most:,} fit; lower it")


@dataclass(frozen=True)
class Units:
    """The units of a study, and their wirings.

    Args:
        table: one row per unit, in order: ``variant`` (its number), ``family``, ``wiring_seed``, ``seed``, ``wiring`` (a position in
            ``wirings``, -1 for none), and further columns of the study.
        wirings: the distinct graphs.
    """

    table: pd.DataFrame
    wirings: list[Data]

    @classmethod
    def build(cls, rows: Sequence[dict[str, object]], graphs: Sequence[Data | None]) -> Units:
        """Make units from one mapping (``family``, ``wiring_seed``, ``seed``, ...) and one graph or ``None`` per unit; equal graphs are
        stored once."""
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
        """How the files of the wirings were interpreted."""
        return list(dict.fromkeys(graph.read_as for graph in self.wirings if "read_as" in graph))

    def graphs(self, table: pd.DataFrame | None = None) -> list[Data]:
        """The wiring of each row of ``table`` (default: all units), each of which must have one."""
        rows = self.table if table is None else table
        return [self.wirings[place] for place in rows["wiring"]]

    def first_of_families(self) -> dict[str, Data]:
        """The first wiring of each family that has wirings."""
        first = self.table[self.table["wiring"] >= 0].drop_duplicates("family")
        return {str(family): self.wirings[place] for family, place in zip(first["family"], first["wiring"], strict=True)}
