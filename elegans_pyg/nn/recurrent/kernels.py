"""Numba kernels that run recurrent layers through time: each call takes some replicas through all steps, forward or backward.

The sequences are the innermost axis everywhere, so that every inner loop is contiguous for any size of the layer, down to two units. The
numbers of a step, ``v = [x_t, h_{t-1}]`` and the gates, are in a small buffer that stays in the L1 cache; the history holds a copy.
Gradients of the weights are sums over time and sequences. They are computed a block of steps at a time, from copies in which a unit's steps
are contiguous, because one step's sequences alone are too few numbers for a dot product.

In the arguments, ``I`` counts inputs, ``O`` outputs, ``H`` units, ``G`` gates, ``S`` sequences.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg.nn.recurrent.products import LANES, add_products

__all__ = ["LANES", "backward", "forward"]

# Indices into ``scan.CELLS``.
RNN, LSTM, GRU = 0, 1, 2
# Steps whose gradients are collected before they are summed: 16 steps of 32 sequences and 64 gated units fit in an L2 cache.
_BLOCK = 16
_LOG2E = 1.4426950408889634
_POWERS = tuple(math.log(2) ** k / math.factorial(k) for k in range(8))


def _exp(x: Any) -> Any:
    """``exp(x)``: in single precision a form that vectorises, in double precision the library's."""
    raise NotImplementedError


@overload(_exp)
def _exp_of(x: Any) -> Any:
    if x is not types.float32:

        def exp64(x: Any) -> Any:
            return math.exp(x)

        return exp64
    log2e, half, top = np.float32(_LOG2E), np.float32(0.5), np.float32(126)
    p0, p1, p2, p3, p4, p5, p6, p7 = (np.float32(p) for p in _POWERS)

    def exp32(x: Any) -> Any:
        # 2 to the integer part by its bits, and 2 to the rest, at most a half, by its Taylor series.
        y = x * log2e
        y = top if y > top else y
        y = -top if y < -top else y
        whole = np.floor(y + half)
        f = y - whole
        series = p0 + f * (p1 + f * (p2 + f * (p3 + f * (p4 + f * (p5 + f * (p6 + f * p7))))))
        return series * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)

    return exp32


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _sigmoid(a, count):
    one = a.dtype.type(1)
    for i in range(count):
        a[i] = one / (one + _exp(-a[i]))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _tanh(a, count):
    one, two = a.dtype.type(1), a.dtype.type(2)
    for i in range(count):
        a[i] = two / (one + _exp(-two * a[i])) - one


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_outer(grad, a, b, rows, columns, length):
    """``grad[j, k] += sum over i < length of a[j, i] * b[k, i]``."""
    zero = a.dtype.type(0)
    for j in range(0, rows - rows % 2, 2):
        a0, a1 = a[j, :length], a[j + 1, :length]
        k = 0
        while k + 4 <= columns:
            b0, b1, b2, b3 = b[k, :length], b[k + 1, :length], b[k + 2, :length], b[k + 3, :length]
            s00, s01, s02, s03, s10, s11, s12, s13 = zero, zero, zero, zero, zero, zero, zero, zero
            for i in range(length):
                x0, x1 = a0[i], a1[i]
                y0, y1, y2, y3 = b0[i], b1[i], b2[i], b3[i]
                s00 += x0 * y0
                s01 += x0 * y1
                s02 += x0 * y2
                s03 += x0 * y3
                s10 += x1 * y0
                s11 += x1 * y1
                s12 += x1 * y2
                s13 += x1 * y3
            for m, (upper, lower) in enumerate(((s00, s10), (s01, s11), (s02, s12), (s03, s13))):
                grad[j, k + m] += upper
                grad[j + 1, k + m] += lower
            k += 4
        while k < columns:
            b0 = b[k, :length]
            s00, s10 = zero, zero
            for i in range(length):
                s00 += a0[i] * b0[i]
                s10 += a1[i] * b0[i]
            grad[j, k] += s00
            grad[j + 1, k] += s10
            k += 1
    if rows % 2:
        j = rows - 1
        for k in range(columns):
            s00 = zero
            for i in range(length):
                s00 += a[j, i] * b[k, i]
            grad[j, k] += s00


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _copy(to, at, source, start, count):
    # Numba's slice assignment first tests for overlap, and copies number by number.
    t, f = to[at : at + count], source[start : start + count]
    for k in range(count):
        t[k] = f[k]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _spread(to, values, lanes):
    for j in range(len(values)):
        value, row = values[j], to[j * lanes : (j + 1) * lanes]
        for s in range(lanes):
            row[s] = value


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def forward(start, stop, cell, record, x, weight, bias, readout, offset, y, states, cells, gates):
    """Run the replicas ``start <= r < stop`` through all steps.

    Read: ``x (T, I, S)``, ``weight (R, G H, I + H)``, ``bias (R, G H)``, ``readout (R, O, H)``, ``offset (R, O)``. Written: ``y (R, T, O,
    S)`` and, if ``record``, the states before each step ``(R, T, H, S)``, an LSTM's cells after it ``(R, T, H, S)`` and the gates ``(R, T,
    G H, S)``. Gates are stacked as z, r, candidate (GRU) and i, f, o, candidate (LSTM).
    """
    steps, inputs, lanes = x.shape
    outputs, units = readout.shape[1:]
    rows, sources = weight.shape[1:]
    size, plane = units * lanes, inputs * lanes
    one = x.dtype.type(1)
    v, a = np.empty(sources * lanes, x.dtype), np.empty(rows * lanes, x.dtype)
    c, q = np.empty(size, x.dtype), np.empty(sources * lanes, x.dtype)
    for r in range(start, stop):
        w, w_out = weight[r].reshape(-1), readout[r].reshape(-1)
        h = v[plane:]
        h[:] = 0
        c[:] = 0
        for t in range(steps):
            _copy(v, 0, x[t].reshape(-1), 0, plane)
            if record:
                _copy(states[r, t].reshape(-1), 0, v, plane, size)
            _spread(a, bias[r], lanes)
            if cell == GRU:
                z, reset, n = a[:size], a[size : 2 * size], a[2 * size :]
                add_products(a, 0, w, 0, sources, v, 0, 2 * units, sources, lanes)
                _sigmoid(a, 2 * size)
                _copy(q, 0, v, 0, plane)
                for k in range(size):
                    q[plane + k] = reset[k] * h[k]
                add_products(a, 2 * size, w, 2 * units * sources, sources, q, 0, units, sources, lanes)
                _tanh(n, size)
                for k in range(size):
                    h[k] = z[k] * h[k] + (one - z[k]) * n[k]
            else:
                add_products(a, 0, w, 0, sources, v, 0, rows, sources, lanes)
                if cell == LSTM:
                    _sigmoid(a, 3 * size)
                    _tanh(a[3 * size :], size)
                    i, f, o, g = a[:size], a[size : 2 * size], a[2 * size : 3 * size], a[3 * size :]
                    for k in range(size):
                        c[k] = f[k] * c[k] + i[k] * g[k]
                        h[k] = c[k]
                    if record:
                        _copy(cells[r, t].reshape(-1), 0, c, 0, size)
                    _tanh(h, size)
                    for k in range(size):
                        h[k] *= o[k]
                else:
                    _tanh(a, size)
                    _copy(v, plane, a, 0, size)
            if record:
                _copy(gates[r, t].reshape(-1), 0, a, 0, rows * lanes)
            out = y[r, t].reshape(-1)
            _spread(out, offset[r], lanes)
            add_products(out, 0, w_out, 0, units, v, plane, outputs, units, lanes)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _copy_rows(to, at, source, rows, lanes):
    """Copy the first ``lanes`` numbers of each row of ``source``, row after row, to ``to`` from ``at`` on."""
    for j in range(rows):
        row, copy = source[j], to[at + j * lanes : at + (j + 1) * lanes]
        for s in range(lanes):
            copy[s] = row[s]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _collect(block, at, source, rows, lanes):
    """Copy one step's ``rows`` rows into a block in which a row holds many steps."""
    for j in range(rows):
        row = source[j * lanes : (j + 1) * lanes]
        copy = block[j, at : at + lanes]
        for s in range(lanes):
            copy[s] = row[s]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_sums(total, block, rows, length):
    for j in range(rows):
        row, s = block[j, :length], block.dtype.type(0)
        for k in range(length):
            s += row[k]
        total[j] += s


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _back_lstm(da, dh, dc, act, c, before, size):
    """Compute, from the gradients of state and cell, those of the gates and of the previous cell; ``c`` becomes the state."""
    one = da.dtype.type(1)
    i, f, o, g = act[:size], act[size : 2 * size], act[2 * size : 3 * size], act[3 * size :]
    _tanh(c, size)
    for k in range(size):
        dc[k] += dh[k] * o[k] * (one - c[k] * c[k])
        da[2 * size + k] = dh[k] * c[k] * o[k] * (one - o[k])
        da[k] = dc[k] * g[k] * i[k] * (one - i[k])
        da[size + k] = dc[k] * before[k] * f[k] * (one - f[k])
        da[3 * size + k] = dc[k] * i[k] * (one - g[k] * g[k])
        dc[k] *= f[k]
        c[k] *= o[k]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def backward(start, stop, cell, x, weight, readout, states, cells, gates, grad_y, grad_weight, grad_bias, grad_readout, grad_offset):
    """Add the gradients of the weights, given ``grad_y (R, T, O, B)`` of the first ``B <= S`` sequences; the others have none.

    The history recorded by :func:`forward` is not changed; ``grad_weight`` and the others have the shapes of their parameters.
    """
    steps, inputs, _ = x.shape
    outputs, units = readout.shape[1:]
    lanes = grad_y.shape[3]
    rows, sources = weight.shape[1:]
    size, plane = units * lanes, inputs * lanes
    one = x.dtype.type(1)
    act, da = np.empty(rows * lanes, x.dtype), np.empty(rows * lanes, x.dtype)
    v, q = np.empty(sources * lanes, x.dtype), np.empty(sources * lanes, x.dtype)
    dh, dc, dq = np.empty(size, x.dtype), np.empty(size, x.dtype), np.empty(size, x.dtype)
    after, before = np.empty(size, x.dtype), np.empty(size, x.dtype)
    length = _BLOCK * lanes
    block_v, block_q = np.empty((sources, length), x.dtype), np.empty((sources if cell == GRU else 0, length), x.dtype)
    block_a, block_h = np.empty((rows, length), x.dtype), np.empty((units, length), x.dtype)
    block_y = np.empty((outputs, length), x.dtype)
    h = v[plane:]
    for r in range(start, stop):
        turned, turned_readout = weight[r, :, inputs:].T.copy().reshape(-1), readout[r].T.copy().reshape(-1)
        dh[:] = 0
        dc[:] = 0
        filled = 0
        for t in range(steps - 1, -1, -1):
            at = filled * lanes
            _copy_rows(v, 0, x[t], inputs, lanes)
            _copy_rows(v, plane, states[r, t], units, lanes)
            _copy_rows(act, 0, gates[r, t], rows, lanes)
            dy = grad_y[r, t].reshape(-1)
            add_products(dh, 0, turned_readout, 0, outputs, dy, 0, units, outputs, lanes)
            if cell == GRU:
                z, reset, n = act[:size], act[size : 2 * size], act[2 * size :]
                for k in range(size):
                    da[2 * size + k] = dh[k] * (one - z[k]) * (one - n[k] * n[k])
                    da[k] = dh[k] * (h[k] - n[k]) * z[k] * (one - z[k])
                    after[k] = z[k] * h[k] + (one - z[k]) * n[k]
                    dh[k] *= z[k]
                    dq[k] = 0
                # The candidate comes first, because it reads the state after the reset gate.
                add_products(dq, 0, turned, 2 * units, rows, da, 2 * size, units, units, lanes)
                _copy(q, 0, v, 0, plane)
                for k in range(size):
                    da[size + k] = dq[k] * h[k] * reset[k] * (one - reset[k])
                    q[plane + k] = reset[k] * h[k]
                    dh[k] += dq[k] * reset[k]
                add_products(dh, 0, turned, 0, rows, da, 0, units, 2 * units, lanes)
                _collect(block_q, at, q, sources, lanes)
            else:
                if cell == LSTM:
                    _copy_rows(after, 0, cells[r, t], units, lanes)
                    if t > 0:
                        _copy_rows(before, 0, cells[r, t - 1], units, lanes)
                    else:
                        before[:] = 0
                    _back_lstm(da, dh, dc, act, after, before, size)
                else:
                    _copy(after, 0, act, 0, size)
                    for k in range(size):
                        da[k] = dh[k] * (one - act[k] * act[k])
                for k in range(size):
                    dh[k] = 0
                add_products(dh, 0, turned, 0, rows, da, 0, units, rows, lanes)
            _collect(block_v, at, v, sources, lanes)
            _collect(block_a, at, da, rows, lanes)
            _collect(block_h, at, after, units, lanes)
            _collect(block_y, at, dy, outputs, lanes)
            filled += 1
            if filled == _BLOCK or t == 0:
                used = filled * lanes
                if cell == GRU:
                    _add_outer(grad_weight[r], block_a, block_v, 2 * units, sources, used)
                    _add_outer(grad_weight[r, 2 * units :], block_a[2 * units :], block_q, units, sources, used)
                else:
                    _add_outer(grad_weight[r], block_a, block_v, rows, sources, used)
                _add_outer(grad_readout[r], block_y, block_h, outputs, units, used)
                _add_sums(grad_bias[r], block_a, rows, used)
                _add_sums(grad_offset[r], block_y, outputs, used)
                filled = 0
