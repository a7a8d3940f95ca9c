"""From a wiring to the steps of a tensor network: synapses visited one by one, kept as versions of each neuron's value, then levelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from elegans_pyg.nn.tensor.roles import MOTOR, PUBLISHED_ORDER, SENSOR, RolePair, check_roles, numbers_of_pairs, rank_of_pairs

# Kinds of row, in the order in which they run inside a level.
UNIT, RAW, NORMED = range(3)
# Backward keeps one map for each factor of a group, so a group's size bounds its memory.
_FACTORS_PER_GROUP = 1024


@dataclass(frozen=True)
class UnitPiece:
    """Consecutive rows of a group, all of one variant, and the units that make them: a range where they are stored so, else a list."""

    low: int
    high: int
    units: tuple[int, int] | Tensor


@dataclass(frozen=True)
class Group:
    """Rows ``low:high`` of the table, of one kind and level, computed at once.

    Attributes:
        source ``(n,)``: the row that each unit is applied to, or that each product or sum starts from.
        pieces: for units, how the rows fall into pieces.
        applied: for units, the number of unit rows before this group.
        rounds: for products and sums, the rows that come in one after the other; round ``r`` is for the first ``len(rounds[r])`` rows.
        factors: the same by row, for the kernels: offsets ``(n + 1,)``, and rows.
        gain ``(n, 1, 1)``: for products, :math:`1/k` of each row's neuron.
        norm ``(n,)``: the norm of each row; empty where there is none.
    """

    kind: int
    low: int
    high: int
    source: Tensor
    norm: Tensor
    pieces: list[UnitPiece] = field(default_factory=list)
    applied: int = 0
    rounds: list[Tensor] = field(default_factory=list)
    factors: tuple[Tensor, Tensor] = field(default_factory=lambda: (torch.empty(0), torch.empty(0)))
    gain: Tensor = field(default_factory=lambda: torch.empty(0))

    def to(self, device: torch.device, dtype: torch.dtype) -> Group:
        pieces = [replace(p, units=p.units.to(device)) if isinstance(p.units, Tensor) else p for p in self.pieces]
        return replace(
            self,
            source=self.source.to(device),
            norm=self.norm.to(device),
            pieces=pieces,
            rounds=[rows.to(device) for rows in self.rounds],
            gain=self.gain.to(device, dtype),
        )


@dataclass(frozen=True)
class TensorProgram:
    """The steps of ``V`` tensor networks side by side; a *row* is one value, ``(B, width)``.

    Rows ``0:V`` are the inputs; the others are versions of neurons' values that the readout depends on, level by level. What cannot
    reach the readout is left out.

    Attributes:
        num_variants, num_rows, num_applied: variants, rows, rows that are made by a unit.
        groups: the steps, in order.
        output: the rows that hold the motor neurons' final values, variant by variant, in the order of the neurons.
        output_ptr: ``V + 1`` offsets into ``output``.
        motor_slot: for each entry of ``output``, the neuron's place among its variant's motor neurons, reached or not.
        num_motors: motor neurons of each variant, reached or not.
        unit_ptr, norm_ptr: ``V + 1`` offsets of the variants into units and norms.
        unit_neuron: the neuron of each unit, by its number in the batch.
        norm_neuron: the neuron of each norm.
        num_levels: length of the longest chain of rows.
        synapses: one entry a variant for each of ``visited``, in some pair that is not skipped; ``passed_over``, because the source had no
            value yet; and ``effective``, those that the readout depends on.
    """

    num_variants: int
    num_rows: int
    num_applied: int
    groups: list[Group]
    output: Tensor
    output_ptr: list[int]
    motor_slot: Tensor
    num_motors: list[int]
    unit_ptr: list[int]
    norm_ptr: list[int]
    unit_neuron: Tensor
    norm_neuron: Tensor
    num_levels: int
    synapses: dict[str, list[int]]

    def to(self, device: torch.device, dtype: torch.dtype) -> TensorProgram:
        """The program with what its steps need on a device, for values of type ``dtype``."""
        return replace(self, groups=[g.to(device, dtype) for g in self.groups], output=self.output.to(device))


class _VariantWalk:
    """The synapses of one variant visited one by one; every change of a neuron's value appends a row."""

    def __init__(self, roles: list[int], norm: str | None) -> None:
        self.roles, self.norm = roles, norm
        self.kind, self.neuron, self.base = [-1], [-1], [-1]  # row 0 is the input
        self.factors: list[list[int]] = [[]]
        self.creates: list[int] = []  # unit rows that gave a neuron its first value
        self.value: list[int] = [0 if role == SENSOR else -1 for role in roles]
        self.pending: list[list[int]] = [[] for _ in roles]
        self.normed = [-1] * len(roles)
        self.combined = [0] * len(roles)
        self.visited = self.passed_over = 0

    def _append(self, kind: int, neuron: int, base: int, factors: list[int]) -> int:
        self.kind.append(kind)
        self.neuron.append(neuron)
        self.base.append(base)
        self.factors.append(factors)
        return len(self.kind) - 1

    def read(self, neuron: int) -> int:
        """The row of what others now see of a neuron."""
        if self.pending[neuron]:
            self.value[neuron] = self._append(RAW, neuron, self.value[neuron], self.pending[neuron])
            self.pending[neuron] = []
        if self.norm != "state":
            return self.value[neuron]
        if self.normed[neuron] < 0:
            self.normed[neuron] = self._append(NORMED, neuron, self.value[neuron], [])
        return self.normed[neuron]

    def visit(self, source: list[int], target: list[int], reapply: list[bool]) -> None:
        for s, t, again in zip(source, target, reapply, strict=True):
            self.visited += 1
            if self.value[s] < 0:
                self.passed_over += 1
                continue
            row = self.read(s)
            if self.value[t] < 0:
                self.value[t] = self._append(UNIT, t, row, [])
                self.creates.append(self.value[t])
            else:
                self.pending[t].append(self._append(UNIT, t, row, []) if again else row)
                self.combined[t] += 1
            self.normed[t] = -1

    def finish(self) -> None:
        """Read the motor neurons, drop what they do not depend on, and join runs of products that nobody reads in between."""
        motors = [n for n, role in enumerate(self.roles) if role == MOTOR]
        self.num_motors = len(motors)
        self.slots = [slot for slot, n in enumerate(motors) if self.value[n] >= 0]
        self.output = [self.read(motors[slot]) for slot in self.slots]
        uses = [0] * len(self.kind)
        for row in self.output:
            uses[row] += 1
        for row in range(len(uses) - 1, 0, -1):
            if uses[row]:
                uses[self.base[row]] += 1
                for factor in self.factors[row]:
                    uses[factor] += 1
        # A product is counted before it is joined to the next one, a creation as the unit that made the value.
        self.effective = sum(uses[row] > 0 for row in self.creates)
        self.effective += sum(len(factors) for factors, used in zip(self.factors, uses, strict=True) if used)
        for row in range(1, len(uses)):
            base = self.base[row]
            if uses[row] and self.kind[row] != UNIT and base and self.kind[base] == RAW and uses[base] == 1:
                self.base[row], self.factors[row] = self.base[base], self.factors[base] + self.factors[row]
                uses[base] = 0
        self.rows = [row for row in range(1, len(uses)) if uses[row]]
        self.level = [0] * len(uses)
        for row in self.rows:
            below = self.level[self.base[row]]
            for factor in self.factors[row]:
                below = max(below, self.level[factor])
            self.level[row] = below + 1


def compile_program(
    batch: Data | Batch,
    norm: str | None,
    order: Sequence[RolePair] = PUBLISHED_ORDER,
    skip: Sequence[RolePair] = (),
    reapply: Sequence[RolePair] = (),
) -> TensorProgram:
    """Visit every variant's synapses in order and lay out what the motor neurons' final values depend on.

    Args:
        batch: wirings, cyclic or not, with ``edge_index`` and ``neuron_type``.
        norm, order, skip, reapply: see :class:`~elegans_pyg.nn.TensorNetwork`.

    Raises:
        TypeError: if ``batch`` is no ``Data`` or ``Batch``.
        ValueError: if an attribute is missing or does not fit, a role pair is unknown, ``order`` does not hold every pair once, or no motor
            neuron of a variant is ever reached.
    """
    rank = rank_of_pairs(order, skip)
    again = numbers_of_pairs("reapply", reapply)
    roles, ptr, edge_index, kind = check_roles(batch)
    roles_of_edge = roles[edge_index]
    pair = roles_of_edge[0] * 3 + roles_of_edge[1]
    kept = np.flatnonzero(rank[pair] >= 0)
    variant = np.searchsorted(ptr, edge_index[0], side="right") - 1
    source, target, pair = edge_index[0, kept], edge_index[1, kept], pair[kept]
    visits = np.lexsort((kind[kept], target, source, rank[pair], variant[kept]))
    source, target, pair, variant = source[visits], target[visits], pair[visits], variant[kept][visits]
    edge_ptr = np.searchsorted(variant, np.arange(len(ptr)))
    reapplied = np.isin(pair, again)

    walks = []
    for v, (low, high) in enumerate(pairwise(edge_ptr.tolist())):
        walk = _VariantWalk(roles[ptr[v] : ptr[v + 1]].tolist(), norm)
        walk.visit((source[low:high] - ptr[v]).tolist(), (target[low:high] - ptr[v]).tolist(), reapplied[low:high].tolist())
        walk.finish()
        if not walk.output:
            motors = walk.num_motors
            raise ValueError(
                f"batch: expected a motor neuron that the sensors reach in every variant, got none among the {motors} of variant {v};"
                " check neuron_type and skip, or leave that wiring out"
            )
        walks.append(walk)
    return _lay_out(walks, ptr, norm)


def _lay_out(walks: list[_VariantWalk], ptr: np.ndarray, norm: str | None) -> TensorProgram:
    """Number the rows of all variants level by level, and group them."""
    variants, sizes = len(walks), [len(w.kind) for w in walks]
    offset = np.array(_ptr(sizes))

    def joined(name: str, first: Iterable[int] = (0,) * variants) -> np.ndarray:
        """One attribute of all walks; ``first`` is added to each walk's, to count rows or neurons through."""
        return np.concatenate([np.array(getattr(w, name), dtype=np.int64) + start for w, start in zip(walks, first, strict=False)])

    rows, owner = joined("rows", offset), np.repeat(np.arange(variants), sizes)
    variant, kind, level = owner[rows], joined("kind")[rows], joined("level")[rows]
    neuron, base, combined = joined("neuron", ptr)[rows], joined("base", offset)[rows], joined("combined")
    factors = [w.factors[row] for w in walks for row in w.rows]
    length = np.array([len(f) for f in factors], dtype=np.int64)

    order = np.lexsort((neuron, variant, np.where(kind == UNIT, 0, -length), kind, level))
    # Where each row went; a variant's row 0, the input, is row v of the table.
    place = owner
    place[rows[order]] = variants + np.arange(len(order))
    factor_ptr = np.array(_ptr(length.tolist()))
    flat = np.fromiter(chain.from_iterable(factors), dtype=np.int64, count=int(factor_ptr[-1]))
    flat = place[flat + np.repeat(offset[variant], length)]

    # A variant's units are stored in the order in which they are first applied, so that a level's units are one slice of the weights.
    applied = order[kind[order] == UNIT]
    unit_neuron, first = np.unique(neuron[applied], return_index=True)
    unit_neuron = unit_neuron[np.lexsort((first, variant[applied][first]))]
    norm_neuron = unit_neuron if norm == "unit" else np.unique(neuron[kind == NORMED])
    unit_of_neuron, norm_of_neuron = np.full(ptr[-1], -1), np.full(ptr[-1], -1)
    unit_of_neuron[unit_neuron], norm_of_neuron[norm_neuron] = np.arange(len(unit_neuron)), np.arange(len(norm_neuron))

    groups: list[Group] = []
    count = 0
    for part in _split(order, level, kind, length):
        low, what = int(place[rows[part[0]]]), int(kind[part[0]])
        has_norm = what == NORMED or (what == UNIT and norm == "unit")
        norms = torch.from_numpy(norm_of_neuron[neuron[part]] if has_norm else np.empty(0, dtype=np.int64))
        common = (what, low, low + len(part), torch.from_numpy(place[base[part]]), norms)
        if what == UNIT:
            groups.append(Group(*common, pieces=_pieces(unit_of_neuron[neuron[part]], variant[part]), applied=count))
            count += len(part)
        else:
            lengths, starts = length[part], factor_ptr[part]
            rounds = [torch.from_numpy(flat[starts[lengths > r] + r]) for r in range(int(lengths[0]))]
            members = np.concatenate([flat[start : start + n] for start, n in zip(starts, lengths, strict=True)])
            gain = torch.from_numpy(1.0 / np.maximum(combined[neuron[part]], 1)).view(-1, 1, 1)
            of_row = torch.tensor(_ptr(lengths.tolist()))
            groups.append(Group(*common, rounds=rounds, factors=(of_row, torch.from_numpy(members)), gain=gain))
    unit_neuron_variant, norm_neuron_variant = (np.searchsorted(ptr, n, side="right") - 1 for n in (unit_neuron, norm_neuron))
    return TensorProgram(
        num_variants=variants,
        num_rows=variants + len(order),
        num_applied=count,
        groups=groups,
        output=torch.from_numpy(place[joined("output", offset)]),
        output_ptr=_ptr([len(w.output) for w in walks]),
        motor_slot=torch.from_numpy(joined("slots")),
        num_motors=[w.num_motors for w in walks],
        unit_ptr=np.searchsorted(unit_neuron_variant, np.arange(variants + 1)).tolist(),
        norm_ptr=np.searchsorted(norm_neuron_variant, np.arange(variants + 1)).tolist(),
        unit_neuron=torch.from_numpy(unit_neuron),
        norm_neuron=torch.from_numpy(norm_neuron),
        num_levels=int(level.max(initial=0)),
        synapses={name: [getattr(w, name) for w in walks] for name in ("visited", "passed_over", "effective")},
    )


def _split(order: np.ndarray, level: np.ndarray, kind: np.ndarray, length: np.ndarray) -> Iterable[np.ndarray]:
    """Cut ``order`` where level or kind changes, and where a group would have too many factors."""
    step = level[order] * 3 + kind[order]
    parts = []
    for part in np.split(order, np.flatnonzero(np.diff(step)) + 1):
        block = np.cumsum(length[part]) // _FACTORS_PER_GROUP
        parts += np.split(part, np.flatnonzero(np.diff(block)) + 1)
    return parts


def _pieces(units: np.ndarray, variant: np.ndarray) -> list[UnitPiece]:
    """One piece a variant: a range of units where they follow each other, a list where units are applied again."""
    pieces = []
    cuts = [0, *(np.flatnonzero(np.diff(variant)) + 1).tolist(), len(units)]
    for low, high in pairwise(cuts):
        part = units[low:high]
        consecutive = bool((np.diff(part) == 1).all())
        pieces.append(UnitPiece(low, high, (int(part[0]), int(part[-1]) + 1) if consecutive else torch.from_numpy(part)))
    return pieces


def _ptr(lengths: list[int]) -> list[int]:
    return [0, *np.cumsum(lengths).tolist()]
