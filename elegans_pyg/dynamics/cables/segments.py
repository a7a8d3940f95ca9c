"""The neurons' shapes in c302."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elegans_pyg._files import data_folder
from elegans_pyg._tensor_files import read_tensors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Segments(NamedTuple):
    """Segments of some neurons, each between two points; those of a section (a stretch without branches) are consecutive.

    Attributes:
        neuron, section: ``(G,)``; positions of the neuron, and of the section among those of all neurons.
        number, parent: ``(G,)``; c302's number of the segment in its neuron, 0 for the soma; row of the parent segment, -1 for somas.
        proximal, distal: ``(G, 4)``; x, y, z and diameter at both ends in um. Both ends of a sphere are its centre.
    """

    neuron: Ints
    section: Ints
    number: Ints
    parent: Ints
    proximal: Floats
    distal: Floats


@cache
def _packaged() -> tuple[dict[str, int], Segments]:
    tensors, content = read_tensors(data_folder("biophysics") / "c302-morphologies.safetensors")
    table = Segments(*(tensors[name].double().numpy() if "al" in name else tensors[name].long().numpy() for name in Segments._fields))
    return {name: row for row, name in enumerate(content["neurons"])}, table


def read_segments(neurons: Sequence[str]) -> Segments:
    """The shapes of these neurons, in their order; raises ``ValueError`` for a neuron whose shape c302 does not have."""
    rows, table = _packaged()
    if missing := [name for name in neurons if name not in rows]:
        raise ValueError(f"morphology: expected neurons with a shape, got {missing[0]!r}, for which c302 has none; leave it out")
    start = np.searchsorted(table.neuron, np.arange(len(rows) + 1))
    own = [np.arange(start[rows[name]], start[rows[name] + 1]) for name in neurons]
    kept = np.concatenate(own)
    place = np.full(len(table.neuron) + 1, -1)
    place[kept] = np.arange(len(kept))
    new = np.diff(table.section[kept], prepend=-1) != 0
    neuron = np.repeat(np.arange(len(own)), [len(part) for part in own])
    whole = (neuron, np.cumsum(new) - 1, table.number[kept], place[table.parent[kept]])
    return Segments(*whole, table.proximal[kept], table.distal[kept])
