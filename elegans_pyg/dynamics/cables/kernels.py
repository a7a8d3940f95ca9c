"""Numba kernels of the cables: one call takes some stimuli through all steps, or through one solution of their trees.

The equations are those of :mod:`elegans_pyg.dynamics.cables.integrate`. Arrays are flat, node after node with the kernel's stimuli
innermost. Nodes are numbered by their depth, compartments before branch points, so that the trees are swept in runs of nodes whose parents
are all done; each run's divisions are independent of each other.
"""

import numpy as np

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg.dynamics.kernels import _add_products, _exp


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _relax(voltage, gates, calcium, opening, block, block_before, channel, gain, tables, reversal_ca, constants, steepest, one, half):
    """Gates, then calcium, then the block: what they are half a step after ``voltage``. ``opening`` is e^2 f half a step before it."""
    midpoint, inverse_scale, kept = tables[0], tables[1], tables[2]
    resting, kept_ca, alpha, half_block, inverse_block = constants[0], constants[1], constants[2], constants[3], constants[4]
    n, p, q, e, f = gates[0], gates[1], gates[2], gates[3], gates[4]
    m0, m1, m2, m3, m4 = midpoint[0], midpoint[1], midpoint[2], midpoint[3], midpoint[4]
    s0, s1, s2, s3, s4 = inverse_scale[0], inverse_scale[1], inverse_scale[2], inverse_scale[3], inverse_scale[4]
    k0, k1, k2, k3, k4 = kept[0], kept[1], kept[2], kept[3], kept[4]
    three_halves = one + half
    for m in range(calcium.size):
        v = voltage[m]
        target = one / (one + _exp(min(max((m0 - v) * s0, -steepest), steepest)))
        n[m] = target + (n[m] - target) * k0
        target = one / (one + _exp(min(max((m1 - v) * s1, -steepest), steepest)))
        p[m] = target + (p[m] - target) * k1
        target = one / (one + _exp(min(max((m2 - v) * s2, -steepest), steepest)))
        q[m] = target + (q[m] - target) * k2
        target = one / (one + _exp(min(max((m3 - v) * s3, -steepest), steepest)))
        e_new = target + (e[m] - target) * k3
        target = one / (one + _exp(min(max((m4 - v) * s4, -steepest), steepest)))
        f_new = target + (f[m] - target) * k4
        e[m], f[m] = e_new, f_new
        opened = e_new * e_new * f_new
        middle = half * (opening[m] + opened) * (three_halves * block[m] - half * block_before[m])
        opening[m] = opened
        level = resting - gain[m] * (channel[2, m] * middle * (v - reversal_ca))
        level = max(level + (calcium[m] - level) * kept_ca, resting * 0)
        calcium[m] = level
        block_before[m] = block[m]
        x = min(max((level - half_block) * inverse_block, -steepest), steepest)
        block[m] = one - alpha / (one + _exp(x))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _load(voltage, gates, opening, block, channel, leak, held, reversal, leak_reversal, ground, residual):
    """Every compartment's conductance with what holds it to its potential, and the current into it."""
    n, p, q = gates[0], gates[1], gates[2]
    slow, fast, ca = channel[0], channel[1], channel[2]
    e_slow, e_fast, e_ca = reversal[0], reversal[1], reversal[2]
    for m in range(opening.size):
        v = voltage[m]
        square = p[m] * p[m]
        g_slow = slow[m] * n[m]
        g_fast = fast[m] * (square * square * q[m])
        g_ca = ca[m] * (opening[m] * block[m])
        ground[m] = held[m] + leak[m] + g_slow + g_fast + g_ca
        residual[m] = leak[m] * (leak_reversal - v) + g_slow * (e_slow - v) + g_fast * (e_fast - v) + g_ca * (e_ca - v)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sweep_up(parent, axial, runs, ground, flow, inverse, share, width, one):
    """Towards the roots, deepest nodes first: each adds its subtree's conductance and current to its parent's."""
    for run in range(runs.shape[0]):
        for node in range(runs[run, 0], runs[run, 1]):
            g, up = axial[node], parent[node] * width
            begin = node * width
            for b in range(width):
                a = ground[begin + b]
                i = one / (g + a)
                s = g * i
                inverse[begin + b] = i
                share[begin + b] = s
                ground[up + b] += a * s
                flow[up + b] += flow[begin + b] * s


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sweep_flow(parent, runs, flow, share, width):
    """Towards the roots, the currents alone."""
    for run in range(runs.shape[0]):
        for node in range(runs[run, 0], runs[run, 1]):
            up, begin = parent[node] * width, node * width
            for b in range(width):
                flow[up + b] += flow[begin + b] * share[begin + b]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sweep_down(parent, runs, flow, inverse, share, found, width):
    """From the roots, whose potentials are in ``found``."""
    for run in range(runs.shape[0] - 1, -1, -1):
        for node in range(runs[run, 0], runs[run, 1]):
            up, begin = parent[node] * width, node * width
            for b in range(width):
                found[begin + b] = flow[begin + b] * inverse[begin + b] + share[begin + b] * found[up + b]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _flow_between(parent, axial, runs, voltage, residual, width):
    """Add to every node what flows in from its neighbours."""
    for run in range(runs.shape[0]):
        for node in range(runs[run, 0], runs[run, 1]):
            g, up, begin = axial[node], parent[node] * width, node * width
            for b in range(width):
                flow = g * (voltage[up + b] - voltage[begin + b])
                residual[begin + b] += flow
                residual[up + b] -= flow


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def sweep_trees(first, last, parent, axial, runs, roots, ground, current, result):
    """Potentials of stimuli ``first <= s < last`` on the trees; ``ground``, ``current`` and ``result`` are ``(P, S)``."""
    width, nodes = last - first, len(parent)
    a = np.ascontiguousarray(ground[:, first:last]).reshape(nodes * width)
    flow = np.ascontiguousarray(current[:, first:last]).reshape(nodes * width)
    inverse, share, found = np.empty_like(a), np.empty_like(a), np.empty_like(a)
    _sweep_up(parent, axial, runs, a, flow, inverse, share, width, a.dtype.type(1))
    for m in range(roots * width):
        found[m] = flow[m] / a[m]
    _sweep_down(parent, runs, flow, inverse, share, found, width)
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
def integrate_stimuli(first, last, dt, substeps, graded, numbers, tree, circuit, membrane, neurons, edges, start, inputs, record, current, result):
    """Take stimuli ``first <= s < last`` from ``start``, which is staggered already, through all steps, and write ``result (S, T, R)``.

    ``numbers``: steepest, second, leak's reversal potential. ``tree``: parent, axial conductance, runs (deepest first), number of roots.
    ``circuit (6, M)``: capacitance over gamma dt, leak, slow K, fast K, Ca, calcium's gain. ``membrane``: gates' midpoint, 1 / scale and
    share kept ``(3, 5)``; reversal potentials; calcium's resting value, share kept, alpha, half, 1 / scale. ``neurons``: compartments of the
    somata; gap junctions' sum, threshold, 1 / delta and both rates ``(5, N)``. ``edges``: synapses, drives and gap junctions by target.
    ``start``: what :class:`~elegans_pyg.dynamics.cables.integrate.Staggered` has, and the block, stimuli last. ``dt`` is that of a substep.
    """
    parent, axial, runs, roots = tree
    gate_tables, reversal, calcium_constants = membrane
    soma, constants = neurons
    synapses, drives, gaps = edges
    width = last - first
    compartments, nodes, number = circuit.shape[1], len(parent), len(soma)
    size, kind = compartments * width, circuit.dtype
    one, half = kind.type(1), kind.type(0.5)
    steepest, second, leak_reversal = numbers[0], numbers[1], numbers[2]
    voltage, activation = _own(start[0], first, last), _own(start[1], first, last)
    calcium, gap_before = _own(start[3], first, last), _own(start[4], first, last)
    block_before, block = _own(start[5], first, last), _own(start[6], first, last)
    gates = np.empty((5, size), kind)
    for g in range(5):
        gates[g] = _own(start[2][g], first, last)
    opening = gates[3] * gates[3] * gates[4]
    held = np.zeros(nodes * width, kind)
    held[:size] = np.repeat(circuit[0], width)
    leak, gain = np.repeat(circuit[1], width), np.repeat(circuit[5], width)
    channel = np.repeat(circuit[2:5], width).reshape(3, size)
    ground, residual, flow = np.zeros(nodes * width, kind), np.zeros(nodes * width, kind), np.empty(nodes * width, kind)
    inverse, share, found = np.empty(nodes * width, kind), np.empty(nodes * width, kind), np.empty(nodes * width, kind)
    total, drive, gap = np.empty(number * width, kind), np.empty(number * width, kind), np.empty(number * width, kind)
    at_soma, gap_sum = np.empty(number * width, kind), np.repeat(constants[0], width)

    for step in range(current.shape[1]):
        for _ in range(substeps):
            ground[size:], residual[size:] = 0, 0
            _load(voltage, gates, opening, block, channel, leak, held, reversal, leak_reversal, ground, residual)
            total[:], drive[:], gap[:] = gap_sum, 0, 0
            for i in range(number):
                at_soma[i * width : (i + 1) * width] = voltage[soma[i] * width : (soma[i] + 1) * width]
            _add_products(total, activation, synapses, number, width)
            _add_products(drive, activation, drives, number, width)
            _add_products(gap, at_soma, gaps, number, width)
            for i in range(number):
                row = soma[i] * width
                for b in range(width):
                    k = i * width + b
                    ground[row + b] += total[k]
                    residual[row + b] += drive[k] + (one + half) * gap[k] - half * gap_before[k] - total[k] * at_soma[k]
            gap, gap_before = gap_before, gap
            for k in range(inputs.size):
                for b in range(width):
                    residual[inputs[k] * width + b] += current[first + b, step, k]
            _flow_between(parent, axial, runs, voltage, residual, width)
            flow[:] = residual
            _sweep_up(parent, axial, runs, ground, flow, inverse, share, width, one)
            for m in range(roots * width):
                inverse[m] = one / ground[m]
                found[m] = flow[m] * inverse[m]
            _sweep_down(parent, runs, flow, inverse, share, found, width)
            for m in range(flow.size):
                flow[m] = residual[m] + second * held[m] * found[m]
            _sweep_flow(parent, runs, flow, share, width)
            for m in range(roots * width):
                found[m] = flow[m] * inverse[m]
            _sweep_down(parent, runs, flow, inverse, share, found, width)
            for m in range(flow.size):
                voltage[m] += found[m]
            _relax(voltage, gates, calcium, opening, block, block_before, channel, gain, gate_tables, reversal[2], calcium_constants, steepest, one, half)
            _activate(activation, voltage, soma, constants, graded, dt, steepest, width, one, half)
        for r in range(record.size):
            for b in range(width):
                result[first + b, step, r] = voltage[record[r] * width + b]
