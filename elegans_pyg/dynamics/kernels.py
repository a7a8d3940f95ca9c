"""Numba kernel of executor ``fused``: one call takes some stimuli through all steps.

The equations are those of :mod:`elegans_pyg.dynamics.integrate`. Arrays are flat, neuron after neuron with the kernel's stimuli
innermost, so that every loop is one long run: over all neurons and stimuli where neurons do not meet, over the stimuli where they do.
Exponentials are polynomials there (float32), because no library that vectorises them can be counted on.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from elegans_pyg._compiled import REASSOCIATION, compiled


def _bits_as_float32(typing_context, bits):
    """The number whose bits these are."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


_as_float32: Any = intrinsic(_bits_as_float32)


def _exp(x):
    return math.exp(x)


@overload(_exp, inline="always")
def _exp_of(x):
    """``e^x`` for ``|x| <= 80``: 2 to the nearest whole power times a polynomial, to within 2e-7, in float32; the library's in float64."""
    if x != types.float32:
        return lambda x: math.exp(x)
    # ln 2 in two parts, so that the difference from the whole power is exact; Taylor coefficients of e^r for |r| <= ln 2 / 2.
    log2e, high, low = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
    c2, c3, c4, c5, c6 = (np.float32(1 / math.factorial(k)) for k in range(2, 7))
    one, bias = np.float32(1), np.int32(127)

    def exp(x):
        whole = np.floor(x * log2e + np.float32(0.5))
        r = x - whole * high
        r = r - whole * low
        p = one + r * (one + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * c6)))))
        return p * _as_float32((np.int32(whole) + bias) << np.int32(23))

    return exp


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_products(total, values, rows, number, width):
    """``total[i] += sum of weight[k] * values[source[k]]`` over the edges ``k`` of row ``i``, for ``width`` stimuli each."""
    ptr, source, weight = rows
    for i in range(number):
        row = total[i * width : (i + 1) * width]
        k, end = ptr[i], ptr[i + 1]
        while k + 4 <= end:
            w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            s0 = values[source[k] * width : source[k] * width + width]
            s1 = values[source[k + 1] * width : source[k + 1] * width + width]
            s2 = values[source[k + 2] * width : source[k + 2] * width + width]
            s3 = values[source[k + 3] * width : source[k + 3] * width + width]
            for b in range(width):
                row[b] += (w0 * s0[b] + w1 * s1[b]) + (w2 * s2[b] + w3 * s3[b])
            k += 4
        while k < end:
            w0 = weight[k]
            s0 = values[source[k] * width : source[k] * width + width]
            for b in range(width):
                row[b] += w0 * s0[b]
            k += 1


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _relax_gate(gate, voltage, midpoint, inverse_scale, kept, steepest, one):
    """A gate of fixed time constant: ``kept`` of its distance from the steady state is left."""
    for m in range(gate.size):
        x = min(max((midpoint - voltage[m]) * inverse_scale, -steepest), steepest)
        target = one / (one + _exp(x))
        gate[m] = target + (gate[m] - target) * kept


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _relax_activation(activation, voltage, threshold, inverse_delta, rise, decay, graded, span, steepest, one, half):
    """Synaptic activations; ``rise`` is graded synapses' ``k``."""
    if graded:
        scaled = rise * span
        for m in range(activation.size):
            growth = _exp(min(max((voltage[m] - threshold[m]) * inverse_delta, -steepest), steepest))
            target = growth / (one + growth)
            z = scaled * (one + growth)
            activation[m] = target + (activation[m] - target) / (one + z + z * z * half)
    else:
        for m in range(activation.size):
            growth = _exp(min(max((voltage[m] - threshold[m]) * inverse_delta, -steepest), steepest))
            opening = rise * growth / (one + growth)
            rate = opening + decay
            target = opening / rate
            z = rate * span
            activation[m] = target + (activation[m] - target) / (one + z + z * z * half)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _block_calcium(block, calcium, alpha, half_block, inverse_scale, steepest, one):
    """What calcium leaves of its own channel."""
    for m in range(block.size):
        x = min(max((calcium[m] - half_block) * inverse_scale, -steepest), steepest)
        block[m] = one - alpha / (one + _exp(x))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _relax_calcium(calcium, voltage, conductance, opening, reversal, resting, gain, kept):
    for m in range(calcium.size):
        target = resting - gain * (conductance[m] * opening[m] * (voltage[m] - reversal))
        calcium[m] = max(target + (calcium[m] - target) * kept, resting * 0)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _move_voltage(voltage, total, drive, gap, gap_before, scale, one, half):
    """One step of the potentials under ``total`` conductance and ``drive`` (conductance times reversal potential, and currents)."""
    three_halves = one + half
    for m in range(voltage.size):
        source = drive[m] + three_halves * gap[m] - half * gap_before[m]
        z = total[m] * scale[m]
        old = voltage[m]
        voltage[m] = old + (source - total[m] * old) * scale[m] * (one + z * half) / (one + z + z * z * half)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_channels(total, drive, gates, opening, block, channel, reversal):
    """Add the channels' conductances; ``opening`` becomes e^2 f."""
    n, p, q, e, f = gates[0], gates[1], gates[2], gates[3], gates[4]
    slow, fast, ca = channel[0], channel[1], channel[2]
    e_slow, e_fast, e_ca = reversal[0], reversal[1], reversal[2]
    for m in range(total.size):
        square = p[m] * p[m]
        g_slow = slow[m] * n[m]
        g_fast = fast[m] * (square * square * q[m])
        opened = e[m] * e[m] * f[m]
        g_ca = ca[m] * (opened * block[m])
        opening[m] = opened
        total[m] += g_slow + g_fast + g_ca
        drive[m] += g_slow * e_slow + g_fast * e_fast + g_ca * e_ca


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _mean_opening(opening, gates, block, block_before, one, half):
    """``opening`` becomes the calcium channel's open share at the whole step between two half ones."""
    e, f = gates[3], gates[4]
    three_halves = one + half
    for m in range(opening.size):
        opening[m] = half * (opening[m] + e[m] * e[m] * f[m]) * (three_halves * block[m] - half * block_before[m])


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def integrate_stimuli(
    first, last, dt, has_channels, graded, steepest, synapses, drives, gaps, neurons, channels, start, inputs, record, current, result
):
    """Take stimuli ``first <= s < last`` from the state ``start`` through all steps, and write ``result (S, T, R)``.

    ``synapses``, ``drives`` and ``gaps`` are edges by target: where each row starts, sources, weights; the weights of ``drives`` are
    conductance times reversal potential. ``neurons``: ``(4, N)``, 1 / capacitance, constant conductance, its drive, synaptic threshold;
    and the synapses' rise, decay, 1 / delta. ``channels``: conductance ``(3, N)``; reversal potential ``(3,)``; midpoint, 1 / scale and
    time constant of the gates ``(5, 3)``; calcium's time constant, resting value, gain (pM a pA at steady state), alpha, half, 1 / scale.
    """
    constants, synapse_constants = neurons
    channel_constants, channel_reversal, gate_constants, calcium_constants = channels
    voltage_0, activation_0, gates_0, calcium_0 = start
    width = last - first
    number = constants.shape[1]
    size = number * width
    kind = constants.dtype
    one, half = kind.type(1), kind.type(0.5)
    steps = current.shape[1]

    scale, held = np.repeat(constants[0] * dt, width), np.repeat(constants[1], width)
    held_drive, threshold = np.repeat(constants[2], width), np.repeat(constants[3], width)
    total, drive, gap, gap_before = np.empty(size, kind), np.empty(size, kind), np.empty(size, kind), np.zeros(size, kind)
    active = size if has_channels else 0
    opening, block, block_before = np.empty(active, kind), np.empty(active, kind), np.empty(active, kind)
    channel = np.repeat(channel_constants, width).reshape(3, size)
    voltage = np.ascontiguousarray(voltage_0[first:last].T).reshape(size)
    activation = np.ascontiguousarray(activation_0[first:last].T).reshape(size)
    calcium = np.ascontiguousarray(calcium_0[first:last].T).reshape(active)
    gates = np.ascontiguousarray(gates_0[first:last].transpose(1, 2, 0)).reshape(5, active)

    rise, decay, inverse_delta = synapse_constants[0], synapse_constants[1], synapse_constants[2]
    ca_tau, resting, gain = calcium_constants[0], calcium_constants[1], calcium_constants[2]
    alpha, half_block, inverse_block = calcium_constants[3], calcium_constants[4], calcium_constants[5]
    kept_ca = kind.type(math.exp(-dt / ca_tau))
    kept = np.empty(5, kind)
    for g in range(5):
        kept[g] = math.exp(-dt / gate_constants[g, 2])

    # Half a step for all but the voltages.
    _add_products(gap_before, voltage, gaps, number, width)
    if has_channels:
        _block_calcium(block_before, calcium, alpha, half_block, inverse_block, steepest, one)
        for m in range(size):
            opening[m] = gates[3, m] * gates[3, m] * gates[4, m] * block_before[m]
        kept_half = kind.type(math.exp(-dt / (2 * ca_tau)))
        _relax_calcium(calcium, voltage, channel[2], opening, channel_reversal[2], resting, gain, kept_half)
        for g in range(5):
            kept_half = kind.type(math.exp(-dt / (2 * gate_constants[g, 2])))
            _relax_gate(gates[g], voltage, gate_constants[g, 0], gate_constants[g, 1], kept_half, steepest, one)
    _relax_activation(activation, voltage, threshold, inverse_delta, rise, decay, graded, dt * half, steepest, one, half)

    for step in range(steps):
        total[:] = held
        drive[:] = held_drive
        gap[:] = 0
        _add_products(total, activation, synapses, number, width)
        _add_products(drive, activation, drives, number, width)
        _add_products(gap, voltage, gaps, number, width)
        for k in range(inputs.size):
            row = inputs[k] * width
            for b in range(width):
                drive[row + b] += current[first + b, step, k]
        if has_channels:
            _block_calcium(block, calcium, alpha, half_block, inverse_block, steepest, one)
            _add_channels(total, drive, gates, opening, block, channel, channel_reversal)
        _move_voltage(voltage, total, drive, gap, gap_before, scale, one, half)
        gap, gap_before = gap_before, gap
        for b in range(width):
            for r in range(record.size):
                result[first + b, step, r] = voltage[record[r] * width + b]
        if has_channels:
            for g in range(5):
                _relax_gate(gates[g], voltage, gate_constants[g, 0], gate_constants[g, 1], kept[g], steepest, one)
            _mean_opening(opening, gates, block, block_before, one, half)
            block, block_before = block_before, block
            _relax_calcium(calcium, voltage, channel[2], opening, channel_reversal[2], resting, gain, kept_ca)
        _relax_activation(activation, voltage, threshold, inverse_delta, rise, decay, graded, dt, steepest, one, half)
