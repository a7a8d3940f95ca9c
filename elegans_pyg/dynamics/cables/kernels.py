"""Numba kernels of the cables: one call takes some stimuli through all steps, or solves their trees once.

The equations are those of :mod:`elegans_pyg.dynamics.cables.integrate`. Arrays are flat, node after node with the kernel's stimuli
innermost. Trees are swept in stretches: consecutive nodes of one depth whose parents are consecutive too, so that every loop is one long
run over both.
"""

import numpy as np

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg.dynamics.kernels import _add_products, _exp

_ROW = 2048
"""Entries of every array that are processed together, so that they stay in the fastest caches from one short loop to the next."""


# Loops write one array each, because LLVM does not vectorise loops that need many tests for overlap.
@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _relax_gate(gate, voltage, midpoint, inverse_scale, kept, steepest, one):
    for m in range(gate.size):
        target = one / (one + _exp(min(max((midpoint - voltage[m]) * inverse_scale, -steepest), steepest)))
        gate[m] = target + (gate[m] - target) * kept


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _relax_calcium(calcium, block, block_before, opening, e, f, voltage, channel, gain, room, constants, reversal, steepest, one, half):
    """Advance calcium, with e^2 f and the block at the middle of the step; then store the present ones."""
    resting, kept, alpha, half_block, inverse_block = constants[0], constants[1], constants[2], constants[3], constants[4]
    three_halves = one + half
    for m in range(room.size):
        room[m] = half * (three_halves * block[m] - half * block_before[m])
    for m in range(room.size):
        room[m] *= (opening[m] + e[m] * e[m] * f[m]) * (voltage[m] - reversal)
    for m in range(room.size):
        target = resting - gain[m] * channel[m] * room[m]
        calcium[m] = max(target + (calcium[m] - target) * kept, one - one)
    for m in range(room.size):
        opening[m] = e[m] * e[m] * f[m]
    for m in range(room.size):
        block_before[m] = block[m]
    for m in range(room.size):
        x = min(max((calcium[m] - half_block) * inverse_block, -steepest), steepest)
        block[m] = one - alpha / (one + _exp(x))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _load(ground, residual, voltage, n, p, q, opening, block, channel, leak, held, room, reversal, leak_reversal):
    """Total conductance of every compartment, including ``held``, that of C / (gamma dt), and the current into it."""
    slow, fast, ca = channel[0], channel[1], channel[2]
    e_slow, e_fast, e_ca = reversal[0], reversal[1], reversal[2]
    for m in range(room.size):
        square = p[m] * p[m]
        ground[m] = held[m] + leak[m] + slow[m] * n[m] + fast[m] * (square * square * q[m])
    for m in range(room.size):
        square, v = p[m] * p[m], voltage[m]
        residual[m] = leak[m] * (leak_reversal - v) + slow[m] * n[m] * (e_slow - v) + fast[m] * (square * square * q[m]) * (e_fast - v)
    for m in range(room.size):
        room[m] = ca[m] * (opening[m] * block[m])
    for m in range(room.size):
        ground[m] += room[m]
    for m in range(room.size):
        residual[m] += room[m] * (e_ca - voltage[m])


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _exchange(residual, others, voltage, other_voltage, axial):
    for m in range(axial.size):
        flow = axial[m] * (other_voltage[m] - voltage[m])
        residual[m] += flow
        others[m] -= flow


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_share(up, own, share):
    for m in range(own.size):
        up[m] += own[m] * share[m]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sweep_up(stretches, axial, ground, flow, inverse, share, width, one):
    """From the deepest nodes to the roots: each adds the conductance and current of its subtree to its parent's."""
    for k in range(stretches.shape[0]):
        begin, up, size = stretches[k, 0] * width, stretches[k, 1] * width, stretches[k, 2] * width
        g, a, s, i = axial[begin : begin + size], ground[begin : begin + size], share[begin : begin + size], inverse[begin : begin + size]
        for m in range(size):
            i[m] = one / (g[m] + a[m])
        for m in range(size):
            s[m] = g[m] * i[m]
        _add_share(ground[up : up + size], a, s)
        _add_share(flow[up : up + size], flow[begin : begin + size], s)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sweep_down(stretches, flow, inverse, share, found, width):
    """From the roots, whose potentials are in ``found``, to the deepest nodes."""
    for k in range(stretches.shape[0] - 1, -1, -1):
        begin, up, size = stretches[k, 0] * width, stretches[k, 1] * width, stretches[k, 2] * width
        own, above = found[begin : begin + size], found[up : up + size]
        f, i, s = flow[begin : begin + size], inverse[begin : begin + size], share[begin : begin + size]
        for m in range(size):
            own[m] = f[m] * i[m] + s[m] * above[m]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def sweep_trees(first, last, axial, stretches, roots, ground, current, result):
    """Solve the trees for stimuli ``first <= s < last``; ``ground``, ``current`` and ``result`` are ``(P, S)``."""
    width, nodes = last - first, len(axial)
    a = np.ascontiguousarray(ground[:, first:last]).reshape(nodes * width)
    flow = np.ascontiguousarray(current[:, first:last]).reshape(nodes * width)
    inverse, share, found = np.empty_like(a), np.empty_like(a), np.empty_like(a)
    _sweep_up(stretches, np.repeat(axial, width), a, flow, inverse, share, width, a.dtype.type(1))
    for m in range(roots * width):
        found[m] = flow[m] / a[m]
    _sweep_down(stretches, flow, inverse, share, found, width)
    result[:, first:last] = found.reshape(nodes, width)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _activate(activation, voltage, soma, constants, graded, span, steepest, width, one, half):
    """Synaptic activations, from the voltages of the somata."""
    for i in range(soma.size):
        t, d, up, down, row = constants[1, i], constants[2, i], constants[3, i], constants[4, i], soma[i] * width
        for b in range(width):
            growth = _exp(min(max((voltage[row + b] - t) * d, -steepest), steepest))
            phi = growth / (one + growth)
            if graded:
                rate, target = up * (one + growth), phi
            else:
                rate = up * phi + down
                target = up * phi / rate
            z = rate * span
            own = activation[i * width + b]
            activation[i * width + b] = target + (own - target) / (one + z + z * z * half)


@compiled()
def _own(values, first, last):
    return np.ascontiguousarray(values[:, first:last]).reshape(values.shape[0] * (last - first))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def integrate_stimuli(
    first, last, dt, substeps, graded, numbers, tree, circuit, membrane, neurons, edges, start, inputs, record, current, result
):
    """Take stimuli ``first <= s < last`` from ``start``, which is already staggered, through all steps, and write ``result (S, T, R)``.

    ``numbers``: steepest, second, reversal potential of the leak. ``tree``: axial conductance, stretches, number of roots.
    ``circuit (6, M)``: capacitance over gamma dt, leak, slow K, fast K, Ca, calcium's gain. ``membrane``: midpoint, 1 / scale and share
    kept of the gates ``(3, 5)``; reversal potentials; calcium's resting value, share kept, alpha, half, 1 / scale. ``neurons``: the somata;
    sum of gap junctions, threshold, 1 / delta and both rates ``(5, N)``. ``edges``: synapses, drives and gap junctions by target.
    ``start``: the fields of :class:`~elegans_pyg.dynamics.cables.integrate.Staggered` and the block, stimuli last. ``dt``: of a substep.
    """
    axial, stretches, roots = tree
    gate_tables, reversal, calcium_constants = membrane
    soma, constants = neurons
    synapses, drives, gaps = edges
    width = last - first
    compartments, nodes, number = circuit.shape[1], len(axial), len(soma)
    size, kind = compartments * width, circuit.dtype
    one, half = kind.type(1), kind.type(0.5)
    steepest, second, leak_reversal = numbers[0], numbers[1], numbers[2]
    voltage, activation = _own(start[0], first, last), _own(start[1], first, last)
    calcium, gap_before = _own(start[3], first, last), _own(start[4], first, last)
    block_before, block = _own(start[5], first, last), _own(start[6], first, last)
    gates = np.empty((5, size), kind)
    for g in range(5):
        gates[g] = _own(start[2][g], first, last)
    n, p, q, e, f = gates[0], gates[1], gates[2], gates[3], gates[4]
    opening, axial = e * e * f, np.repeat(axial, width)
    held = np.zeros(nodes * width, kind)
    held[:size] = np.repeat(circuit[0], width)
    leak, gain = np.repeat(circuit[1], width), np.repeat(circuit[5], width)
    channel = np.repeat(circuit[2:5], width).reshape(3, size)
    ground, residual, flow = np.zeros(nodes * width, kind), np.zeros(nodes * width, kind), np.empty(nodes * width, kind)
    inverse, share, found = np.empty(nodes * width, kind), np.empty(nodes * width, kind), np.empty(nodes * width, kind)
    total, drive, gap = np.empty(number * width, kind), np.empty(number * width, kind), np.empty(number * width, kind)
    at_soma, gap_sum, room = np.empty(number * width, kind), np.repeat(constants[0], width), np.empty(_ROW, kind)

    for step in range(current.shape[1]):
        for substep in range(substeps):
            ground[size:] = 0
            residual[size:] = 0
            for k in range(0, size, _ROW):
                to = min(k + _ROW, size)
                v, own, gates_of = voltage[k:to], room[: to - k], gates[:, k:to]
                # The start has already advanced all of these by half a step.
                if step + substep:
                    for g in range(5):
                        _relax_gate(gates_of[g], v, gate_tables[0, g], gate_tables[1, g], gate_tables[2, g], steepest, one)
                    row = (calcium[k:to], block[k:to], block_before[k:to], opening[k:to], e[k:to], f[k:to], v, channel[2, k:to], gain[k:to])
                    _relax_calcium(*row, own, calcium_constants, reversal[2], steepest, one, half)
                loaded = (ground[k:to], residual[k:to], v, n[k:to], p[k:to], q[k:to], opening[k:to], block[k:to])
                _load(*loaded, channel[:, k:to], leak[k:to], held[k:to], own, reversal, leak_reversal)
            if step + substep:
                _activate(activation, voltage, soma, constants, graded, dt, steepest, width, one, half)
            total[:] = gap_sum
            drive[:] = 0
            gap[:] = 0
            for i in range(number):
                at_soma[i * width : (i + 1) * width] = voltage[soma[i] * width : (soma[i] + 1) * width]
            _add_products(total, activation, synapses, number, width)
            _add_products(drive, activation, drives, number, width)
            _add_products(gap, at_soma, gaps, number, width)
            for i in range(number):
                row_of = soma[i] * width
                for b in range(width):
                    k = i * width + b
                    ground[row_of + b] += total[k]
                    residual[row_of + b] += drive[k] + (one + half) * gap[k] - half * gap_before[k] - total[k] * at_soma[k]
            gap, gap_before = gap_before, gap
            for k in range(inputs.size):
                for b in range(width):
                    residual[inputs[k] * width + b] += current[first + b, step, k]
            for k in range(stretches.shape[0]):
                here, up, run = stretches[k, 0] * width, stretches[k, 1] * width, stretches[k, 2] * width
                others = (residual[up : up + run], voltage[here : here + run], voltage[up : up + run], axial[here : here + run])
                _exchange(residual[here : here + run], *others)
            flow[:] = residual
            _sweep_up(stretches, axial, ground, flow, inverse, share, width, one)
            for m in range(roots * width):
                inverse[m] = one / ground[m]
                found[m] = flow[m] * inverse[m]
            _sweep_down(stretches, flow, inverse, share, found, width)
            for m in range(flow.size):
                flow[m] = residual[m] + second * held[m] * found[m]
            for k in range(stretches.shape[0]):
                here, up, run = stretches[k, 0] * width, stretches[k, 1] * width, stretches[k, 2] * width
                _add_share(flow[up : up + run], flow[here : here + run], share[here : here + run])
            for m in range(roots * width):
                found[m] = flow[m] * inverse[m]
            _sweep_down(stretches, flow, inverse, share, found, width)
            for m in range(flow.size):
                voltage[m] += found[m]
        for r in range(record.size):
            for b in range(width):
                result[first + b, step, r] = voltage[record[r] * width + b]
