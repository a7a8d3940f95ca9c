"""From a wiring to the steps of a tensor network: visit the synapses one by one, record versions of each value, sort them by level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch_geometric.data import Batch, Data

from elegans_pyg.nn.tensor.roles import MOTOR, SENSOR, RolePair, check_roles, numbers_of_pairs, rank_of_pairs

# Kinds of row, in the order in which they run inside a level.
UNIT, RAW, NORMED = range(3)
# Backward keeps one map for each factor of a group, so a group's size bounds its memory.
_FACTORS_PER_GROUP = 1024


class UnitPiece(NamedTuple):
    """Consecutive rows of a group, all of one variant, and their units: a slice where the units are stored in that order, else a list."""

    low: int
    high: int
    units: slice | Tensor


class Group(NamedTuple):
    """Rows ``low:high`` of the table, of one kind and level, computed at once.

    Attributes:
        source ``(n,)``: the row that each unit is applied to, or that each product or sum starts from.
        norm ``(n,)``: the norm of each row; empty where there is none.
        pieces: for units, how the rows fall into pieces.
        applied: for units, the number of unit rows before this group.
        rounds: for products and sums, the rows combined one after the other; round ``r`` is for the first ``len(rounds[r])`` rows.
        factor_ptr ``(n + 1,)``, factors: the same by row, for the kernels.
        gain ``(n, 1, 1)``: for products, :math:`1/k` of each row's neuron.
    """

    kind: int
    low: int
    high: int
    source: Tensor
    norm: Tensor
    pieces: Sequence[UnitPiece] = ()
    applied: int = 0
    rounds: Sequence[Tensor] = ()
    factor_ptr: Tensor = torch.empty(0)
    factors: Tensor = torch.empty(0)
    gain: Tensor = torch.empty(0)


class TensorProgram(NamedTuple):
    """The steps of ``V`` tensor networks side by side; a *row* is one value, ``(B, width)``.

    Rows ``0:V`` are the inputs; the others are the versions of neurons' values that the readout depends on, level by level.

    Attributes:
        num_variants, num_rows, num_applied: numbers of variants, of rows, and of rows computed by a unit.
        num_levels: length of the longest chain of rows.
        groups: the steps, in order.
        output: the rows that hold the motor neurons' final values, variant by variant, in the order of the neurons.
        output_ptr: ``V + 1`` offsets into ``output``.
        motor_slot: for each entry of ``output``, the neuron's place among its variant's motor neurons, reached or not.
        num_motors: motor neurons of each variant, reached or not.
        unit_ptr, norm_ptr: ``V + 1`` offsets of the variants into units and norms.
        unit_neuron, norm_neuron: the neuron of each unit and of each norm, by its number in the batch.
        synapses: counts per variant: ``visited``, all synapses of pairs that are not skipped; ``passed_over``, those whose source had no
            value yet; ``effective``, those that the readout depends on.
    """

    num_variants: int
    num_rows: int
    num_applied: int
    num_levels: int
    groups: list[Group]
    output: Tensor
    output_ptr: list[int]
    motor_slot: Tensor
    num_motors: list[int]
    unit_ptr: list[int]
    norm_ptr: list[int]
    unit_neuron: Tensor
    norm_neuron: Tensor
    synapses: dict[str, list[int]]

    def to(self, device: torch.device, dtype: torch.dtype) -> TensorProgram:
        """Return the program on a device, for values of type ``dtype``."""
        return tree_map_only(Tensor, lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype), self)


class _Visits:
    """Visits the synapses of all variants one by one; every change of a neuron's value appends a row."""

    def __init__(self, roles: np.ndarray, variant: np.ndarray, norm: str) -> None:
        # The first rows are the variants' inputs.
        inputs = int(variant[-1]) + 1
        self.norm, self.inputs = norm, inputs
        self.kind, self.neuron, self.base = ([-1] * inputs for _ in range(3))
        self.factors: list[list[int]] = [[] for _ in range(inputs)]
        self.created: list[int] = []  # unit rows that gave a neuron its first value
        self.value: list[int] = np.where(roles == SENSOR, variant, -1).tolist()
        self.pending: list[list[int]] = [[] for _ in roles]
        self.normed, self.combined = [-1] * len(roles), [0] * len(roles)
        self.passed_over: list[int] = []  # sources

    def _append(self, kind: int, neuron: int, base: int, factors: list[int]) -> int:
        self.kind.append(kind)
        self.neuron.append(neuron)
        self.base.append(base)
        self.factors.append(factors)
        return len(self.kind) - 1

    def read(self, neuron: int) -> int:
        """Return the row that other neurons now read of a neuron."""
        if self.pending[neuron]:
            self.value[neuron] = self._append(RAW, neuron, self.value[neuron], self.pending[neuron])
            self.pending[neuron] = []
        if self.norm != "state":
            return self.value[neuron]
        if self.normed[neuron] < 0:
            self.normed[neuron] = self._append(NORMED, neuron, self.value[neuron], [])
        return self.normed[neuron]

    def visit(self, source: np.ndarray, target: np.ndarray, reapply: np.ndarray) -> None:
        for s, t, again in zip(source.tolist(), target.tolist(), reapply.tolist(), strict=True):
            if self.value[s] < 0:
                self.passed_over.append(s)
                continue
            row = self.read(s)
            if self.value[t] < 0:
                self.value[t] = self._append(UNIT, t, row, [])
                self.created.append(self.value[t])
            else:
                self.pending[t].append(self._append(UNIT, t, row, []) if again else row)
                self.combined[t] += 1
            self.normed[t] = -1

    def finish(self, motors: np.ndarray) -> None:
        """Read the motor neurons, drop rows they do not depend on, and join products whose intermediate values are not read."""
        self.output = [self.read(n) for n in motors.tolist()]
        uses = [0] * len(self.kind)
        for row in self.output:
            uses[row] += 1
        for row in range(len(uses) - 1, self.inputs - 1, -1):
            if uses[row]:
                for below in (self.base[row], *self.factors[row]):
                    uses[below] += 1
        # Targets of effective synapses: of products before they are joined, and of units that created a value.
        self.effective = [self.neuron[row] for row in self.created if uses[row]]
        for neuron, factors, used in zip(self.neuron, self.factors, uses, strict=True):
            self.effective += [neuron] * (len(factors) if used else 0)
        for row in range(self.inputs, len(uses)):
            base = self.base[row]
            if uses[row] and self.kind[row] != UNIT and self.kind[base] == RAW and uses[base] == 1:
                self.base[row], self.factors[row] = self.base[base], self.factors[base] + self.factors[row]
                uses[base] = 0
        self.rows = [row for row in range(self.inputs, len(uses)) if uses[row]]
        self.level = [0] * len(uses)
        for row in self.rows:
            self.level[row] = 1 + max(self.level[below] for below in (self.base[row], *self.factors[row]))


def compile_program(
    batch: Data | Batch, norm: str, order: Sequence[RolePair], skip: Sequence[RolePair], reapply: Sequence[RolePair]
) -> TensorProgram:
    """Visit every variant's synapses in order, and lay out the rows that the motor neurons' final values depend on; arguments and errors
    are those of :class:`~elegans_pyg.nn.TensorNetwork`."""
    rank, again = rank_of_pairs(order, skip), numbers_of_pairs("reapply", reapply)
    roles, ptr, edge_index, kind = check_roles(batch)
    variant = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    pair = roles[edge_index[0]] * 3 + roles[edge_index[1]]
    visits = np.lexsort((kind, edge_index[1], edge_index[0], rank[pair], variant[edge_index[0]]))
    visits = visits[rank[pair[visits]] >= 0]
    source, target = edge_index[:, visits]
    walk = _Visits(roles, variant, norm)
    walk.visit(source, target, np.isin(pair[visits], again))

    motors = np.flatnonzero(roles == MOTOR)
    num_motors = np.bincount(variant[motors], minlength=len(ptr) - 1)
    slots = np.arange(len(motors)) - np.repeat(np.cumsum(num_motors) - num_motors, num_motors)
    reached = np.array(walk.value)[motors] >= 0
    outputs = np.bincount(variant[motors[reached]], minlength=len(ptr) - 1)
    if not outputs.all():
        v = int(outputs.argmin())
        raise ValueError(
            f"batch: expected a motor neuron that the sensors reach in every variant, got none among the {num_motors[v]} of variant {v};"
            " check neuron_type and skip, or leave that wiring out"
        )
    walk.finish(motors[reached])
    neurons = {"visited": source, "passed_over": walk.passed_over, "effective": walk.effective}
    synapses = {name: np.bincount(variant[of], minlength=len(ptr) - 1).tolist() for name, of in neurons.items()}
    places = {"output_ptr": _ptr(outputs), "motor_slot": torch.from_numpy(slots[reached]), "num_motors": num_motors.tolist()}
    return _lay_out(walk, variant, **places, synapses=synapses)


def _lay_out(walk: _Visits, variant_of: np.ndarray, **counted: Any) -> TensorProgram:
    """Number the rows of all variants level by level, and group them; ``counted`` holds the attributes already known."""
    rows, norm, inputs = np.array(walk.rows, dtype=np.int64), walk.norm, walk.inputs
    kind, level, neuron, base = (np.array(values)[rows] for values in (walk.kind, walk.level, walk.neuron, walk.base))
    variant, combined, factors = variant_of[neuron], np.array(walk.combined), [walk.factors[row] for row in walk.rows]
    length = np.array([len(f) for f in factors], dtype=np.int64)

    order = np.lexsort((neuron, variant, np.where(kind == UNIT, 0, -length), kind, level))
    place = np.arange(len(walk.kind))  # where each row went
    place[rows[order]] = inputs + np.arange(len(order))
    factor_ptr = np.array(_ptr(length))
    flat = place[np.fromiter(chain.from_iterable(factors), dtype=np.int64, count=factor_ptr[-1])]

    # A variant's units are stored in the order in which they are first applied, so that a level's units are one slice of the weights.
    applied = order[kind[order] == UNIT]
    unit_neuron, first = np.unique(neuron[applied], return_index=True)
    unit_neuron = unit_neuron[np.lexsort((first, variant_of[unit_neuron]))]
    norm_neuron = unit_neuron if norm == "unit" else np.unique(neuron[kind == NORMED])
    unit_of_neuron, norm_of_neuron = np.full((2, len(variant_of)), -1)
    unit_of_neuron[unit_neuron], norm_of_neuron[norm_neuron] = np.arange(len(unit_neuron)), np.arange(len(norm_neuron))

    # Groups end where level or kind changes, and where they would have too many factors.
    parts = []
    for part in np.split(order, np.flatnonzero(np.diff(level[order] * 3 + kind[order])) + 1):
        parts += np.split(part, np.flatnonzero(np.diff(np.cumsum(length[part]) // _FACTORS_PER_GROUP)) + 1)
    groups: list[Group] = []
    count = 0
    for part in parts:
        low, what = int(place[rows[part[0]]]), int(kind[part[0]])
        has_norm = what == NORMED or (what == UNIT and norm == "unit")
        norms = torch.from_numpy(norm_of_neuron[neuron[part]] if has_norm else np.empty(0, dtype=np.int64))
        group = Group(what, low, low + len(part), torch.from_numpy(place[base[part]]), norms)
        if what == UNIT:
            groups.append(group._replace(pieces=_pieces(unit_of_neuron[neuron[part]], variant[part]), applied=count))
            count += len(part)
        else:
            lengths, starts = length[part], factor_ptr[part]
            members = np.concatenate([flat[start : start + n] for start, n in zip(starts, lengths, strict=True)])
            rounds = [torch.from_numpy(flat[starts[lengths > r] + r]) for r in range(int(lengths[0]))]
            gain = torch.from_numpy(1.0 / np.maximum(combined[neuron[part]], 1)).view(-1, 1, 1)
            ptr = torch.tensor(_ptr(lengths))
            groups.append(group._replace(rounds=rounds, factor_ptr=ptr, factors=torch.from_numpy(members), gain=gain))
    for name, neurons in (("unit", unit_neuron), ("norm", norm_neuron)):
        counted[f"{name}_ptr"] = _ptr(np.bincount(variant_of[neurons], minlength=inputs))
        counted[f"{name}_neuron"] = torch.from_numpy(neurons)
    sizes = inputs, inputs + len(order), count, int(level.max(initial=0))
    return TensorProgram(*sizes, groups, torch.from_numpy(place[walk.output]), **counted)


def _pieces(units: np.ndarray, variant: np.ndarray) -> list[UnitPiece]:
    """Return one piece per variant: a slice of units where they are consecutive, a list where units are applied again."""
    pieces = []
    for low, high in pairwise([0, *(np.flatnonzero(np.diff(variant)) + 1).tolist(), len(units)]):
        part = units[low:high]
        consecutive = bool((np.diff(part) == 1).all())
        pieces.append(UnitPiece(low, high, slice(int(part[0]), int(part[-1]) + 1) if consecutive else torch.from_numpy(part)))
    return pieces


def _ptr(lengths: np.ndarray) -> list[int]:
    return [0, *np.cumsum(lengths).tolist()]
