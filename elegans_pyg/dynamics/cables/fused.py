"""The compiled integrator of cables: numbers nodes for the kernels, and splits stimuli among as many threads as PyTorch uses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._extras import require
from elegans_pyg._threads import share
from elegans_pyg.dynamics.cables.integrate import GAMMA, SECOND, CableIntegrator, circuit_of, kept_by, substeps_of
from elegans_pyg.dynamics.cables.segments import Ints
from elegans_pyg.dynamics.cables.trees import WIDEST, Tree, numbering
from elegans_pyg.dynamics.integrate import STEEPEST, expanded
from elegans_pyg.dynamics.worm import State, Worm


@torch.no_grad()
def integrate_cables_fused(
    worm: Worm, state: State, current: Tensor, inputs: Tensor, record: Tensor, dt_ms: float, repeats: int = 1
) -> Tensor:
    """The same as :func:`elegans_pyg.dynamics.cables.integrate.integrate_cables`, on the CPU and without gradients; ``ImportError``
    without Numba."""
    require("numba", "fast", "the fused backend")
    from elegans_pyg.dynamics.cables import kernels

    cables, membrane, device = worm.cables, worm.membrane, torch.device("cpu")
    channels: Any = membrane.channels
    result = current.new_empty(*current.shape[:2], record.numel())
    number = result.numpy().dtype.type
    substeps, somata = repeats * substeps_of(dt_ms), torch.from_numpy(cables.soma)
    span = dt_ms / substeps
    circuit = circuit_of(worm, current.dtype, device)
    tree = Tree.of(cables.parent, cables.levels, device)
    integrator = CableIntegrator(membrane, span, circuit, tree, somata, inputs)
    begun = integrator.start(State(*(part.movedim(0, -1) for part in expanded(state, current))))
    order, place, stretches = numbering(cables.parent, cables.levels, len(cables.area_um2))
    nodes, compartments = torch.from_numpy(order), torch.from_numpy(order[: len(cables.area_um2)])

    def table(*values: Any) -> Any:
        return np.ascontiguousarray(np.array([np.asarray(value).reshape(-1) for value in values], dtype=number))

    threshold = torch.cat([circuit.gap_sum, circuit.threshold, 1 / circuit.kinetics[2], circuit.kinetics[0], circuit.kinetics[1]], dim=1)
    kept = [kept_by(tau, span) for tau in channels.tau_ms]
    calcium = (channels.calcium_resting_pM, math.exp(-span / channels.calcium_decay_ms), channels.block_alpha, channels.block_half_pM)
    per_compartment = (circuit.capacitance / (GAMMA * span), circuit.leak, *circuit.channel, circuit.gain)
    starts: tuple[Tensor, ...] = (
        begun.voltage[nodes],
        begun.activation,
        begun.gates[:, compartments],
        begun.calcium[compartments],
        begun.gap_before,
    )
    starts += (begun.block_before[compartments], integrator.open_to_calcium(begun.calcium)[compartments])
    arguments = (
        number(span),
        substeps,
        membrane.kinetics == "graded",
        np.array([STEEPEST, SECOND, membrane.leak_reversal_mV], dtype=number),
        (circuit.axial[nodes].numpy(), stretches, len(cables.levels[0])),
        table(*(values[compartments] for values in per_compartment)),
        (
            table(channels.midpoint_mV, 1 / np.array(channels.scale_mV), kept),
            np.array(channels.reversal_mV, dtype=number),
            np.array([*calcium, 1 / channels.block_scale_pM], dtype=number),
        ),
        (place[cables.soma], np.ascontiguousarray(threshold.T.numpy())),
        tuple(_rows(weights) for weights in (*circuit.synapses.chunk(2), circuit.gaps)),
        tuple(part.contiguous().numpy() for part in starts),
        place[inputs.numpy()],
        place[record.numpy()],
        np.ascontiguousarray(current.detach().numpy()),
        result.numpy(),
    )
    share(kernels.integrate_stimuli, len(current), *arguments, largest=WIDEST)
    return result


def _rows(weights: Tensor) -> tuple[Ints, Ints, Any]:
    """Start of each row of a matrix among its non-zero entries, and the columns and values of these."""
    rows, columns = weights.nonzero(as_tuple=True)
    ptr = np.concatenate([[0], np.cumsum(np.bincount(rows.numpy(), minlength=len(weights)))])
    return ptr.astype(np.int64), columns.numpy(), weights[rows, columns].numpy()
