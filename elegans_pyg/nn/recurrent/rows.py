"""Edges of a sparse matrix arranged so that rows of similar length are side by side, for kernels that process them in vector lanes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import cumsum

WIDTH = 8
"""Rows side by side."""


class Rows(NamedTuple):
    """Groups of :data:`WIDTH` rows of a sparse matrix, each padded with empty slots to the length of its longest row (the sliced ELLPACK
    format of Monakov et al. 2010, doi:10.1007/978-3-642-11515-8_10). A group holds the first slots of all its rows, then the second ones,
    and so on.

    Attributes:
        group_ptr ``(V + 1,)``: offsets of the variants into groups.
        slot_ptr ``(G + 1,)``: offsets of the groups into slots.
        row ``(WIDTH G,)``: the rows of the groups, numbered inside the variant; the number of rows stands for none.
        source ``(S,)``: the source that each slot reads, numbered inside the variant; the number of sources stands for an empty slot.
        slot ``(E,)``: the slot of each edge.
    """

    group_ptr: Tensor
    slot_ptr: Tensor
    row: Tensor
    source: Tensor
    slot: Tensor


def rows_of(row: Tensor, rows: Tensor, source: Tensor, sources: Tensor) -> Rows:
    """Arrange edges by ``row (E,)``, numbered across the variants, which have ``rows (V,)`` rows each; ``source (E,)`` is numbered inside
    the variant, which has ``sources (V,)`` sources."""
    count = torch.bincount(row, minlength=int(rows.sum()))
    variant, first = torch.repeat_interleave(torch.arange(len(rows)), rows), cumsum(rows)
    # The longest rows of a variant come first; rows without an edge are dropped.
    order = torch.argsort(variant * (int(count.max()) + 1 if len(row) else 1) - count, stable=True)
    order = order[count[order] > 0]
    used = torch.bincount(variant[order], minlength=len(rows))
    groups = (used + WIDTH - 1) // WIDTH
    group_ptr, owner = cumsum(groups), variant[order]
    place = torch.zeros_like(count)
    place[order] = WIDTH * group_ptr[owner] + torch.arange(len(order)) - cumsum(used)[owner]
    lanes, group_variant = WIDTH * int(group_ptr[-1]), torch.repeat_interleave(torch.arange(len(rows)), groups)
    row_of_lane = rows[group_variant].repeat_interleave(WIDTH)
    row_of_lane[place[order]] = order - first[owner]
    lengths = count.new_zeros(lanes).index_copy_(0, place[order], count[order]).view(-1, WIDTH).amax(1)
    slot_ptr = cumsum(WIDTH * lengths)
    by_row = torch.argsort(row, stable=True)
    rank = torch.empty_like(row)
    rank[by_row] = torch.arange(len(row)) - cumsum(count)[row[by_row]]
    lane = place[row]
    slot = slot_ptr[lane // WIDTH] + WIDTH * rank + lane % WIDTH
    read = sources[group_variant].repeat_interleave(WIDTH * lengths)
    read[slot] = source
    # Half the bytes where possible: the tables of a connectome then fit in an L1 cache.
    kind = torch.uint16 if max(int(rows.max()), int(sources.max())) < 2**16 else torch.uint32
    return Rows(group_ptr, slot_ptr, row_of_lane.to(kind), read.to(kind), slot)
