"""Numba kernel of backend ``fused``: one call takes some stimuli through all steps.

The equations are those of :mod:`elegans_pyg.dynamics.integrate`. Arrays are flat, neuron after neuron with the kernel's stimuli
innermost, so that every loop is one long run: over all neurons and stimuli if neurons are independent, over the stimuli if coupled.
In float32 exponentials are polynomials, because a library that vectorises them may not be installed.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from elegans_pyg._compiled import REASSOCIATION, compiled


def _bits_as_float32(typing_context, bits):
    """The float32 with the bits of an int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


_as_float32: Any = intrinsic(_bits_as_float32)


def _exp(x):
    return math.exp(x)


@overload(_exp, inline="always")
def _exp_of(x):
    """``e^x`` for ``|x| <= 80``. In float32: 2 to the nearest whole power times a polynomial, to within 2e-7; in float64: the library's."""
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
def _logistic(x, steepest, one):
    return one / (one + _exp(min(max(-x, -steepest), steepest)))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _synapse(voltage, threshold, constants, graded, span, steepest, one, half):
    """Target of an activation, and the share of the distance that is left after ``span``; ``rise`` of a graded synapse is its ``k``."""
    rise, decay, inverse_delta = constants[0], constants[1], constants[2]
    growth = _exp(min(max((voltage - threshold) * inverse_delta, -steepest), steepest))
    if graded:
        target, z = growth / (one + growth), rise * span * (one + growth)
    else:
        opening = rise * growth / (one + growth)
        target, z = opening / (opening + decay), (opening + decay) * span
    return target, one / (one + z + z * z * half)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def calcium_after(calcium, closed, inflow, pool, span, one, half):
    """Calcium after ``span``, linear about its start; ``closed`` is its logistic function there, ``inflow`` that of an open channel."""
    rate, resting, alpha, inverse_scale = pool[0], pool[1], pool[3], pool[5]
    change = inflow * (one - alpha * closed) - (calcium - resting) * rate
    z = span * (rate - inflow * (alpha * inverse_scale * closed * (one - closed)))
    return max(calcium + change * span * (one + z * half) / (one + z + z * z * half), one - one)


# Loops over few arrays each: LLVM leaves a loop scalar if it would have to check too many arrays for overlap.
@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _close(closed, calcium, pool, steepest, one):
    """The logistic function with which calcium closes its channel, written to ``closed``."""
    half_block, inverse_scale = pool[4], pool[5]
    for m in range(calcium.size):
        closed[m] = _logistic((half_block - calcium[m]) * inverse_scale, steepest, one)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_channel(conductance, drive, share, maximum, reversal):
    for m in range(share.size):
        g = maximum[m] * share[m]
        conductance[m] += g
        drive[m] += g * reversal


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def move(moved, voltage, total, source, work, ahead, neurons, span, constants):
    """All potentials after ``span``, with all else held; the first row of ``work`` becomes the logistic function of calcium."""
    _, calcium, n, p, q, e, f = ahead
    inverse_capacitance, _, slow, fast, ca = neurons
    _, _, _, _, pool, reversal, steepest, one, half = constants
    closed, conductance, drive, share = work
    conductance[:] = total
    drive[:] = source
    if calcium.size:
        _close(closed, calcium, pool, steepest, one)
        _add_channel(conductance, drive, n, slow, reversal[0])
        for m in range(voltage.size):
            share[m] = (p[m] * p[m]) * (p[m] * p[m]) * q[m]
        _add_channel(conductance, drive, share, fast, reversal[1])
        alpha = pool[3]
        for m in range(voltage.size):
            share[m] = e[m] * e[m] * f[m] * (one - alpha * closed[m])
        _add_channel(conductance, drive, share, ca, reversal[2])
    for m in range(voltage.size):
        scale = span * inverse_capacitance[m]
        z = conductance[m] * scale
        moved[m] = voltage[m] + (drive[m] - conductance[m] * voltage[m]) * scale * (one + z * half) / (one + z + z * z * half)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _inflow(inflow, voltage, e, f, ca, pool, reversal):
    gain = pool[2]
    for m in range(e.size):
        inflow[m] = gain * ca[m] * (e[m] * e[m] * f[m]) * (reversal - voltage[m])


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _leave(parts, ahead, voltage, work, neurons, span, kept, constants):
    """Advance from the start of a step of twice ``span`` to its middle; ``kept`` is the share of a gate's distance that is left."""
    _, threshold, _, _, ca = neurons
    graded, synapse, midpoints, inverse_scales, pool, reversal, steepest, one, half = constants
    for m in range(voltage.size):
        target, left = _synapse(voltage[m], threshold[m], synapse, graded, span, steepest, one, half)
        ahead[0][m] = target + (parts[0][m] - target) * left
    calcium, calcium_ahead, closed, inflow = parts[1], ahead[1], work[0], work[3]
    _close(closed, calcium, pool, steepest, one)
    _inflow(inflow, voltage, parts[5], parts[6], ca, pool, reversal[2])
    for m in range(calcium.size):
        calcium_ahead[m] = calcium_after(calcium[m], closed[m], inflow[m], pool, span, one, half)
    for g in range(5):
        gate, gate_ahead, midpoint, inverse_scale, stays = parts[2 + g], ahead[2 + g], midpoints[g], inverse_scales[g], kept[g]
        for m in range(gate.size):
            target = _logistic((voltage[m] - midpoint) * inverse_scale, steepest, one)
            gate_ahead[m] = target + (gate[m] - target) * stays


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _pass(parts, ahead, work, voltage, neurons, span, kept, constants):
    """Advance from the middle of a step to its end, and on to the middle of the next, ``span`` each."""
    _, threshold, _, _, ca = neurons
    graded, synapse, midpoints, inverse_scales, pool, reversal, steepest, one, half = constants
    activation, activation_ahead = parts[0], ahead[0]
    for m in range(voltage.size):
        target, left = _synapse(voltage[m], threshold[m], synapse, graded, span, steepest, one, half)
        there = target + (activation_ahead[m] - target) * left
        activation[m] = there
        activation_ahead[m] = target + (there - target) * left
    for g in range(5):
        gate, gate_ahead, midpoint, inverse_scale, stays = parts[2 + g], ahead[2 + g], midpoints[g], inverse_scales[g], kept[g]
        for m in range(gate.size):
            target = _logistic((voltage[m] - midpoint) * inverse_scale, steepest, one)
            there = target + (gate_ahead[m] - target) * stays
            gate[m] = there
            gate_ahead[m] = target + (there - target) * stays
    calcium, calcium_ahead, closed, inflow = parts[1], ahead[1], work[0], work[3]
    _inflow(inflow, voltage, parts[5], parts[6], ca, pool, reversal[2])
    for m in range(calcium.size):
        calcium[m] = calcium_after(calcium_ahead[m], closed[m], inflow[m], pool, span, one, half)
    _close(closed, calcium, pool, steepest, one)
    for m in range(calcium.size):
        calcium_ahead[m] = calcium_after(calcium[m], closed[m], inflow[m], pool, span, one, half)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def find_fast(places, moved, voltage, limit, width):
    """Count the potentials that move by more than ``limit``, and list them in ``places``; most neurons have none, under any stimulus."""
    count = 0
    for first in range(0, voltage.size, width):
        some = 0
        for m in range(first, first + width):
            some += abs(moved[m] - voltage[m]) > limit
        if some:
            for m in range(first, first + width):
                if abs(moved[m] - voltage[m]) > limit:
                    places[count] = m
                    count += 1
    return count


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def parts_of(room, first, count, active):
    """Activation, calcium and five gates: seven rows of ``room``, the last six empty for neurons without channels."""
    some = count * active
    return (
        room[first][:count],
        room[first + 1][:some],
        room[first + 2][:some],
        room[first + 3][:some],
        room[first + 4][:some],
        room[first + 5][:some],
        room[first + 6][:some],
    )


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _take(some, every, places):
    """Copy the entries of each array of ``every`` at ``places`` to ``some``."""
    for k in range(len(every)):
        own, whole = some[k], every[k]
        for j in range(own.size):
            own[j] = whole[places[j]]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _give(every, some, places):
    """Copy the entries of each array of ``some`` to ``places`` of ``every``: the reverse of :func:`_take`."""
    for k in range(len(every)):
        own, whole = some[k], every[k]
        for j in range(own.size):
            whole[places[j]] = own[j]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _chosen(room, count, active):
    """Potentials, parts, parts ahead, constants and work space of chosen neurons, as views of ``room``."""
    some = count * active
    constants = (room[14][:count], room[15][:count], room[16][:some], room[17][:some], room[18][:some])
    work = (room[19][:count], room[20][:count], room[21][:count], room[22][:count])
    return room[23][:count], parts_of(room, 0, count, active), parts_of(room, 7, count, active), constants, work


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _halves(room, places, flowing, parts, neurons, span, kept, constants):
    """Advance only the neurons at ``places``, by two steps of twice ``span`` with constant input from the others; results are in ``room``.
    ``flowing``: potentials, conductances and drives."""
    count = places.size
    voltage, own, ahead, constant, work = _chosen(room, count, parts[1].size > 0)
    total, source, moved = room[24][:count], room[25][:count], room[26][:count]
    _take(own, parts, places)
    _take(constant, neurons, places)
    _take((voltage, total, source), flowing, places)
    _leave(own, ahead, voltage, work, constant, span, kept, constants)
    move(moved, voltage, total, source, work, ahead, constant, span + span, constants)
    _pass(own, ahead, work, moved, constant, span, kept, constants)
    move(voltage, moved, total, source, work, ahead, constant, span + span, constants)
    _pass(own, ahead, work, voltage, constant, span, kept, constants)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _extrapolate(room, places, voltage, before, parts, ahead, received, span, kept, constants):
    """Remove the error of second order from the result of :func:`_halves`, by that of one step of twice ``span``."""
    graded, synapse, _, _, _, _, steepest, one, half = constants
    fine, own, beyond, constant, work = _chosen(room, places.size, parts[1].size > 0)
    four = (one + one) / half
    third = one / (four - one)
    for j in range(places.size):
        fine[j] = (four * fine[j] - voltage[places[j]]) * third
    for k in range(len(parts)):
        some, whole = own[k], parts[k]
        for j in range(some.size):
            some[j] = (four * some[j] - whole[places[j]]) * third
    for j in range(own[1].size):
        own[1][j] = max(own[1][j], one - one)
    _leave(own, beyond, fine, work, constant, span, kept, constants)
    for j in range(places.size):
        onward = fine[j] + (fine[j] - before[places[j]]) * (half * half)
        target, left = _synapse(onward, constant[1][j], synapse, graded, span, steepest, one, half)
        received[places[j]] = target + (own[0][j] - target) * left
        voltage[places[j]] = fine[j]
    _give(parts, own, places)
    _give(ahead, beyond, places)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def prepare(width, step_of, neurons, channels):
    """Constants of the kernels, each neuron's repeated for ``width`` stimuli; the arguments are those of :func:`integrate_stimuli`."""
    dt, _, _, graded, steepest = step_of
    constants_of, synapse = neurons
    channel_of, reversal, gate_constants, pool = channels
    kind = constants_of.dtype
    one, half = kind.type(1), kind.type(0.5)
    # Tuples of numbers, since LLVM has to assume that writing to an array in a loop changes what is read from another.
    synapse_of = (synapse[0], synapse[1], synapse[2])
    pool_of, reversal_of = (pool[0], pool[1], pool[2], pool[3], pool[4], pool[5]), (reversal[0], reversal[1], reversal[2])
    constants = (graded, synapse_of, gate_constants[0], gate_constants[1], pool_of, reversal_of, steepest, one, half)
    spans, kept = np.empty(2, kind), np.empty((2, 5), kind)
    spans[0], spans[1] = dt * half, dt * half * half
    for k in range(2):
        for g in range(5):
            kept[k, g] = math.exp(-spans[k] / gate_constants[2, g])
    channel = np.repeat(channel_of.reshape(-1), width).reshape(3, channel_of.shape[1] * width)
    own = (np.repeat(constants_of[0], width), np.repeat(constants_of[3], width), channel[0], channel[1], channel[2])
    return constants, spans, kept, own, (np.repeat(constants_of[1], width), np.repeat(constants_of[2], width))


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def add_inputs(total, source, gap, rows, first, step, held, edges, inputs, current):
    """Conductances and their drive at the middle of a step, and the flow through gap junctions at its start, from the state ``rows``."""
    synapses, drives, gaps = edges
    number = synapses[0].size - 1
    width = total.size // number
    total[:] = held[0]
    source[:] = held[1]
    gap[:] = 0
    _add_products(total, rows[15], synapses, number, width)
    _add_products(source, rows[15], drives, number, width)
    _add_products(gap, rows[14], gaps, number, width)
    one, half = total.dtype.type(1), total.dtype.type(0.5)
    before = rows[16]
    for m in range(total.size):
        source[m] += (one + half) * gap[m] - half * before[m]
    for k in range(inputs.size):
        row = inputs[k] * width
        for b in range(width):
            source[row + b] += current[first + b, step, k]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def take_stimuli(rows, states, first, last):
    """Copy the entries of some stimuli of ``states (17, N, S)`` to ``rows (17, N width)``, stimuli innermost."""
    width = last - first
    for k in range(17):
        for i in range(states.shape[1]):
            for b in range(width):
                rows[k, i * width + b] = states[k, i, first + b]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def give_stimuli(states, rows, first, last):
    """The reverse of :func:`take_stimuli`."""
    width = last - first
    for k in range(17):
        for i in range(states.shape[1]):
            for b in range(width):
                states[k, i, first + b] = rows[k, i * width + b]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def integrate_stimuli(
    first, last, step_of, edges, neurons, channels, inputs, current, states, since, until, record, kept_states, every, result
):
    """Take stimuli ``first <= s < last`` through the steps ``since <= step < until``: change ``states``, and write to ``result (S, T, R)``.

    ``step_of``: length ``dt`` of a step, number ``repeats`` of steps through which each of the ``T`` currents flows, ``limit`` beyond
    which a neuron whose potential moves in one step also takes it in two halves, whether synapses are graded, and the steepest exponent.
    ``edges``: synapses, drives and gap junctions by target, each as start of each row, sources, weights; the weights of drives are
    conductance times reversal potential. ``neurons``: ``(4, N)``, 1 / capacitance, constant conductance, its drive, synaptic threshold; and
    the synapses' rise, decay, 1 / delta. ``channels``: conductance ``(3, N)``, or ``(3, 0)`` for none; reversal potential ``(3,)``;
    midpoint, 1 / scale and time constant of the gates ``(3, 5)``; calcium's decay rate, resting value, gain (pM per pA ms), alpha, half,
    1 / scale. ``states (17, N, S)``: activation, calcium and gates at the start of a step, these half a step later, potentials, the
    activation that other neurons receive, and the flow through gap junctions one step before. The states before each ``every``-th step are
    kept in ``kept_states (K, 17, N, S)``; 0: none.
    """
    width = last - first
    if not width:
        return
    dt, repeats, limit, _, _ = step_of
    constants, spans, kept, own, held = prepare(width, step_of, neurons, channels)
    size, kind, active = states.shape[1] * width, states.dtype, own[2].size > 0
    rows, flow, work_rows = np.empty((17, size), kind), np.empty((5, size), kind), np.empty((4, size), kind)
    take_stimuli(rows, states, first, last)
    parts, ahead = parts_of(rows, 0, size, active), parts_of(rows, 7, size, active)
    voltage, received = rows[14], rows[15]
    room, places = np.empty((27, size), kind), np.empty(size, np.int64)
    work = (work_rows[0], work_rows[1], work_rows[2], work_rows[3])
    moved, before, total, source, gap = flow[0], flow[1], flow[2], flow[3], flow[4]
    for step in range(since, until):
        if every and (step - since) % every == 0:
            give_stimuli(kept_states[(step - since) // every], rows, first, last)
        add_inputs(total, source, gap, rows, first, step // repeats, held, edges, inputs, current)
        rows[16] = gap
        move(moved, voltage, total, source, work, ahead, own, dt, constants)
        count = find_fast(places, moved, voltage, limit, width)
        if count:
            _halves(room, places[:count], (voltage, total, source), parts, own, spans[1], kept[1], constants)
            before[:] = voltage
        voltage[:] = moved
        _pass(parts, ahead, work, voltage, own, spans[0], kept[0], constants)
        received[:] = ahead[0]
        if count:
            _extrapolate(room, places[:count], voltage, before, parts, ahead, received, spans[0], kept[0], constants)
        if (step + 1) % repeats == 0:
            for b in range(width):
                for r in range(record.size):
                    result[first + b, step // repeats, r] = voltage[record[r] * width + b]
    give_stimuli(states, rows, first, last)
