"""Numba kernels of reservoirs: one call walks some (variant, group of sequences) pairs through all time steps.

Variants and sequences are independent, so a walk needs no barrier, and the wiring of one variant stays in the cache from the first step to
the last. Up to ``LANES`` sequences of a variant share a walk: each synapse is then read once for all of them.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from elegans_pyg._compiled import REASSOCIATION, compiled

LANES = 8
Array = npt.NDArray[Any]
_POWERS = tuple(math.log(2) ** k / math.factorial(k) for k in range(8))


# Without reassociation, by which exp(y) - 1 would lose its digits to cancellation.
@compiled(fastmath=REASSOCIATION - {"reassoc"}, error_model="numpy")
def _tanh_by_bits(out: Array, x: Array, limit: float) -> None:
    """``out[i] = tanh(x[i])`` in single precision. For ``y = 2 |x| / ln 2``, ``p = 2**y - 1`` comes from the integer part of ``y`` as a
    power of 2 by its bits and the rest, at most a half, as a short series; ``tanh |x| = p / (p + 2)``."""
    number = out.dtype.type
    for i in range(out.size):
        y = min(abs(x[i]), number(limit)) * number(2 / math.log(2))
        whole = np.floor(y + number(0.5))
        f = y - whole
        p = number(_POWERS[7])
        p = p * f + number(_POWERS[6])
        p = p * f + number(_POWERS[5])
        p = p * f + number(_POWERS[4])
        p = p * f + number(_POWERS[3])
        p = p * f + number(_POWERS[2])
        p = p * f + number(_POWERS[1])
        power = number(np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32))
        p = power * (p * f) + (power - number(1))
        t = p / (p + number(2))
        # A comparison with NaN is false, so NaN propagates.
        out[i] = -t if x[i] < number(0) else t


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def tanh_into(out: Array, x: Array, halvings: int, limit: float) -> None:
    """``out[i] = tanh(x[i])``, vectorised, where the C library's function would be called once per number.

    ``p = exp(y) - 1`` for ``y = 2 |x| / 2**halvings`` is a short series; ``p <- p (p + 2)`` doubles ``y`` and keeps small values accurate
    to the last bits; ``tanh |x| = p / (p + 2)``. Beyond ``limit`` it rounds to 1. With 0 halvings, for single precision, see
    :func:`_tanh_by_bits`.
    """
    if halvings == 0:
        _tanh_by_bits(out, x, limit)
        return
    number = out.dtype.type
    scale = number(2.0 / 2.0**halvings)
    for i in range(out.size):
        y = min(abs(x[i]), number(limit)) * scale
        p = number(1 / 3628800)
        p = p * y + number(1 / 362880)
        p = p * y + number(1 / 40320)
        p = p * y + number(1 / 5040)
        p = p * y + number(1 / 720)
        p = p * y + number(1 / 120)
        p = p * y + number(1 / 24)
        p = p * y + number(1 / 6)
        p = p * y + number(1 / 2)
        p = p * y * y + y
        out[i] = p
    for _ in range(halvings):
        for i in range(out.size):
            out[i] = out[i] * (out[i] + number(2))
    for i in range(out.size):
        t = out[i] / (out[i] + number(2))
        # A comparison with NaN is false, so NaN propagates.
        out[i] = -t if x[i] < number(0) else t


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def sum_one(z: Array, state: Array, row_ptr: Array, source: Array, weight: Array) -> None:
    """``z[row] += sum of weight * state`` over the row's synapses, for a single sequence."""
    for row in range(z.size):
        total = z.dtype.type(0)
        for e in range(np.uint32(row_ptr[row]), np.uint32(row_ptr[row + 1])):
            total += weight[e] * state[source[e]]
        z[row] += total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def sum_lanes(z: Array, state: Array, row_ptr: Array, source: Array, weight: Array) -> None:
    """The same for ``LANES`` sequences side by side, four synapses at a time."""
    one, two, three, four = np.uint32(1), np.uint32(2), np.uint32(3), np.uint32(4)
    for row in range(z.shape[0]):
        acc = z[row]
        e, last = np.uint32(row_ptr[row]), np.uint32(row_ptr[row + 1])
        while e + four <= last:
            w0, w1, w2, w3 = weight[e], weight[e + one], weight[e + two], weight[e + three]
            s0, s1, s2, s3 = state[source[e]], state[source[e + one]], state[source[e + two]], state[source[e + three]]
            for k in range(LANES):
                acc[k] += (w0 * s0[k] + w1 * s1[k]) + (w2 * s2[k] + w3 * s3[k])
            e += four
        while e < last:
            w0, s0 = weight[e], state[source[e]]
            for k in range(LANES):
                acc[k] += w0 * s0[k]
            e += one


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def walk_reservoirs(
    first: int, last: int, lanes: int, halvings: int, limit: float, weights: Any, inputs: Array, state: Array, out: Array
) -> None:
    """Walk pairs ``first`` to ``last``; a pair is a variant and a group of ``lanes`` sequences, and the groups of one variant are
    consecutive.

    Args:
        lanes: 1 or ``LANES``.
        halvings, limit: arguments of :func:`tanh_into` for this precision.
        weights: :class:`~elegans_pyg.nn.reservoir.walk.ReservoirWeights` as a tuple of arrays, but the nodes ``source``, ``input_node`` and
            ``readout_node`` are numbered inside the variant, and uint32: signed indices would be tested for being negative.
        inputs ``(V or 1, B, T, F)``, state ``(B, N)`` (initial, overwritten by the final one), out ``(V, B, T, R)``.
    """
    node_ptr, row_ptr, source, weight, input_ptr, input_node, input_weight, bias, leak, readout_node = weights
    sequences, steps, features = inputs.shape[1], inputs.shape[2], inputs.shape[3]
    groups = (sequences + lanes - 1) // lanes
    reads = readout_node.shape[1]
    one = weight.dtype.type(1)
    for pair in range(first, last):
        v, b0 = pair // groups, pair % groups * lanes
        used = min(lanes, sequences - b0)
        n0, rows = node_ptr[v], node_ptr[v + 1] - node_ptr[v]
        which = v if inputs.shape[0] > 1 else 0
        a = leak[v]
        s = np.zeros((rows, lanes), dtype=weight.dtype)
        z = np.empty((rows, lanes), dtype=weight.dtype)
        y = np.empty((rows, lanes), dtype=weight.dtype)
        start = np.empty((rows, lanes), dtype=weight.dtype)
        flat_s, flat_z, flat_y, flat_start = s.reshape(-1), z.reshape(-1), y.reshape(-1), start.reshape(-1)
        my_rows, my_reads = row_ptr[n0 : n0 + rows + 1], readout_node[v]
        for row in range(rows):
            start[row] = bias[n0 + row]
            for k in range(used):
                s[row, k] = state[b0 + k, n0 + row]
        for t in range(steps):
            for i in range(flat_z.size):
                flat_z[i] = flat_start[i]
            for k in range(used):
                for f in range(features):
                    u = inputs[which, b0 + k, t, f]
                    for i in range(input_ptr[v], input_ptr[v + 1]):
                        z[input_node[i], k] += input_weight[i, f] * u
            if lanes == 1:
                sum_one(flat_z, flat_s, my_rows, source, weight)
            else:
                sum_lanes(z, s, my_rows, source, weight)
            tanh_into(flat_y, flat_z, halvings, limit)
            for i in range(flat_s.size):
                flat_s[i] = (one - a) * flat_s[i] + a * flat_y[i]
            for k in range(used):
                read = out[v, b0 + k, t]
                for r in range(reads):
                    read[r] = s[my_reads[r], k]
        for row in range(rows):
            for k in range(used):
                state[b0 + k, n0 + row] = s[row, k]
