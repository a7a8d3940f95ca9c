"""Numba kernels of leaky units on wirings: each call takes some (variant, group of sequences) pairs through all steps, forward or backward.

Up to ``LANES`` sequences of a variant share a walk, so that each synapse is read once for all of them. Few sequences are walked one by one,
with neurons of similar in-degree in the vector lanes. Gradients of weights are sums over time: incoming gradients and sent activities are
collected over a block of steps, and each synapse then takes one dot product of two contiguous rows, instead of two scattered reads at every
step. In all rows, the sequences of a walk are the inner axis.
"""

import numpy as np

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg.nn.recurrent.rows import WIDTH
from elegans_pyg.nn.recurrent.vectors import BLOCK, add_dots, add_rows, transpose
from elegans_pyg.nn.reservoir.kernels import LANES, sum_lanes, tanh_into

__all__ = ["LANES", "backward", "forward"]

# Indices into ``leaky.ACTIVATIONS``.
TANH, SIGMOID, RELU = 0, 1, 2


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _activate(out, v, scratch, activation, halvings, limit):
    """``out = phi(v)``: the activities of all voltages."""
    half, zero = v.dtype.type(0.5), v.dtype.type(0)
    if activation == RELU:
        for i in range(v.size):
            out[i] = zero if v[i] < zero else v[i]
    elif activation == TANH:
        tanh_into(out, v, halvings, limit)
    else:
        for i in range(v.size):
            scratch[i] = half * v[i]
        tanh_into(out, scratch, halvings, limit)
        for i in range(v.size):
            out[i] = half + half * out[i]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _times_slope(total, activity, activation):
    """``total *= phi'(v)``, computed from the activities ``phi(v)``."""
    one, zero = activity.dtype.type(1), activity.dtype.type(0)
    for i in range(activity.size):
        p = activity[i]
        if activation == TANH:
            total[i] *= one - p * p
        elif activation == SIGMOID:
            total[i] *= p * (one - p)
        elif p <= zero:
            total[i] = zero


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sum_rows(out, z, variant, rows, weight):
    """Add to ``out`` the weighted input of each neuron of a variant, for a single sequence; ``rows`` are tables of
    :class:`~elegans_pyg.nn.recurrent.rows.Rows`."""
    group_ptr, slot_ptr, row, source = rows
    for group in range(group_ptr[variant], group_ptr[variant + 1]):
        start = slot_ptr[group]
        add_rows(out, row, WIDTH * group, z, weight, source, start, (slot_ptr[group + 1] - start) // WIDTH)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _copy(to, source):
    for i in range(to.size):
        to[i] = source[i]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def forward(first, last, lanes, activation, halvings, limit, graph, rows, numbers, x, state, kept, y):
    """Walk pairs ``first`` to ``last``; the groups of one variant are consecutive.

    Args:
        lanes: 1 or ``LANES``.
        activation, halvings, limit: the index of the activation, and the arguments of ``tanh_into`` for this precision.
        graph, rows, numbers: tables of :class:`~elegans_pyg.nn.recurrent.leaky.LeakyWalk`, nodes numbered inside the variant; weights by
            target, or for a single lane by slot.
        x ``(V or 1, B, T, F)``, state ``(N, B)`` (initial, overwritten by the final one), kept ``(groups, T or 0, N lanes)`` (voltages
            before each step), y ``(R, T, B)``.
    """
    node_ptr, row_ptr, source, input_ptr, input_node, input_feature, read_ptr, read_node = graph
    keep, weight, input_weight, offset = numbers
    sequences, steps = x.shape[1], x.shape[2]
    groups = (sequences + lanes - 1) // lanes
    for pair in range(first, last):
        variant, group = pair // groups, pair % groups
        b0 = group * lanes
        used = min(lanes, sequences - b0)
        n0, n = node_ptr[variant], node_ptr[variant + 1] - node_ptr[variant]
        which, size = variant if x.shape[0] > 1 else 0, n * lanes
        inputs, reads = range(input_ptr[variant], input_ptr[variant + 1]), range(read_ptr[variant], read_ptr[variant + 1])
        # Empty slots read a zero after all sources, and add to an extra number after all rows.
        z, total = np.zeros(2 * size + 1, dtype=keep.dtype), np.zeros(size + 1, dtype=keep.dtype)
        p, v, new = z[:size], z[size : 2 * size], total[:size]
        own_keep, own_offset = keep[n0 : n0 + n].repeat(lanes), np.zeros(size, dtype=keep.dtype)
        for i in range(n):
            for k in range(used):
                v[i * lanes + k] = state[n0 + i, b0 + k]
                own_offset[i * lanes + k] = offset[n0 + i]
        for t in range(steps):
            if kept.shape[1] > 0:
                _copy(kept[group, t, n0 * lanes : (n0 + n) * lanes], v)
            _activate(p, v, new, activation, halvings, limit)
            for i in range(size):
                new[i] = own_keep[i] * v[i] + own_offset[i]
            for k in range(used):
                now = x[which, b0 + k, t]
                for e in inputs:
                    new[input_node[e] * lanes + k] += input_weight[e] * now[input_feature[e]]
            if lanes == 1:
                _sum_rows(total, z, variant, rows, weight)
            else:
                arriving, sent = new.reshape(n, lanes), z[: 2 * size].reshape(2 * n, lanes)
                sum_lanes(arriving, sent, row_ptr[n0 : n0 + n + 1], source, weight)
            _copy(v, new)
            for k in range(used):
                for r in reads:
                    y[r, t, b0 + k] = v[read_node[r] * lanes + k]
        for i in range(n):
            for k in range(used):
                state[n0 + i, b0 + k] = v[i * lanes + k]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _collect(block, column, steps, values, place, lanes):
    """Put one step's numbers into ``lanes`` columns of a block in which a row holds many steps; with one lane, ``WIDTH`` steps are first
    gathered in ``steps``."""
    n, flat = values.size // lanes, block.reshape(-1)
    if lanes == 1:
        _copy(steps[place, :n], values)
        if place == 0:
            ordered = steps.reshape(-1)
            for i in range(0, steps.shape[1], WIDTH):
                transpose(flat, i * BLOCK + column, BLOCK, ordered, i, steps.shape[1])
    else:
        for i in range(n):
            row = block[i, column : column + LANES]
            for k in range(LANES):
                row[k] = values[i * LANES + k]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def backward(first, last, lanes, activation, halvings, limit, graph, rows, numbers, x, kept, grad_y, grad_state, grads):
    """Walk pairs backward from the last step; arguments as in :func:`forward`, but edges and weights by source.

    ``grad_state (N, B)`` is the gradient of the final state, overwritten by that of the initial one. ``grads`` are those of ``keep``,
    ``weight`` (always by source), ``input_weight`` and ``offset``, one row per group of sequences, and of ``x``, ``(V or 0, B, T, F)``.
    """
    node_ptr, column_ptr, target, input_ptr, input_node, input_feature, read_ptr, read_node = graph
    keep, weight, input_weight = numbers
    grad_keep, grad_weight, grad_input, grad_offset, grad_x = grads
    sequences, steps, features = x.shape[1], x.shape[2], x.shape[3]
    groups, kind = (sequences + lanes - 1) // lanes, keep.dtype
    for pair in range(first, last):
        variant, group = pair // groups, pair % groups
        b0 = group * lanes
        used = min(lanes, sequences - b0)
        n0, n = node_ptr[variant], node_ptr[variant + 1] - node_ptr[variant]
        which, size, padded = variant if x.shape[0] > 1 else 0, n * lanes, (n + WIDTH - 1) // WIDTH * WIDTH
        inputs, reads = range(input_ptr[variant], input_ptr[variant + 1]), range(read_ptr[variant], read_ptr[variant + 1])
        columns, own_keep = column_ptr[2 * n0 : 2 * (n0 + n) + 1], keep[n0 : n0 + n].repeat(lanes)
        z, back, pull = np.zeros(2 * size, dtype=kind), np.zeros(2 * size + 1, dtype=kind), np.zeros(size + 1, dtype=kind)
        p, v, pulled, scratch = z[:size], z[size:], pull[:size], np.zeros(size, dtype=kind)
        of_keep, of_offset = np.zeros(size, dtype=kind), np.zeros(size, dtype=kind)
        # Voltages are sent only along gap junctions.
        sources = 2 if columns[2 * n] > columns[n] else 1
        pulls, entered = np.zeros((padded, BLOCK), dtype=kind), np.zeros((features, BLOCK), dtype=kind)
        sent, waiting = np.zeros((sources, padded, BLOCK), dtype=kind), np.zeros((1 + sources, WIDTH, padded), dtype=kind)
        flat_pulls, flat_sent, flat_entered = pulls.reshape(-1), sent.reshape(-1), entered.reshape(-1)
        for i in range(n):
            for k in range(used):
                pull[i * lanes + k] = grad_state[n0 + i, b0 + k]
        for t in range(steps - 1, -1, -1):
            for k in range(used):
                for r in reads:
                    pull[read_node[r] * lanes + k] += grad_y[r, t, b0 + k]
            _copy(v, kept[group, t, n0 * lanes : (n0 + n) * lanes])
            _activate(p, v, scratch, activation, halvings, limit)
            if grad_x.shape[0] > 0:
                for k in range(used):
                    for e in inputs:
                        grad_x[variant, b0 + k, t, input_feature[e]] += input_weight[e] * pull[input_node[e] * lanes + k]
            for i in range(size):
                of_keep[i] += pulled[i] * v[i]
                of_offset[i] += pulled[i]
            # The first block may be short: the rest of it is zeros.
            column, place = t * lanes % BLOCK // WIDTH * WIDTH, t % WIDTH
            _collect(pulls, column, waiting[0], pulled, place, lanes)
            _collect(sent[0], column, waiting[1], p, place, lanes)
            if sources == 2:
                _collect(sent[1], column, waiting[2], v, place, lanes)
            for f in range(features):
                for k in range(used):
                    entered[f, t * lanes % BLOCK + k] = x[which, b0 + k, t, f]
            if t * lanes % BLOCK == 0:
                for j in range(sources * n):
                    row = j if j < n else padded + j - n
                    add_dots(grad_weight[group], flat_pulls, target, columns[j], columns[j + 1], flat_sent, row)
                for e in inputs:
                    add_dots(grad_input[group], flat_pulls, input_node, e, e + 1, flat_entered, input_feature[e])
            back[:] = 0
            if lanes == 1:
                _sum_rows(back, pull, variant, rows, weight)
            else:
                sum_lanes(back[: 2 * size].reshape(2 * n, lanes), pulled.reshape(n, lanes), columns, target, weight)
            _times_slope(back[:size], p, activation)
            for i in range(size):
                pulled[i] = own_keep[i] * pulled[i] + back[i] + back[size + i]
        for i in range(n):
            for k in range(used):
                grad_state[n0 + i, b0 + k] = pull[i * lanes + k]
                grad_keep[group, n0 + i] += of_keep[i * lanes + k]
                grad_offset[group, n0 + i] += of_offset[i * lanes + k]
