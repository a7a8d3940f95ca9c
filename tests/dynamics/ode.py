"""The equations of both models as one right-hand side for SciPy's solvers, written from the data files alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse import bmat, csr_matrix, eye
from torch_geometric.data import Data

FOLDER = Path(__file__).parent.parent.parent / "data" / "biophysics"


def phi(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Network:
    """``edge_weight`` counts of synapses, and everything else from the model's JSON file."""

    def __init__(self, model: str, data: Data) -> None:
        self.table: dict[str, Any] = json.loads((FOLDER / f"{model}.json").read_text())
        self.number = data.neuron_type.numel()
        synapse = self.table["synapse"]
        shape = (self.number, self.number)
        self.synapse_nS, self.synapse_mV, self.gap_nS = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for (pre, post), weight, kind in zip(data.edge_index.T.tolist(), data.edge_weight.tolist(), data.edge_type.tolist(), strict=True):
            if kind == 1:
                self.gap_nS[post, pre] += weight * self.table["gap_junction_nS"]
                continue
            sign = synapse["inhibitory" if data.inhibitory[pre] else "excitatory"]
            self.synapse_nS[post, pre] += weight * sign["conductance_nS"]
            self.synapse_mV[post, pre] = sign["reversal_mV"]
        self.synapse = synapse
        self.gates = [gate for channel in self.table.get("channels", {}).values() for gate in channel["gates"].values()]

    def voltage_rate(self, v: np.ndarray, s: np.ndarray, others: np.ndarray, current: np.ndarray) -> np.ndarray:
        out = self.table["leak"]["conductance_nS"] * (self.table["leak"]["reversal_mV"] - v) + current
        out += (self.synapse_nS * s * (self.synapse_mV - v[:, None])).sum(1)
        out += (self.gap_nS * (v[None, :] - v[:, None])).sum(1)
        if self.gates:
            n, p, q = others[:3]
            channels = self.table["channels"]
            out += channels["k_slow"]["conductance_nS"] * n * (channels["k_slow"]["reversal_mV"] - v)
            out += channels["k_fast"]["conductance_nS"] * p**4 * q * (channels["k_fast"]["reversal_mV"] - v)
            out -= self.calcium_current(v, others)
        return out / self.table["capacitance_pF"]

    def calcium_current(self, v: np.ndarray, others: np.ndarray) -> np.ndarray:
        _, _, _, e, f, calcium = others
        block = self.table["calcium"]["block"]
        h = phi((calcium - block["half_pM"]) / block["scale_pM"])
        channel = self.table["channels"]["ca_boyle"]
        return channel["conductance_nS"] * e**2 * f * (1 + (h - 1) * block["alpha"]) * (v - channel["reversal_mV"])

    def rate(self, y: np.ndarray, current: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        v, s, *rest = y.reshape(-1, self.number)
        others = np.array(rest)
        out = [self.voltage_rate(v, s, others, current)]
        sign = self.synapse["excitatory"]
        opened = phi((v - threshold) / sign["delta_mV"])
        if self.synapse["kinetics"] == "graded":
            out.append(sign["rate_per_ms"] * (opened - s) / (1 - opened))
        else:
            out.append(self.synapse["rise_per_ms"] * opened * (1 - s) - self.synapse["decay_per_ms"] * s)
        if self.gates:
            for gate, x in zip(self.gates, others[:5], strict=True):
                out.append((phi((v - gate["midpoint_mV"]) / gate["scale_mV"]) - x) / gate["tau_ms"])
            calcium = self.table["calcium"]
            out.append(-calcium["pM_per_pA_ms"] * self.calcium_current(v, others) - others[5] / calcium["decay_ms"])
        return np.concatenate(out)

    def start(self, voltage: np.ndarray | None = None) -> np.ndarray:
        """c302's start: steady gates, no calcium, no activation."""
        v = np.full(self.number, self.table["initial_mV"]) if voltage is None else voltage
        parts = [v, np.zeros(self.number)]
        if self.gates:
            parts += [phi((v - gate["midpoint_mV"]) / gate["scale_mV"]) for gate in self.gates] + [np.zeros(self.number)]
        return np.concatenate(parts)

    def sparsity(self) -> csr_matrix:
        """Which rates depend on which parts of the state."""
        one, kinds = eye(self.number), 2 + len(self.gates) + bool(self.gates)
        blocks = [[one if row == column or column == 0 else None for column in range(kinds)] for row in range(kinds)]
        blocks[0] = [csr_matrix(eye(self.number) + (self.gap_nS > 0)), csr_matrix(self.synapse_nS > 0), *[one] * (kinds - 2)]
        if self.gates:
            blocks[kinds - 1] = [one, None, None, None, None, one, one, one]
        return bmat(blocks, format="csr")


def solve(
    network: Network,
    y: np.ndarray,
    current: Callable[[float], np.ndarray],
    edges_ms: list[float],
    threshold: np.ndarray | float,
    method: str,
    tolerance: float,
    dt_ms: float,
) -> np.ndarray:
    """Voltages at every ``dt_ms``, ``(T, N)``: the solver starts anew at each of ``edges_ms``, between which ``current`` is smooth."""
    threshold = np.broadcast_to(threshold, (network.number,))
    options: dict[str, Any] = {"jac_sparsity": network.sparsity()} if method == "BDF" else {}
    parts = []
    for begin, end in itertools.pairwise(edges_ms):
        times = np.arange(round(begin / dt_ms) + 1, round(end / dt_ms) + 1) * dt_ms
        middle = current((begin + end) / 2)
        result = solve_ivp(
            lambda _, y, i=middle: network.rate(y, i, threshold),
            (begin, end),
            y,
            method=method,
            t_eval=np.minimum(times, end),
            rtol=tolerance,
            atol=tolerance,
            **options,
        )
        assert result.success, result.message
        parts.append(result.y[: network.number].T)
        y = result.y[:, -1]
    return np.concatenate(parts)
