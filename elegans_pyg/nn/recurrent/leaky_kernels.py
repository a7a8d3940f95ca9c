"""Numba kernels of leaky units on wirings: each call takes some (variant, group of sequences) pairs through all steps, forward or backward.

Up to ``LANES`` sequences of a variant share a walk, so that each synapse is read once for all of them. Gradients of weights are sums over
time: what arrives and what was sent are collected over a block of steps, and each synapse then takes one product of two contiguous rows,
in place of two reads from scattered places at every step.
"""

import numpy as np

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg.nn.reservoir.kernels import LANES, sum_lanes, sum_one, tanh_into

__all__ = ["LANES", "backward", "forward"]

# The numbers of the functions in ``leaky.ACTIVATIONS``.
TANH, SIGMOID, RELU = 0, 1, 2
# Steps times lanes that are collected before gradients of weights are summed.
_WIDTH = 64


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _activate(out, v, scratch, activation, halvings, limit):
    """Activities of all voltages."""
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
    """``total *= phi'``, from the activities."""
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
def forward(first, last, lanes, activation, halvings, limit, graph, numbers, x, state, kept, y):
    """Walk pairs ``first`` to ``last``; groups of one variant stand side by side.

    Args:
        lanes: 1 or ``LANES``.
        activation, halvings, limit: the number of the function, and those of ``tanh_into`` for this precision.
        graph, numbers: tables of :class:`~elegans_pyg.nn.recurrent.leaky.LeakyWalk`, nodes counted inside the variant; weights by target.
        x ``(V or 1, B, T, F)``, state ``(N, B)`` (the first one, in which the last one is left), kept ``(T or 0, N, B)`` (voltages before
            each step), y ``(T, R, B)``.
    """
    node_ptr, row_ptr, source, input_ptr, input_node, input_feature, read_ptr, read_node = graph
    keep, weight, input_weight, offset = numbers
    sequences, steps = x.shape[1], x.shape[2]
    groups = (sequences + lanes - 1) // lanes
    for pair in range(first, last):
        variant, b0 = pair // groups, pair % groups * lanes
        used = min(lanes, sequences - b0)
        n0, n = node_ptr[variant], node_ptr[variant + 1] - node_ptr[variant]
        which = variant if x.shape[0] > 1 else 0
        z = np.zeros((2 * n, lanes), dtype=keep.dtype)
        v, total = z[n:], np.zeros((n, lanes), dtype=keep.dtype)
        flat_z, flat_total = z.reshape(-1), total.reshape(-1)
        flat_p, flat_v = flat_z[: n * lanes], flat_z[n * lanes :]
        rows = row_ptr[n0 : n0 + n + 1]
        flat_keep, flat_offset = keep[n0 : n0 + n].repeat(lanes), offset[n0 : n0 + n].repeat(lanes)
        for i in range(n):
            for k in range(used):
                v[i, k] = state[n0 + i, b0 + k]
        for t in range(steps):
            if kept.shape[0] > 0:
                for i in range(n):
                    for k in range(used):
                        kept[t, n0 + i, b0 + k] = v[i, k]
            _activate(flat_p, flat_v, flat_total, activation, halvings, limit)
            for i in range(flat_v.size):
                flat_total[i] = flat_keep[i] * flat_v[i] + flat_offset[i]
            for e in range(input_ptr[variant], input_ptr[variant + 1]):
                for k in range(used):
                    total[input_node[e], k] += input_weight[e] * x[which, b0 + k, t, input_feature[e]]
            if lanes == 1:
                sum_one(flat_total, flat_z, rows, source, weight)
            else:
                sum_lanes(total, z, rows, source, weight)
            for i in range(flat_v.size):
                flat_v[i] = flat_total[i]
            for r in range(read_ptr[variant], read_ptr[variant + 1]):
                for k in range(used):
                    y[t, r, b0 + k] = v[read_node[r], k]
        for i in range(n):
            for k in range(used):
                state[n0 + i, b0 + k] = v[i, k]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _dot(a, b):
    """A product of two rows. Their length is not a constant on purpose: a loop that is written out whole takes one number at a time."""
    total = a.dtype.type(0)
    for m in range(a.size):
        total += a[m] * b[m]
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_gradients(pulls, sent, entered, n0, columns, target, inputs, input_node, input_feature, grads):
    """Add what a block of steps gives to the gradients of one variant's parameters, and empty the block."""
    grad_keep, grad_weight, grad_input, grad_offset = grads
    n = pulls.shape[0]
    for j in range(2 * n):
        row = sent[j]
        for e in range(np.uint32(columns[j]), np.uint32(columns[j + 1])):
            grad_weight[e] += _dot(pulls[target[e]], row)
    for i in range(n):
        grad_keep[n0 + i] += _dot(pulls[i], sent[n + i])
        grad_offset[n0 + i] += pulls[i].sum()
    for e in range(inputs[0], inputs[1]):
        grad_input[e] += _dot(pulls[input_node[e]], entered[input_feature[e]])
    pulls[:] = 0
    sent[:] = 0
    entered[:] = 0


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def backward(first, last, lanes, activation, halvings, limit, graph, numbers, x, kept, grad_y, grad_state, grads):
    """Walk pairs back from the last step; arguments as in :func:`forward`, but edges and weights by source.

    ``grad_state (N, B)`` is the gradient of the last state, in which that of the first one is left. ``grads`` are those of ``keep``,
    ``weight``, ``input_weight`` and ``offset``, one row a group of sequences, and of ``x``, ``(V or 0, B, T, F)``.
    """
    node_ptr, column_ptr, target, input_ptr, input_node, input_feature, read_ptr, read_node = graph
    keep, weight, input_weight = numbers
    grad_keep, grad_weight, grad_input, grad_offset, grad_x = grads
    sequences, steps, features = x.shape[1], x.shape[2], x.shape[3]
    groups = (sequences + lanes - 1) // lanes
    for pair in range(first, last):
        variant, group = pair // groups, pair % groups
        b0 = group * lanes
        used = min(lanes, sequences - b0)
        n0, n = node_ptr[variant], node_ptr[variant + 1] - node_ptr[variant]
        which = variant if x.shape[0] > 1 else 0
        columns, inputs = column_ptr[2 * n0 : 2 * (n0 + n) + 1], input_ptr[variant : variant + 2]
        z, back = np.zeros((2 * n, lanes), dtype=keep.dtype), np.zeros((2 * n, lanes), dtype=keep.dtype)
        pull, scratch = np.zeros((n, lanes), dtype=keep.dtype), np.zeros(n * lanes, dtype=keep.dtype)
        flat_z, flat_back, flat_pull = z.reshape(-1), back.reshape(-1), pull.reshape(-1)
        size, flat_keep = n * lanes, keep[n0 : n0 + n].repeat(lanes)
        pulls, sent = np.zeros((n, _WIDTH), dtype=keep.dtype), np.zeros((2 * n, _WIDTH), dtype=keep.dtype)
        entered = np.zeros((features, _WIDTH), dtype=keep.dtype)
        own = (grad_keep[group], grad_weight[group], grad_input[group], grad_offset[group])
        column = 0
        for i in range(n):
            for k in range(used):
                pull[i, k] = grad_state[n0 + i, b0 + k]
        for t in range(steps - 1, -1, -1):
            for r in range(read_ptr[variant], read_ptr[variant + 1]):
                for k in range(used):
                    pull[read_node[r], k] += grad_y[t, r, b0 + k]
            for i in range(n):
                for k in range(used):
                    z[n + i, k] = kept[t, n0 + i, b0 + k]
            _activate(flat_z[:size], flat_z[size:], scratch, activation, halvings, limit)
            if grad_x.shape[0] > 0:
                for e in range(inputs[0], inputs[1]):
                    for k in range(used):
                        grad_x[variant, b0 + k, t, input_feature[e]] += input_weight[e] * pull[input_node[e], k]
            for i in range(n):
                for k in range(lanes):
                    pulls[i, column + k] = pull[i, k]
                    sent[i, column + k] = z[i, k]
                    sent[n + i, column + k] = z[n + i, k]
            for f in range(features):
                for k in range(used):
                    entered[f, column + k] = x[which, b0 + k, t, f]
            column += lanes
            if column == _WIDTH or t == 0:
                _add_gradients(pulls, sent, entered, n0, columns, target, inputs, input_node, input_feature, own)
                column = 0
            flat_back[:] = 0
            if lanes == 1:
                sum_one(flat_back, flat_pull, columns, target, weight)
            else:
                sum_lanes(back, pull, columns, target, weight)
            _times_slope(flat_back[:size], flat_z[:size], activation)
            for i in range(size):
                flat_pull[i] = flat_keep[i] * flat_pull[i] + flat_back[i] + flat_back[size + i]
        for i in range(n):
            for k in range(used):
                grad_state[n0 + i, b0 + k] = pull[i, k]
