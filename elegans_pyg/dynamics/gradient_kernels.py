"""Numba kernel of the gradients of backend ``fused``: the steps of :mod:`elegans_pyg.dynamics.kernels`, walked backwards.

A step is a function of each neuron alone, once its input from other neurons is known. So the gradient of a step is that of one neuron at a
time, followed by the products with the transposed connections. A function ``x_back`` takes the arguments of ``x`` and the gradient of its
result, and returns those of the state; gradients of the neuron's constants are added to ``sums``, those of its input to ``flow``.

Activation, calcium and the five gates of a neuron are a tuple of seven numbers, as in the other kernels a tuple of seven rows.
"""

import numpy as np

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg.dynamics.kernels import _exp, _logistic, add_inputs, calcium_after, give_stimuli, move, parts_of, prepare, take_stimuli

# Entries of ``sums``: gradients of 1 / capacitance, threshold and the three channels' conductances; of ``flow``: of conductance and drive.
CAPACITANCE, THRESHOLD, CHANNEL = 0, 1, 2
TOTAL, SOURCE = 0, 1


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _decay(z, one, half):
    """``(1 + z / 2) / (1 + z + z^2 / 2)``, by which a step's first-order change is damped, and its derivative."""
    per = one / (one + z + z * z * half)
    return (one + z * half) * per, -(half + z + z * z * half * half) * per * per


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _synapse(voltage, threshold, span, constants):
    """Target and remaining share of a synapse's activation, with their derivatives by ``voltage``."""
    graded, synapse, _, _, _, _, steepest, one, half = constants
    rise, decay, inverse_delta = synapse
    x = (voltage - threshold) * inverse_delta
    growth = _exp(min(max(x, -steepest), steepest))
    phi = growth / (one + growth)
    if graded:
        target, z = phi, rise * span * (one + growth)
        target_slope, z_slope = phi * (one - phi), rise * span * growth
    else:
        opening, slope = rise * phi, rise * phi * (one - phi)
        rate = opening + decay
        target, z = opening / rate, rate * span
        target_slope, z_slope = slope * decay / (rate * rate), slope * span
    left = one / (one + z + z * z * half)
    inside = inverse_delta if abs(x) < steepest else one - one
    return target, left, target_slope * inside, -(one + z) * left * left * z_slope * inside


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _at(voltage, own, span, kept, constants):
    """What a potential does over ``span``: to synapses (:func:`_synapse`), gates' targets and remaining shares; and the potential."""
    _, _, midpoints, inverse_scales, _, _, steepest, one, _ = constants
    targets = (
        _logistic((voltage - midpoints[0]) * inverse_scales[0], steepest, one),
        _logistic((voltage - midpoints[1]) * inverse_scales[1], steepest, one),
        _logistic((voltage - midpoints[2]) * inverse_scales[2], steepest, one),
        _logistic((voltage - midpoints[3]) * inverse_scales[3], steepest, one),
        _logistic((voltage - midpoints[4]) * inverse_scales[4], steepest, one),
    )
    return _synapse(voltage, own[1], span, constants), targets, kept, voltage, span


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _activation(activation, synapse):
    target, left, _, _ = synapse
    return target + (activation - target) * left


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _activation_back(activation, synapse, back, one):
    target, left, target_slope, left_slope = synapse
    return back * left, back * ((one - left) * target_slope + (activation - target) * left_slope)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _gates(parts, at):
    _, (t0, t1, t2, t3, t4), kept, _, _ = at
    a, c, n, p, q, e, f = parts
    n, p, q = t0 + (n - t0) * kept[0], t1 + (p - t1) * kept[1], t2 + (q - t2) * kept[2]
    return (a, c, n, p, q, t3 + (e - t3) * kept[3], t4 + (f - t4) * kept[4])


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _gates_back(at, constants, back):
    """Gradients of the gates before, with those of activation and calcium as they are, and of the voltage."""
    inverse_scales, one = constants[3], constants[7]
    _, targets, kept, _, _ = at
    a, c, n, p, q, e, f = back
    total = a - a
    for g, own in enumerate((n, p, q, e, f)):
        total += own * (one - kept[g]) * targets[g] * (one - targets[g]) * inverse_scales[g]
    return (a, c, n * kept[0], p * kept[1], q * kept[2], e * kept[3], f * kept[4]), total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _closed(calcium, constants):
    """The logistic function with which calcium closes its channel."""
    pool, steepest, one = constants[4], constants[6], constants[7]
    return _logistic((pool[4] - calcium) * pool[5], steepest, one)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _calcium(calcium, closed, e, f, ca, at, constants):
    _, _, _, _, pool, reversal, _, one, half = constants
    _, _, _, voltage, span = at
    inflow = pool[2] * ca * (e * e * f) * (reversal[2] - voltage)
    return calcium_after(calcium, closed, inflow, pool, span, one, half)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _calcium_back(calcium, closed, e, f, ca, at, constants, back, sums):
    """Gradients of the calcium before, of the gates ``e`` and ``f``, and of the voltage."""
    _, _, _, _, pool, reversal, _, one, half = constants
    rate, resting, gain, alpha, _, inverse_scale = pool
    _, _, _, voltage, span = at
    slope = closed * (one - closed)
    reach = reversal[2] - voltage
    inflow = gain * ca * (e * e * f) * reach
    change = inflow * (one - alpha * closed) - (calcium - resting) * rate
    z = span * (rate - inflow * (alpha * inverse_scale * slope))
    damped, damped_slope = _decay(z, one, half)
    if calcium + change * span * damped < 0:
        back = one - one
    change_back, z_back = back * span * damped, back * change * span * damped_slope
    inflow_back = change_back * (one - alpha * closed) - z_back * span * (alpha * inverse_scale * slope)
    closed_back = -(change_back + z_back * span * inverse_scale * (one - closed - closed)) * inflow * alpha
    sums[CHANNEL + 2] += inflow_back * gain * (e * e * f) * reach
    inflow_back *= gain * ca
    e_back, f_back = inflow_back * (e * f + e * f) * reach, inflow_back * e * e * reach
    return back - change_back * rate - closed_back * inverse_scale * slope, e_back, f_back, -inflow_back * e * e * f


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _leave(parts, at, own, constants):
    """A neuron's parts in the middle of a step, from those at its start."""
    c = _calcium(parts[1], _closed(parts[1], constants), parts[5], parts[6], own[4], at, constants)
    _, _, n, p, q, e, f = _gates(parts, at)
    return (_activation(parts[0], at[0]), c, n, p, q, e, f)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _arrive(ahead, closed, at, own, constants):
    """A neuron's parts at the end of a step, from those in its middle; ``closed``: by the calcium there."""
    _, _, n, p, q, e, f = _gates(ahead, at)
    return (_activation(ahead[0], at[0]), _calcium(ahead[1], closed, e, f, own[4], at, constants), n, p, q, e, f)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _leave_back(parts, at, own, constants, back, sums):
    (_, _, n, p, q, e, f), v_gates = _gates_back(at, constants, back)
    closed = _closed(parts[1], constants)
    c, e_more, f_more, v_calcium = _calcium_back(parts[1], closed, parts[5], parts[6], own[4], at, constants, back[1], sums)
    a, v_synapse = _activation_back(parts[0], at[0], back[0], constants[7])
    sums[THRESHOLD] -= v_synapse
    return (a, c, n, p, q, e + e_more, f + f_more), v_gates + v_calcium + v_synapse


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _arrive_back(ahead, closed, arrived, at, own, constants, back, sums):
    c, e_more, f_more, v_calcium = _calcium_back(ahead[1], closed, arrived[5], arrived[6], own[4], at, constants, back[1], sums)
    a, v_synapse = _activation_back(ahead[0], at[0], back[0], constants[7])
    sums[THRESHOLD] -= v_synapse
    before, v_gates = _gates_back(at, constants, (a, c, back[2], back[3], back[4], back[5] + e_more, back[6] + f_more))
    return before, v_gates + v_calcium + v_synapse


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _move(voltage, ahead, closed, total, source, own, span, constants):
    """A neuron's potential after ``span``, with all else held."""
    pool, reversal, one, half = constants[4], constants[5], constants[7], constants[8]
    _, _, n, p, q, e, f = ahead
    slow, fast, ca = own[2] * n, own[3] * (p * p) * (p * p) * q, own[4] * (e * e * f) * (one - pool[3] * closed)
    total = total + slow + fast + ca
    source = source + slow * reversal[0] + fast * reversal[1] + ca * reversal[2]
    scale = span * own[0]
    return voltage + (source - total * voltage) * scale * _decay(total * scale, one, half)[0]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _move_back(voltage, ahead, closed, total, source, own, span, constants, back, sums, flow):
    """Gradients of the potential before, and of ``ahead``."""
    pool, reversal, one, half = constants[4], constants[5], constants[7], constants[8]
    _, _, n, p, q, e, f = ahead
    open_to_calcium = one - pool[3] * closed
    to_fast, to_ca = (p * p) * (p * p) * q, (e * e * f) * open_to_calcium
    slow, fast, ca = own[2] * n, own[3] * to_fast, own[4] * to_ca
    total = total + slow + fast + ca
    source = source + slow * reversal[0] + fast * reversal[1] + ca * reversal[2]
    scale = span * own[0]
    net = source - total * voltage
    damped, slope = _decay(total * scale, one, half)
    source_back = back * scale * damped
    total_back = back * net * scale * scale * slope - source_back * voltage
    sums[CAPACITANCE] += back * net * (damped + total * scale * slope) * span
    flow[TOTAL] += total_back
    flow[SOURCE] += source_back
    slow_back, fast_back = total_back + source_back * reversal[0], total_back + source_back * reversal[1]
    ca_back = total_back + source_back * reversal[2]
    sums[CHANNEL] += slow_back * n
    sums[CHANNEL + 1] += fast_back * to_fast
    sums[CHANNEL + 2] += ca_back * to_ca
    slow_back, fast_back, ca_back = slow_back * own[2], fast_back * own[3], ca_back * own[4]
    p_back, q_back = fast_back * (p * p * p * q) * (one + one) / half, fast_back * (p * p) * (p * p)
    e_back, f_back = ca_back * (e * f + e * f) * open_to_calcium, ca_back * e * e * open_to_calcium
    c_back = ca_back * (e * e * f) * pool[3] * pool[5] * closed * (one - closed)
    return back - source_back * total, (one - one, c_back, slow_back, p_back, q_back, e_back, f_back)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _plus(a, b):
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5], a[6] + b[6])


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _times(a, factor):
    return (a[0] * factor, a[1] * factor, a[2] * factor, a[3] * factor, a[4] * factor, a[5] * factor, a[6] * factor)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _fast_back(parts, arrived, voltage, moved, total, source, own, dt, spans, kept, constants, backs, sums, flow):
    """The way back through a neuron's extrapolated step. ``backs``: gradients of parts, parts ahead, potential and what others receive.
    Returns the gradients of the parts and the potential at the start, and of the result of the whole step, from which it extrapolates."""
    one, half = constants[7], constants[8]
    quarter, third, none, short = half * half, one / (one + one + one), one - one, dt * half
    beyond = one + third
    # Two steps of half the length, each from a potential through the parts in its middle to the next potential.
    at_0 = _at(voltage, own, spans[1], kept[1], constants)
    ahead_1 = _leave(parts, at_0, own, constants)
    closed_1 = _closed(ahead_1[1], constants)
    voltage_1 = _move(voltage, ahead_1, closed_1, total, source, own, short, constants)
    at_1 = _at(voltage_1, own, spans[1], kept[1], constants)
    parts_1 = _arrive(ahead_1, closed_1, at_1, own, constants)
    ahead_2 = _leave(parts_1, at_1, own, constants)
    closed_2 = _closed(ahead_2[1], constants)
    voltage_2 = _move(voltage_1, ahead_2, closed_2, total, source, own, short, constants)
    at_2 = _at(voltage_2, own, spans[1], kept[1], constants)
    parts_2 = _arrive(ahead_2, closed_2, at_2, own, constants)
    end = voltage_2 * beyond - moved * third
    a, c, n, p, q, e, f = _plus(_times(parts_2, beyond), _times(arrived, -third))
    reached = (a, max(c, none), n, p, q, e, f)

    parts_back, ahead_back, voltage_back, received_back = backs
    onward = _synapse(end + (end - voltage) * quarter, own[1], spans[0], constants)
    received_back, onward_back = _activation_back(a, onward, received_back, one)
    sums[THRESHOLD] -= onward_back
    at_end = _at(end, own, spans[0], kept[0], constants)
    left_back, more = _leave_back(reached, at_end, own, constants, ahead_back, sums)
    voltage_back += more + onward_back * (one + quarter)
    a, c_back, n, p, q, e, f = _plus(parts_back, left_back)
    parts_back = (a + received_back, c_back if c >= 0 else none, n, p, q, e, f)
    whole_parts, whole_voltage = _times(parts_back, -third), -third * voltage_back

    ahead_back, more = _arrive_back(ahead_2, closed_2, parts_2, at_2, own, constants, _times(parts_back, beyond), sums)
    voltage_back = voltage_back * beyond + more
    voltage_back, also = _move_back(voltage_1, ahead_2, closed_2, total, source, own, short, constants, voltage_back, sums, flow)
    parts_back, more = _leave_back(parts_1, at_1, own, constants, _plus(ahead_back, also), sums)
    ahead_back, again = _arrive_back(ahead_1, closed_1, parts_1, at_1, own, constants, parts_back, sums)
    voltage_back += more + again
    voltage_back, also = _move_back(voltage, ahead_1, closed_1, total, source, own, short, constants, voltage_back, sums, flow)
    parts_back, more = _leave_back(parts, at_0, own, constants, _plus(ahead_back, also), sums)
    return parts_back, voltage_back + more - onward_back * quarter, whole_parts, whole_voltage


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _entry(rows, first, m):
    return (
        rows[first, m],
        rows[first + 1, m],
        rows[first + 2, m],
        rows[first + 3, m],
        rows[first + 4, m],
        rows[first + 5, m],
        rows[first + 6, m],
    )


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _neurons_back(back, rows, moved, total, source, own, dt, limit, spans, kept, constants, sums, flow):
    """The way back through one step of every neuron, without the input from others: ``back (17, N width)``, laid out as ``rows``, holds the
    gradients of the state after the step, then those of the state before it; ``flow (2, N width)``, those of conductances and drives."""
    capacitance, threshold, slow, fast, ca = own
    none = constants[7] - constants[7]
    through = np.empty(2, rows.dtype)
    for m in range(moved.size):
        channel = (slow[m], fast[m], ca[m]) if slow.size else (none, none, none)
        mine, sum_of = (capacitance[m], threshold[m], *channel), sums[m]
        through[:] = 0
        ahead, voltage = _entry(rows, 7, m), rows[14, m]
        parts_back, ahead_back, voltage_back, received_back = _entry(back, 0, m), _entry(back, 7, m), back[14, m], back[15, m]
        closed, at = _closed(ahead[1], constants), _at(moved[m], mine, spans[0], kept[0], constants)
        arrived = _arrive(ahead, closed, at, mine, constants)
        start_parts, start_voltage = (none, none, none, none, none, none, none), none
        if abs(moved[m] - voltage) > limit:
            parts, backs = _entry(rows, 0, m), (parts_back, ahead_back, voltage_back, received_back)
            start_parts, start_voltage, parts_back, voltage_back = _fast_back(
                parts, arrived, voltage, moved[m], total[m], source[m], mine, dt, spans, kept, constants, backs, sum_of, through
            )
        else:
            a, c, n, p, q, e, f = ahead_back
            left_back, more = _leave_back(arrived, at, mine, constants, (a + received_back, c, n, p, q, e, f), sum_of)
            parts_back, voltage_back = _plus(parts_back, left_back), voltage_back + more
        ahead_back, more = _arrive_back(ahead, closed, arrived, at, mine, constants, parts_back, sum_of)
        voltage_back += more
        before, also = _move_back(voltage, ahead, closed, total[m], source[m], mine, dt, constants, voltage_back, sum_of, through)
        ahead_back = _plus(ahead_back, also)
        for k in range(7):
            back[k, m] = start_parts[k]
            back[7 + k, m] = ahead_back[k]
        back[14, m] = start_voltage + before
        back[15, m] = 0
        flow[TOTAL, m], flow[SOURCE, m] = through[TOTAL], through[SOURCE]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _gaps_back(back, rows, junctions, gap_back, found):
    """Add to the potentials' gradients those of the flow ``gap_back`` through gap junctions, and to ``found`` those of the junctions."""
    (ptr, other, weight), width = junctions, found.shape[1]
    for i in range(ptr.size - 1):
        mine = gap_back[i * width : (i + 1) * width]
        for k in range(ptr[i], ptr[i + 1]):
            first = other[k] * width
            theirs, their_voltage, of_edge, w = back[14, first : first + width], rows[14, first : first + width], found[k], weight[k]
            for b in range(width):
                theirs[b] += w * mine[b]
            for b in range(width):
                of_edge[b] += their_voltage[b] * mine[b]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _synapses_back(back, rows, synapses, drive, flow, found, found_drive):
    """Add to the gradients of what neurons receive those of synaptic conductances and drives, and to ``found`` those of the synapses."""
    (ptr, other, weight), width = synapses, found.shape[1]
    for i in range(ptr.size - 1):
        total, source = flow[TOTAL, i * width : (i + 1) * width], flow[SOURCE, i * width : (i + 1) * width]
        for k in range(ptr[i], ptr[i + 1]):
            first = other[k] * width
            theirs, received, w, d = back[15, first : first + width], rows[15, first : first + width], weight[k], drive[k]
            of_edge, of_drive = found[k], found_drive[k]
            for b in range(width):
                theirs[b] += w * total[b] + d * source[b]
            for b in range(width):
                of_edge[b] += received[b] * total[b]
            for b in range(width):
                of_drive[b] += received[b] * source[b]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def differentiate_stimuli(
    first, last, step_of, edges, neurons, channels, inputs, current, states, since, record, drive, given, back, found
):
    """The way back of stimuli ``first <= s < last`` through the steps from ``since`` on, whose ``states (K, 17, N, S)`` have been kept.

    Other arguments are those of :func:`elegans_pyg.dynamics.kernels.integrate_stimuli`, and ``drive``: that of every synapse; ``given
    (S, T, R)``: gradients of the voltages; ``back (17, N, S)``: those of the state after the last step, and then before the first;
    ``found``, to which is added: those of the currents ``(S, T, I)``, of synapses ``(S, E)`` and their drives, of gap junctions
    ``(S, G)``, of ``neurons (S, 4, N)`` and of the channels' conductances ``(S, 3, N)`` or ``(S, 3, 0)``.
    """
    current_found, synapse_found, drive_found, gap_found, neuron_found, channel_found = found
    width = last - first
    if not width:
        return
    dt, repeats, limit, _, _ = step_of
    constants, spans, kept, own, held = prepare(width, step_of, neurons, channels)
    size, kind, half = states.shape[2] * width, states.dtype, constants[8]
    back_rows, rows = np.empty((17, size), kind), np.empty((17, size), kind)
    flow_rows, work_rows = np.empty((5, size), kind), np.empty((4, size), kind)
    take_stimuli(back_rows, back, first, last)
    ahead, work = parts_of(rows, 7, size, own[2].size > 0), (work_rows[0], work_rows[1], work_rows[2], work_rows[3])
    total, source, gap, moved, gap_back = flow_rows[0], flow_rows[1], flow_rows[2], flow_rows[3], flow_rows[4]
    flow, sums, held_found = np.zeros((2, size), kind), np.zeros((size, 5), kind), np.zeros((2, size), kind)
    synapses_of, drives_of = np.zeros((drive.size, width), kind), np.zeros((drive.size, width), kind)
    gaps_of = np.zeros((edges[2][1].size, width), kind)
    for step in range(since + len(states) - 1, since - 1, -1):
        if (step + 1) % repeats == 0:
            for b in range(width):
                for r in range(record.size):
                    back_rows[14, record[r] * width + b] += given[first + b, step // repeats, r]
        take_stimuli(rows, states[step - since], first, last)
        add_inputs(total, source, gap, rows, first, step // repeats, held, edges, inputs, current)
        move(moved, rows[14], total, source, work, ahead, own, dt, constants)
        _neurons_back(back_rows, rows, moved, total, source, own, dt, limit, spans, kept, constants, sums, flow)
        for m in range(size):
            gap_back[m] = back_rows[16, m] + (constants[7] + half) * flow[SOURCE, m]
            back_rows[16, m] = -half * flow[SOURCE, m]
            held_found[TOTAL, m] += flow[TOTAL, m]
            held_found[SOURCE, m] += flow[SOURCE, m]
        for k in range(inputs.size):
            for b in range(width):
                current_found[first + b, step // repeats, k] += flow[SOURCE, inputs[k] * width + b]
        _synapses_back(back_rows, rows, edges[0], drive, flow, synapses_of, drives_of)
        _gaps_back(back_rows, rows, edges[2], gap_back, gaps_of)
    give_stimuli(back, back_rows, first, last)
    for b in range(width):
        for k in range(drive.size):
            synapse_found[first + b, k] += synapses_of[k, b]
            drive_found[first + b, k] += drives_of[k, b]
        for k in range(len(gaps_of)):
            gap_found[first + b, k] += gaps_of[k, b]
        for i in range(states.shape[2]):
            m = i * width + b
            neuron_found[first + b, 0, i] += sums[m, CAPACITANCE]
            neuron_found[first + b, 1, i] += held_found[TOTAL, m]
            neuron_found[first + b, 2, i] += held_found[SOURCE, m]
            neuron_found[first + b, 3, i] += sums[m, THRESHOLD]
            for k in range(3 if own[2].size else 0):
                channel_found[first + b, k, i] += sums[m, CHANNEL + k]
