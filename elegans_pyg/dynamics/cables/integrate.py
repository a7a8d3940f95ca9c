"""The reference integrator of neurons with a shape: PyTorch operations on all compartments and stimuli, differentiable, on any device.

Voltages are known at whole steps; gates, synaptic activations and calcium half a step later (Hines 1984), so that each side uses the other
at the middle of its step. Within a step, conductances are fixed and the cables' equations linear, ``C dv/dt = b - K v``. They are solved by
the L-stable two-stage method of second order with ``gamma = 1 - 1 / sqrt(2)`` (Alexander 1977, doi:10.1137/0714068): with
``A = C / (gamma dt) + K`` and ``r = b - K v``::

    A y = r        A u = r + (1 + sqrt(2)) C / (gamma dt) y        v <- v + u

two systems with one matrix of the trees. Synapses and gap junctions join somata: their conductances are in the diagonal, and the input from
other neurons is on the right-hand side.
"""

import math
from collections import namedtuple
from typing import Any

import torch
from torch import Tensor

from elegans_pyg.dynamics.cables.trees import Tree, solve, spread
from elegans_pyg.dynamics.integrate import SMALL, STEEPEST, expanded, in_segments
from elegans_pyg.dynamics.membrane import Membrane
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

GAMMA = 1 - 1 / math.sqrt(2)
SECOND = 1 + math.sqrt(2)
# Longer steps are divided into equal ones no longer than this, in ms: the time constant of the fastest gate, which must not overshoot.
LONGEST_MS = 0.1

Circuit = namedtuple("Circuit", "capacitance axial leak channel gain threshold synapses gaps gap_sum kinetics")
"""A worm's constants as tensors of one type on one device: ``capacitance``, ``leak``, ``gain (M, 1)``, ``channel (3, M, 1)``, ``axial
(P,)``; of the neurons ``threshold``, ``gap_sum (N, 1)``, ``synapses (2 N, N)``, ``gaps (N, N)`` from column to row, ``kinetics
(3, N, 1)``."""

Staggered = namedtuple("Staggered", "voltage activation gates calcium gap_before block_before")
"""The state between steps, stimuli last: voltages ``(P, S)`` at the step's start, the rest half a step later; gap and block before."""


def circuit_of(worm: Worm, dtype: torch.dtype, device: torch.device) -> Circuit:
    """The constants of a worm, each neuron's distributed over its compartments by membrane area; gradients reach every table."""
    data, membrane, cables = worm.data, worm.membrane, worm.cables

    def on(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    area, neuron = torch.as_tensor(cables.area_um2), torch.as_tensor(cables.neuron)
    number = len(cables.soma)
    share = area / torch.zeros(number, dtype=torch.float64).index_add(0, neuron, area)[neuron]
    capacitance, leak = (on(data[name].cpu()[neuron] * share)[:, None] for name in ("capacitance_pF", "leak_nS"))
    channel = on((data.channel_nS.cpu()[neuron] * share[:, None]).T)[..., None]
    # From um per Ohm cm to nS; 0 for a root, whose path to a parent is infinite.
    axial = on(torch.as_tensor(1e5 / cables.path_per_um) / data.resistivity_ohm_cm.cpu()[torch.as_tensor(cables.owner)])
    channels: Any = membrane.channels
    gain = on(membrane.area_um2 * channels.calcium_decay_ms * channels.calcium_pM_per_pA_ms / area)[:, None]
    source, target = data.edge_index.to(device)
    electrical, conductance = data.edge_type.to(device) == ELECTRICAL, on(data.conductance_nS)
    chemical, gap = torch.where(electrical, 0.0, conductance), torch.where(electrical, conductance, 0.0)
    empty = conductance.new_zeros(number, number)
    weights = (chemical, chemical * on(data.reversal_mV), gap)
    synapses, drives, gaps = (empty.index_put((target, source), weight, accumulate=True) for weight in weights)
    kinetics = on(membrane.kinetics_of(data.inhibitory.cpu()))[..., None]
    threshold = on(data.threshold_mV)[:, None]
    return Circuit(
        capacitance, axial, leak, channel, gain, threshold, torch.cat([synapses, drives]), gaps, gaps.sum(1, keepdim=True), kinetics
    )


def substeps_of(dt_ms: float) -> int:
    return max(1, math.ceil(dt_ms / LONGEST_MS - 1e-9))


def kept_by(tau_ms: float, span_ms: float) -> float:
    """Share of its distance from its steady state that a gate keeps over a step, by the trapezoidal rule.

    A gate then follows a uniformly moving steady state with the right lag. With the exponential, which is exact for a constant steady
    state, the lag of a gate of 0.1 ms is off by 2 us at a step of 0.05 ms, and that of the worm's calcium spikes by ten times as much.
    """
    return (tau_ms - span_ms / 2) / (tau_ms + span_ms / 2)


class CableIntegrator:
    """Takes steps of one length for one circuit; ``somata`` and ``inputs`` are positions of compartments."""

    def __init__(self, membrane: Membrane, dt_ms: float, circuit: Circuit, tree: Tree, somata: Tensor, inputs: Tensor) -> None:
        self.membrane, self.dt, self.circuit, self.tree, self.somata, self.inputs = membrane, dt_ms, circuit, tree, somata, inputs
        # Every membrane with densities has channels.
        channels: Any = membrane.channels
        tables = (channels.midpoint_mV, channels.scale_mV)
        self.channels, (self.midpoint, self.scale) = channels, (circuit.leak.new_tensor(table)[:, None, None] for table in tables)
        self.branches = tree.parent.numel() - len(circuit.leak)

    def start(self, state: State) -> Staggered:
        """Set the voltages of branch points, and advance everything but voltages by half a step."""
        voltage, activation, gates, calcium = state
        axial, parent, number = self.circuit.axial, self.tree.parent, len(voltage)
        # The neighbours of a branch point are compartments: its voltage is their mean, weighted by axial conductance.
        weight = axial.index_add(0, parent, axial)[number:, None]
        whole = torch.cat([voltage, voltage.new_zeros(self.branches, voltage.size(1))])
        whole = torch.cat([voltage, spread(whole, axial, parent)[number:] / weight])
        half, block = self.dt / 2, self.open_to_calcium(calcium)
        kept = [math.exp(-half / tau) for tau in (*self.channels.tau_ms, self.channels.calcium_decay_ms)]
        calcium = self._calcium(calcium, voltage, gates[3] ** 2 * gates[4] * block, kept[5])
        gates = self._gates(gates, voltage, kept[:5])
        soma = voltage[self.somata]
        return Staggered(whole, self._activation(activation, soma, half), gates, calcium, self.circuit.gaps @ soma, block)

    def step(self, staggered: Staggered, current: Tensor) -> Staggered:
        """One step under the constant current ``(I, S)``."""
        circuit, (slow, fast, ca) = self.circuit, self.channels.reversal_mV
        whole, activation, gates, calcium, gap_before, block_before = staggered
        voltage = whole[: len(circuit.leak)]
        soma = voltage[self.somata]
        synaptic, drive = (circuit.synapses @ activation).chunk(2)
        gap = circuit.gaps @ soma
        n, p, q, e, f = gates
        block, opening = self.open_to_calcium(calcium), e * e * f
        g_slow, g_fast, g_ca = circuit.channel[0] * n, circuit.channel[1] * (p * p) * (p * p) * q, circuit.channel[2] * opening * block
        total = (circuit.leak + g_slow + g_fast + g_ca).index_add(0, self.somata, circuit.gap_sum + synaptic)
        source = circuit.leak * self.membrane.leak_reversal_mV + g_slow * slow + g_fast * fast + g_ca * ca
        source = source.index_add(0, self.somata, drive + 1.5 * gap - 0.5 * gap_before).index_add(0, self.inputs, current)
        whole = whole + self._moved(whole, total, source - total * voltage)
        voltage = whole[: len(voltage)]
        gates = self._gates(gates, voltage, [kept_by(tau, self.dt) for tau in self.channels.tau_ms])
        middle = (opening + gates[3] ** 2 * gates[4]) / 2 * (1.5 * block - 0.5 * block_before)
        calcium = self._calcium(calcium, voltage, middle, math.exp(-self.dt / self.channels.calcium_decay_ms))
        return Staggered(whole, self._activation(activation, voltage[self.somata], self.dt), gates, calcium, gap, block)

    def _moved(self, whole: Tensor, total: Tensor, residual: Tensor) -> Tensor:
        """Change of all voltages in a step under these conductances."""

        def everywhere(values: Tensor) -> Tensor:
            return torch.nn.functional.pad(values, (0, 0, 0, self.branches))

        axial, held = self.circuit.axial, everywhere(self.circuit.capacitance / (GAMMA * self.dt))
        ground = everywhere(total) + held
        residual = everywhere(residual) + spread(whole, axial, self.tree.parent)
        first = solve(ground, axial, residual, self.tree)
        return solve(ground, axial, residual + SECOND * held * first, self.tree)

    def _gates(self, gates: Tensor, voltage: Tensor, kept: list[float]) -> Tensor:
        target = torch.sigmoid((voltage - self.midpoint) / self.scale)
        return target + (gates - target) * gates.new_tensor(kept)[:, None, None]

    def open_to_calcium(self, calcium: Tensor) -> Tensor:
        """Share of its own channel that calcium leaves open."""
        channels = self.channels
        return 1 - channels.block_alpha * torch.sigmoid((channels.block_half_pM - calcium) / channels.block_scale_pM)

    def _calcium(self, calcium: Tensor, voltage: Tensor, opening: Tensor, kept: float) -> Tensor:
        channels = self.channels
        current = self.circuit.channel[2] * opening * (voltage - channels.reversal_mV[2])
        target = channels.calcium_resting_pM - self.circuit.gain * current
        return (target + (calcium - target) * kept).clamp(min=0)

    def _activation(self, activation: Tensor, soma: Tensor, span: float) -> Tensor:
        rise, decay, delta = self.circuit.kinetics
        growth = torch.exp(((soma - self.circuit.threshold) / delta).clamp(-STEEPEST, STEEPEST))
        phi = growth / (1 + growth)
        if self.membrane.kinetics == "graded":
            rate, target = rise * (1 + growth), phi
        else:
            rate = rise * phi + decay
            target = rise * phi / rate
        z = rate * span
        return target + (activation - target) / (1 + z + z * z / 2)


def integrate_cables(
    worm: Worm,
    state: State,
    current: Tensor,
    inputs: Tensor,
    record: Tensor,
    dt_ms: float,
    repeats: int = 1,
    compiled: bool = False,
    segment: int | None = None,
) -> Tensor:
    """Voltages in mV at the end of every step, ``(S, T, R)``.

    Args:
        state: tensors of the compartments ``(M,)`` or ``(S, M)``, gates ``(5, M)`` or ``(S, 5, M)``, activation of the neurons.
        current: ``(S, T, I)`` pA; ``inputs``: ``(I,)`` and ``record``: ``(R,)``, positions of compartments.
        repeats: number by which the internal steps, which are at most 0.1 ms, are divided again.
        compiled: solve the trees with a Numba kernel; all else is PyTorch.
        segment: steps between the states that are kept for the backward pass; see :func:`elegans_pyg.dynamics.integrate.integrate`.
    """
    steps, cables, device = current.size(1), worm.cables, current.device
    substeps = repeats * substeps_of(dt_ms)
    span = dt_ms / substeps
    tree = Tree.of(cables.parent, cables.levels, device, compiled)
    somata = torch.from_numpy(cables.soma).to(device)
    circuit = circuit_of(worm, current.dtype, device)
    parts = (part.movedim(0, -1) for part in expanded(state, current))
    staggered = CableIntegrator(worm.membrane, span, circuit, tree, somata, inputs).start(State(*parts))

    def run(current: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Voltages of a segment, and the state after it."""
        integrator = CableIntegrator(worm.membrane, span, Circuit(*tensors[: len(circuit)]), tree, somata, inputs)
        staggered = Staggered(*tensors[len(circuit) :])
        voltages = []
        for flowing in current.permute(1, 2, 0):
            for _ in range(substeps):
                staggered = integrator.step(staggered, flowing)
            voltages.append(staggered.voltage[record].T)
        return torch.stack(voltages, dim=1), *staggered

    small = len(current) * len(worm.neuron_name) ** 2 < SMALL
    return in_segments(run, small, current, circuit, staggered, segment or max(1, round((steps / substeps) ** 0.5)))
