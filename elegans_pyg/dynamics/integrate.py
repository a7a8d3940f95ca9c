"""The plain integrator: PyTorch operations on whole ensembles of stimuli, differentiable, in any floating-point type, on any device.

Voltages are known at whole steps; gates, synaptic activations and calcium half a step later, so that each side sees the other at the middle
of its step, which makes the scheme of second order. Within a step, everything is linear in what it updates, ``dy/dt = (target - y) rate``,
and moves by the L-stable ``1 / (1 + z + z^2 / 2)`` in place of ``exp(-z)``, ``z = rate dt``: of second order too, without an exponential,
and never past the target however short the time constant. Gates' time constants are fixed, and their exponentials are taken once.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans_pyg._threads import one_thread
from elegans_pyg.dynamics.membrane import Membrane
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

# Beyond this a logistic function is 0 or 1 to within 1e-17.
STEEPEST = 40.0
# Multiplications in a step's product of voltages and gap junctions, below which a second thread is not worth the wait for it.
SMALL = 2**22


Circuit = namedtuple("Circuit", "capacitance leak threshold channel synapses gaps gap_sum")
"""A worm's constants as tensors of one type on one device; synapses and gap junctions as dense matrices."""

Staggered = namedtuple("Staggered", "voltage activation gates calcium gap_before block_before")
"""The state between steps: voltages at the step's start, the rest half a step later; and the step before's, for extrapolation."""


def circuit_of(worm: Worm, dtype: torch.dtype, device: torch.device) -> Circuit:
    """Dense matrices, through which gradients reach every conductance: ``synapses (N, 2 N)``, ``gaps (N, N)``, both from row to column."""
    data = worm.data
    names = ("conductance_nS", "reversal_mV", "capacitance_pF", "leak_nS", "threshold_mV")
    conductance, reversal, capacitance, leak, threshold = (data[name].to(device, dtype) for name in names)
    source, target = data.edge_index.to(device)
    electrical = data.edge_type.to(device) == ELECTRICAL
    chemical, gap = torch.where(electrical, 0.0, conductance), torch.where(electrical, conductance, 0.0)
    empty = conductance.new_zeros(len(leak), len(leak))
    synapses, drives, gaps = (empty.index_put((source, target), w, accumulate=True) for w in (chemical, chemical * reversal, gap))
    channel = data.channel_nS.to(device, dtype).T if "channel_nS" in data else conductance.new_zeros(3, 0)
    return Circuit(capacitance, leak, threshold, channel, torch.cat([synapses, drives], dim=1), gaps, gaps.sum(0))


class Integrator:
    """Steps of one length for one circuit."""

    def __init__(self, membrane: Membrane, dt_ms: float, circuit: Circuit) -> None:
        self.membrane, self.dt, self.circuit = membrane, dt_ms, circuit
        self.channels: Any = membrane.channels
        if (channels := membrane.channels) is not None:
            tables = (channels.tau_ms, channels.midpoint_mV, channels.scale_mV)
            self.tau, self.midpoint, self.scale = (circuit.leak.new_tensor(table)[:, None] for table in tables)

    def start(self, state: State) -> Staggered:
        """Move everything but the voltages by half a step."""
        voltage, activation, gates, calcium = state
        half = self.dt / 2
        block = voltage.new_zeros(0)
        if self.channels is not None:
            block = self._open_to_calcium(calcium)
            calcium = self._calcium(calcium, voltage, gates[:, 3] ** 2 * gates[:, 4] * block, half)
            gates = self._gates(gates, voltage, half)
        return Staggered(voltage, self._activation(activation, voltage, half), gates, calcium, voltage @ self.circuit.gaps, block)

    def step(self, staggered: Staggered, current: Tensor) -> Staggered:
        """One step under the constant current ``(S, N)``."""
        circuit, membrane = self.circuit, self.membrane
        voltage, activation, gates, calcium, gap_before, block_before = staggered
        synaptic, drive = (activation @ circuit.synapses).chunk(2, dim=1)
        gap = voltage @ circuit.gaps
        total = circuit.leak + circuit.gap_sum + synaptic
        source = circuit.leak * membrane.leak_reversal_mV + drive + 1.5 * gap - 0.5 * gap_before + current
        block = block_before
        if self.channels is not None:
            slow, fast, ca = self.channels.reversal_mV
            n, p, q, e, f = gates.unbind(1)
            block = self._open_to_calcium(calcium)
            g_slow, g_fast = circuit.channel[0] * n, circuit.channel[1] * (p * p) * (p * p) * q
            opening = e * e * f
            g_ca = circuit.channel[2] * opening * block
            total = total + g_slow + g_fast + g_ca
            source = source + g_slow * slow + g_fast * fast + g_ca * ca
        scale = self.dt / circuit.capacitance
        z = total * scale
        voltage = voltage + (source - total * voltage) * scale * (1 + z / 2) / (1 + z + z * z / 2)
        if self.channels is not None:
            gates = self._gates(gates, voltage, self.dt)
            middle = (opening + gates[:, 3] ** 2 * gates[:, 4]) / 2 * (1.5 * block - 0.5 * block_before)
            calcium = self._calcium(calcium, voltage, middle, self.dt)
        return Staggered(voltage, self._activation(activation, voltage, self.dt), gates, calcium, gap, block)

    def _gates(self, gates: Tensor, voltage: Tensor, span: float) -> Tensor:
        target = torch.sigmoid((voltage.unsqueeze(1) - self.midpoint) / self.scale)
        return target + (gates - target) * torch.exp(-span / self.tau)

    def _open_to_calcium(self, calcium: Tensor) -> Tensor:
        channels = self.channels
        return 1 - channels.block_alpha * torch.sigmoid((channels.block_half_pM - calcium) / channels.block_scale_pM)

    def _calcium(self, calcium: Tensor, voltage: Tensor, opening: Tensor, span: float) -> Tensor:
        channels = self.channels
        current = self.circuit.channel[2] * opening * (voltage - channels.reversal_mV[2])
        target = channels.calcium_resting_pM - channels.calcium_decay_ms * channels.calcium_pM_per_pA_ms * current
        kept = torch.exp(torch.tensor(-span / channels.calcium_decay_ms, dtype=torch.float64)).item()
        return (target + (calcium - target) * kept).clamp(min=0)

    def _activation(self, activation: Tensor, voltage: Tensor, span: float) -> Tensor:
        growth = torch.exp(((voltage - self.circuit.threshold) / self.membrane.delta_mV).clamp(-STEEPEST, STEEPEST))
        phi = growth / (1 + growth)
        if self.membrane.kinetics == "graded":
            rate, target = self.membrane.rates_per_ms[0] * (1 + growth), phi
        else:
            rise, decay = self.membrane.rates_per_ms
            rate = rise * phi + decay
            target = rise * phi / rate
        z = rate * span
        return target + (activation - target) / (1 + z + z * z / 2)


def integrate(
    worm: Worm, state: State, current: Tensor, inputs: Tensor, record: Tensor, dt_ms: float, segment: int | None = None
) -> Tensor:
    """Voltages at the end of every step, ``(S, T, R)``.

    Args:
        state: tensors ``(N,)`` or ``(S, N)``, gates ``(5, N)`` or ``(S, 5, N)``; ``current``: ``(S, T, I)`` pA.
        inputs: ``(I,)`` and ``record``: ``(R,)``, neurons' numbers.
        segment: steps between the states that are kept for the backward pass; those between are computed again. By default the square root
            of ``T``, which needs the least memory.
    """
    stimuli, steps, _ = current.shape
    circuit = circuit_of(worm, current.dtype, current.device)
    small = stimuli * len(circuit.leak) ** 2 < SMALL
    staggered = Integrator(worm.membrane, dt_ms, circuit).start(expanded(state, stimuli, current))

    def run(current: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Voltages of a segment, and the state after it."""
        integrator = Integrator(worm.membrane, dt_ms, Circuit(*tensors[: len(circuit)]))
        staggered = Staggered(*tensors[len(circuit) :])
        voltages = []
        for flowing in current.unbind(1):
            everywhere = current.new_zeros(staggered.voltage.shape).index_copy(1, inputs, flowing)
            staggered = integrator.step(staggered, everywhere)
            voltages.append(staggered.voltage[:, record])
        return torch.stack(voltages, dim=1), *staggered

    parts = []
    for part in current.split(segment or max(1, round(steps**0.5)), dim=1):
        voltages, *after = _Segment.apply(run, small, part, *circuit, *staggered)
        staggered = Staggered(*after)
        parts.append(voltages)
    return torch.cat(parts, dim=1)


class _Segment(torch.autograd.Function):
    """A function of tensors that keeps nothing but them for the backward pass, in which it is called again.

    PyTorch's own checkpoint either keeps the graph's nodes, some 100 kB a step whatever the size of their tensors, or is closed to
    ``autograd.grad``.
    """

    @staticmethod
    def forward(ctx: Any, run: Callable[..., tuple[Tensor, ...]], small: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run, ctx.small = run, small
        ctx.save_for_backward(*tensors)
        with one_thread(small):
            return run(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        tensors = [tensor.detach().requires_grad_(want) for tensor, want in zip(ctx.saved_tensors, wanted, strict=True)]
        with one_thread(ctx.small), torch.enable_grad():
            results = ctx.run(*tensors)
            reached = [pair for pair in zip(results, gradients, strict=True) if pair[0].requires_grad]
            leaves = [tensor for tensor in tensors if tensor.requires_grad]
            outputs, given = zip(*reached, strict=True)
            found = iter(torch.autograd.grad(outputs, leaves, given, allow_unused=True))
        return None, None, *(next(found) if want else None for want in wanted)


def expanded(state: State, stimuli: int, like: Tensor) -> State:
    """The state of every stimulus, in the type and on the device of ``like``."""
    number = state.voltage_mV.size(-1)
    shapes = ((number,), (number,), (5, number), (number,))
    parts = [part.to(like) for part in state]
    return State(*(part.expand(stimuli, *shape) if part.numel() else part for part, shape in zip(parts, shapes, strict=True)))
