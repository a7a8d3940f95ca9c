"""Membrane models: the constants of ``data/biophysics``, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice
from elegans_pyg._files import data_folder

MEMBRANES = ("c302-C1", "c302-D1", "kunert")
# The kernels find these gates by position, so the order is fixed: n opens k_slow, p and q k_fast, e and f ca_boyle.
GATES = (("k_slow", "n", 1), ("k_fast", "p", 4), ("k_fast", "q", 1), ("ca_boyle", "e", 2), ("ca_boyle", "f", 1))
CHANNELS = ("k_slow", "k_fast", "ca_boyle")


@dataclass(frozen=True)
class Channels:
    """Voltage-gated channels and the calcium pool of one neuron; gates in the order of ``GATES``, channels in that of ``CHANNELS``."""

    conductance_nS: tuple[float, ...]
    reversal_mV: tuple[float, ...]
    tau_ms: tuple[float, ...]
    midpoint_mV: tuple[float, ...]
    scale_mV: tuple[float, ...]
    calcium_decay_ms: float
    calcium_resting_pM: float
    calcium_pM_per_pA_ms: float
    block_alpha: float
    block_half_pM: float
    block_scale_pM: float


@dataclass(frozen=True)
class Synapse:
    """A chemical synapse of one sign: conductance at full activation, reversal potential, and what drives it; see :class:`Membrane`."""

    conductance_nS: float
    reversal_mV: float
    threshold_mV: float | None
    delta_mV: float
    rates_per_ms: tuple[float, ...]


@dataclass(frozen=True)
class Membrane:
    """The constants that all neurons of a model share.

    There are two kinds of synapse. In both, one activation ``s`` belongs to the presynaptic neuron, with
    ``phi(v) = 1 / (1 + exp(-(v - threshold) / delta))``::

        graded    ds/dt = k (phi - s) / (1 - phi)                     (c302, NeuroML's gradedSynapse)
        sigmoid   ds/dt = a_r phi (1 - s) - a_d s                     (Kunert et al.)

    Attributes:
        name, channels: one of ``MEMBRANES``; the voltage-gated channels, ``None`` for a passive membrane.
        initial_mV: initial potential of every neuron; ``None`` for the network's own resting state.
        threshold_mV, delta_mV: of the synapses; a threshold of ``None`` is each neuron's resting potential.
        rates_per_ms: ``(k,)`` of graded synapses, ``(a_r, a_d)`` of sigmoid ones.
        excitatory, inhibitory_synapse: the synapses of each sign. They differ in more than conductance and reversal potential only if
            neurons have a shape; the three attributes above are those of the excitatory ones.
        area_um2: membrane area that capacitance, leak, channels and calcium are for; ``None`` if the model does not say.
        resistivity_ohm_cm: axial resistivity, if neurons have a shape. ``needs_shape``: whether the model exists with shapes only.
        inhibitory: neurons that the model makes inhibitory; ``None`` if the connectome decides.
        neurons: neurons of the model's own wiring; ``None`` if it has none.
    """

    name: str
    capacitance_pF: float
    leak_nS: float
    leak_reversal_mV: float
    initial_mV: float | None
    kinetics: str
    threshold_mV: float | None
    delta_mV: float
    rates_per_ms: tuple[float, ...]
    excitatory: Synapse
    inhibitory_synapse: Synapse
    gap_junction_nS: float
    channels: Channels | None
    inhibitory: tuple[str, ...] | None
    neurons: tuple[str, ...] | None
    area_um2: float | None
    resistivity_ohm_cm: float | None
    needs_shape: bool

    @classmethod
    def load(cls, name: str) -> Membrane:
        """Read a packaged model; raises ``ValueError`` for an unknown name."""
        check_choice("membrane", name, MEMBRANES)
        table = json.loads((data_folder("biophysics") / f"{name}.json").read_text())
        synapse, needs_shape = table["synapse"], table.get("needs_shape", False)
        excitatory, inhibitory = (_synapse(synapse, sign) for sign in ("excitatory", "inhibitory"))
        # In neurons without a shape both signs of synapse share one activation, so what drives it must be the same for both.
        for key in () if needs_shape else ("threshold_mV", "delta_mV", "rates_per_ms"):
            if getattr(excitatory, key) != getattr(inhibitory, key):
                got = f"{getattr(excitatory, key)} and {getattr(inhibitory, key)}"
                raise ValueError(f"synapse.{key}: expected one value for both signs, got {got}")
        return cls(
            name=name,
            capacitance_pF=table["capacitance_pF"],
            leak_nS=table["leak"]["conductance_nS"],
            leak_reversal_mV=table["leak"]["reversal_mV"],
            initial_mV=table.get("initial_mV"),
            kinetics=synapse["kinetics"],
            threshold_mV=excitatory.threshold_mV,
            delta_mV=excitatory.delta_mV,
            rates_per_ms=excitatory.rates_per_ms,
            excitatory=excitatory,
            inhibitory_synapse=inhibitory,
            gap_junction_nS=table["gap_junction_nS"],
            channels=_channels(table["channels"], table["calcium"]) if "channels" in table else None,
            inhibitory=tuple(table["inhibitory"]) if "inhibitory" in table else None,
            neurons=tuple(table["neurons"]) if "neurons" in table else None,
            area_um2=table.get("area_um2"),
            resistivity_ohm_cm=table.get("resistivity_ohm_cm"),
            needs_shape=needs_shape,
        )

    def kinetics_of(self, inhibitory: Tensor) -> Tensor:
        """Both rates (the second 0 for graded synapses) and delta of the synapses that neurons make, ``(3, N)``, by their sign ``(N,)``."""
        signs = [[*(*sign.rates_per_ms, 0.0)[:2], sign.delta_mV] for sign in (self.excitatory, self.inhibitory_synapse)]
        return torch.tensor(signs, dtype=torch.float64).T[:, inhibitory.long()]


def _synapse(table: dict[str, Any], sign: str) -> Synapse:
    own = table | table[sign]
    rates = ("rate_per_ms",) if table["kinetics"] == "graded" else ("rise_per_ms", "decay_per_ms")
    threshold, driven = own.get("threshold_mV"), tuple(own[rate] for rate in rates)
    return Synapse(own["conductance_nS"], own["reversal_mV"], threshold, own["delta_mV"], driven)


def _channels(channels: dict[str, Any], calcium: dict[str, Any]) -> Channels:
    found = {(channel, gate, entry["power"]) for channel, parts in channels.items() for gate, entry in parts["gates"].items()}
    if found != set(GATES):
        raise ValueError(f"channels: expected the gates and powers {sorted(GATES)}, got {sorted(found)}")
    gates = [channels[channel]["gates"][gate] for channel, gate, _ in GATES]
    block = calcium.pop("block")
    constants: dict[str, Any] = {f"calcium_{key}": value for key, value in calcium.items()}
    constants |= {f"block_{key}": value for key, value in block.items()}
    constants |= {key: tuple(channels[name][key] for name in CHANNELS) for key in ("conductance_nS", "reversal_mV")}
    constants |= {key: tuple(gate[key] for gate in gates) for key in ("tau_ms", "midpoint_mV", "scale_mV")}
    return Channels(**constants)
