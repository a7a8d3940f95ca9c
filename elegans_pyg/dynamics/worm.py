"""A nervous system to simulate: a wiring with conductances, and the membrane of its neurons."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg._arguments import check_choice, check_number, shown
from elegans_pyg._files import data_folder
from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.wiring_tables import build_data, read_edges, read_neurons
from elegans_pyg.dynamics.cables import Cables, Segments, cut, read_segments
from elegans_pyg.dynamics.membrane import MEMBRANES, Membrane
from elegans_pyg.wirings import CHEMICAL, ELECTRICAL, EXTRASYNAPTIC, as_wiring


class State(NamedTuple):
    """State of the equations between steps, for every neuron, ``(N,)``, or per stimulus, ``(S, N)``; if neurons have their shape, all
    but the activation is per compartment.

    Attributes:
        voltage_mV, activation: membrane potential, and activation of the synapses that the neuron makes, 0 to 1.
        gates, calcium_pM: open shares of the gates n, p, q, e, f, ``(5, N)`` or ``(S, 5, N)``, and calcium; empty without channels.
    """

    voltage_mV: Tensor
    activation: Tensor
    gates: Tensor
    calcium_pM: Tensor


class Worm:
    """A nervous system: the graph ``data``, whose neurons share the membrane model ``membrane``.

    ============ ======= =========================================================================================================
    name         neurons model
    ============ ======= =========================================================================================================
    c302-C1      302     OpenWorm's c302 (Gleeson et al. 2018, doi:10.1098/rstb.2017.0379), parameter set C1: leak, slow and fast
                         potassium and Boyle & Cohen (2008, doi:10.1016/j.biosystems.2008.05.025) calcium channels with a calcium pool,
                         graded synapses, gap junctions; its own wiring, without muscles
    c302-D1      302     c302's parameter set D1: the channels of C1, less dense, on the neurons' shapes; sigmoid synapses with rise and
                         decay, with a threshold for each sign; gap junctions. A connection counts once, however many synapses it has
    kunert       279     Kunert et al. 2014, doi:10.1103/PhysRevE.89.052805, and Kim et al. 2019, doi:10.3389/fncom.2019.00008
                         ("Neural Interactome"): leak, sigmoid synapses with rise and decay whose thresholds are the neurons' resting
                         potentials, gap junctions; wiring of Varshney et al. 2011
    ============ ======= =========================================================================================================

    The potential of neuron ``i`` follows (pF, nS, mV, pA, ms)::

        C dv_i/dt = g_leak (E_leak - v_i) + sum over channels g_c o_c (E_c - v_i)
                  + sum over chemical synapses j -> i of g_ij s_j (E_ij - v_i)
                  + sum over gap junctions i - j of g_ij (v_j - v_i) + I_i(t)

    with open shares ``o = n`` (slow K), ``p^4 q`` (fast K) and ``e^2 f (1 - alpha (1 - h(Ca)))`` (Ca), gates of fixed time constant
    ``dx/dt = (x_inf(v) - x) / tau_x``, ``dCa/dt = -b I_Ca - Ca / tau_Ca`` at no less than 0, and synapses as in
    :class:`~elegans_pyg.dynamics.membrane.Membrane`.

    Besides the attributes of every wiring (``edge_index``, ``edge_weight``, ``edge_type``, ``neuron_type``, ...), ``data`` holds constants
    per neuron and per edge. Any of these float64 tensors may be replaced, or may require a gradient:

    - ``conductance_nS (E,)``, ``reversal_mV (E,)`` (not used for gap junctions, and 0 there); a gap junction is listed in both
      directions, each with the whole conductance
    - ``capacitance_pF (N,)``, ``leak_nS (N,)``, ``threshold_mV (N,)``; ``channel_nS (N, 3)`` slow K, fast K, Ca, where there are channels
    - ``resistivity_ohm_cm (N,)`` if neurons have their shape; capacitance and conductances are then those of the whole neuron, spread
      evenly over its membrane

    With its shape, a neuron is a tree of compartments, each with its own potential, gates and calcium, between which axial currents flow.
    Synapses, gap junctions and injected currents reach the soma, as in c302; a name such as ``"PLML:17"`` stands for the compartment
    that holds the middle of c302's segment 17 of PLML, to inject into or to record.

    One compartment per section (2,041 in all) is **not converged in space**: sections are many length constants long, and voltages differ
    by up to 85 mV at the ends of AVB, by 37 mV at the soma of PLML and by 9 mV in root mean square from those at a ``d_lambda`` of 0.3
    (10,883 compartments of c302-D1). Those at 0.1 (29,143) differ from these by 0.15 mV in root mean square, and by 23 mV at the ends of
    AVB, where a spike comes earlier. See docs/the_worm_with_its_shape.md.

    Args:
        name: one of :meth:`names`.
        morphology: whether neurons have their shape; those of ``c302-D1`` always do, those of ``kunert`` never.
        compartments: ``"section"`` for one per section, or the length of the longest compartment as a share of the length constant at
            100 Hz, NEURON's ``d_lambda``.

    Raises:
        ValueError: for a name that is not one of :meth:`names`, ``morphology`` of a membrane without densities, or other ``compartments``.

    Example:
        >>> len(Worm("c302-C1").neuron_name)
        302
        >>> len(Worm("c302-D1").cables.area_um2)
        2041
    """

    def __init__(self, name: str = "c302-C1", morphology: bool = False, compartments: str | float = "section") -> None:
        check_choice("name", name, MEMBRANES, "other wirings: Worm.from_connectome")
        membrane = Membrane.load(name)
        if membrane.neurons is None:
            wiring = as_wiring(Connectome("varshney2011-hermaphrodite", synapses="both", keep_isolated=True)[0])
        else:
            neurons = read_neurons(data_folder("connectomes") / "neurons.csv")
            neurons = neurons[neurons["name"].isin(membrane.neurons)]
            edges = read_edges(data_folder("biophysics") / f"{name}.csv")
            wiring = build_data(neurons, edges, synapses="both", keep_isolated=True)
            wiring.inhibitory = torch.tensor([neuron in (membrane.inhibitory or ()) for neuron in wiring.neuron_name])
        self._set(wiring, membrane, morphology, compartments)

    def _set(self, wiring: Data, membrane: Membrane, morphology: bool, compartments: str | float) -> None:
        self.membrane, self.data = membrane, copy.copy(wiring)
        shaped = morphology or membrane.needs_shape
        if not shaped and compartments != "section":
            raise ValueError(f"compartments: expected none without morphology, got {compartments!r}; give morphology=True, or leave it out")
        self.compartments = self._checked(compartments) if shaped else None
        chemical = wiring.edge_type == CHEMICAL
        source, target = wiring.edge_index
        size = torch.ones(wiring.neuron_type.numel(), dtype=torch.float64)
        if self.compartments is not None and membrane.area_um2 is not None and membrane.resistivity_ohm_cm is not None:
            area, neuron = (torch.as_tensor(part) for part in (self.cables.area_um2, self.cables.neuron))
            size = torch.zeros_like(size).index_add_(0, neuron, area) / membrane.area_um2
            self.data.resistivity_ohm_cm = torch.full_like(size, membrane.resistivity_ohm_cm)
        signs = (membrane.excitatory, membrane.inhibitory_synapse)
        values = torch.tensor([(sign.conductance_nS, sign.reversal_mV) for sign in signs], dtype=torch.float64)
        each, reversal = values[wiring.inhibitory[source].long()].unbind(1)
        # A gap junction of a neuron with itself carries no current.
        between = (source != target).double() * membrane.gap_junction_nS
        self.data.conductance_nS = wiring.edge_weight.double() * torch.where(chemical, each, between)
        self.data.reversal_mV = torch.where(chemical, reversal, 0.0)
        self.data.capacitance_pF, self.data.leak_nS = size * membrane.capacitance_pF, size * membrane.leak_nS
        if membrane.channels is not None:
            self.data.channel_nS = size[:, None] * torch.tensor(membrane.channels.conductance_nS, dtype=torch.float64)
        thresholds = [sign.threshold_mV for sign in signs]
        if membrane.threshold_mV is None:
            self.data.threshold_mV = self._resting_mV()
        else:
            self.data.threshold_mV = torch.tensor(thresholds, dtype=torch.float64)[wiring.inhibitory.long()]

    def _checked(self, compartments: str | float) -> str | float:
        if self.membrane.area_um2 is None:
            raise ValueError(
                f"morphology: expected a membrane with densities, got {self.membrane.name}, whose neurons are points; leave it out"
            )
        return compartments if compartments == "section" else check_number("compartments", compartments, above=True)  # type: ignore[arg-type]

    @property
    def cables(self) -> Cables:
        """The compartments; raises ``ValueError`` if neurons do not have their shape."""
        if self.compartments is None:
            raise ValueError(f"cables: expected a worm whose neurons have their shape, got {self!r}; make it with morphology=True")
        return _cables(tuple(self.neuron_name), self.compartments, self.membrane)

    @property
    def segments(self) -> Segments:
        """The neurons' shapes; raises ``ValueError`` for neurons whose shape c302 does not have."""
        return read_segments(self.neuron_name)

    def rows(self, names: Iterable[str]) -> list[int]:
        """Positions of neurons, or, if they have their shape, of compartments; names as :meth:`resolve` returns them."""
        row = {name: number for number, name in enumerate(self.neuron_name)}
        pairs = [name.partition(":") for name in names]
        if self.compartments is None:
            return [row[neuron] for neuron, *_ in pairs]
        segments = self.segments
        wanted = [
            int(np.flatnonzero((segments.neuron == row[neuron]) & (segments.number == int(number or 0)))[0]) for neuron, _, number in pairs
        ]
        return self.cables.segment[wanted].tolist()

    @property
    def neuron_name(self) -> list[str]:
        """The neurons' names, in order."""
        return list(self.data.neuron_name)

    @classmethod
    def from_connectome(
        cls, data: Data, membrane: str = "c302-C1", morphology: bool = False, compartments: str | float = "section"
    ) -> Worm:
        """Give the neurons of any connectome, original or rewired, the membranes of a model.

        The conductance of a synapse is the model's times ``edge_weight``; a connectome loaded with ``synapses="both"`` has gap junctions
        too. Neurons that ``data.inhibitory`` marks make inhibitory synapses.

        ``data``, cyclic or not, is not changed; ``membrane`` is one of :meth:`names`; the rest is as for the class. Raises ``TypeError`` or
        ``ValueError`` if ``data`` is not the ``Data`` of one wiring or lacks a valid attribute, and for an unknown membrane.
        """
        data = as_wiring(data)
        if bool((data.edge_type == EXTRASYNAPTIC).any()):
            raise ValueError("data.edge_type: expected chemical and electrical synapses, got extrasynaptic ones; no membrane has them")
        number = data.neuron_type.numel()
        if (length := len(data.get("inhibitory", ()))) != number:
            raise ValueError(f"data.inhibitory: expected {number} entries, one per neuron, got {length}; load the wiring with Connectome")
        worm = cls.__new__(cls)
        # On a copy, because PyG moves a graph in place.
        worm._set(copy.copy(data).cpu(), Membrane.load(membrane), morphology, compartments)
        return worm

    @staticmethod
    def names() -> list[str]:
        """The models in the package."""
        return list(MEMBRANES)

    def without(self, neurons: Iterable[str]) -> Worm:
        """The same nervous system without some neurons and all their synapses; the rest keeps its constants and thresholds.

        A class stands for its members: ``"AVB"`` for AVBL and AVBR, ``"VD"`` for VD1 to VD13. Raises ``ValueError`` for an unknown name, or
        if no neuron is left.
        """
        gone = set(self.resolve(neurons, "ablate", classes=True))
        kept = torch.tensor([name not in gone for name in self.neuron_name])
        if not bool(kept.any()):
            raise ValueError("ablate: expected some neurons to be left, got all of them; name fewer")
        worm = copy.copy(self)
        worm.data = self.data.subgraph(kept)
        # PyG tells attributes of edges from those of nodes by length, and by "edge" in the name if there are as many edges as nodes.
        edges = kept[self.data.edge_index].all(0)
        for name in ("conductance_nS", "reversal_mV"):
            worm.data[name] = self.data[name][edges]
        return worm

    def scaled(self, excitatory: Tensor, inhibitory: Tensor, gap: Tensor, leak: Tensor) -> Worm:
        """The same nervous system with the conductances of its synapses, gap junctions and leaks multiplied by these factors, one number
        each, differentiable; thresholds that are resting potentials are computed again."""
        worm = copy.copy(self)
        data = worm.data = copy.copy(self.data)
        excites = data.reversal_mV == self.membrane.excitatory.reversal_mV
        chemical = torch.where(excites, excitatory, inhibitory)
        data.conductance_nS = data.conductance_nS * torch.where(data.edge_type == ELECTRICAL, gap, chemical)
        data.leak_nS = data.leak_nS * leak
        if self.membrane.threshold_mV is None:
            data.threshold_mV = worm._resting_mV()
        return worm

    def resolve(self, names: Iterable[str], argument: str, classes: bool = False) -> list[str]:
        """Check that these are neurons of this worm, each named once, and replace classes by their members if ``classes``. Raises
        ``ValueError`` otherwise, and ``TypeError`` for a string."""
        if isinstance(names, str):
            raise TypeError(f"{argument}: expected a list of neurons, got the string {names!r}; write [{names!r}]")
        known = self.neuron_name
        found: list[str] = []
        for name in names:
            if classes:
                members = [other for other in known if str(name) == other] or [other for other in known if _classes().get(other) == name]
            else:
                members = [str(name)] if self._has(str(name)) else []
            if not members:
                near = difflib.get_close_matches(str(name).upper(), known, n=4, cutoff=0.5)
                choices = f"nearest are {', '.join(near)}" if near else f"they are {', '.join(known[:4])}, ..."
                raise ValueError(f"{argument}: expected a neuron of this worm's {len(known)}, got {shown(name)}; {choices}")
            if twice := [member for member in members if member in found]:
                raise ValueError(f"{argument}: expected each neuron once, got '{twice[0]}' twice; name it once")
            found += members
        return found

    def _has(self, name: str) -> bool:
        """Whether this is a neuron, or, if they have their shape, a segment of one."""
        neuron, colon, number = name.partition(":")
        if not colon or neuron not in self.neuron_name or self.compartments is None:
            return name in self.neuron_name
        segments, row = self.segments, self.neuron_name.index(neuron)
        return number in map(str, segments.number[segments.neuron == row])

    def initial_state(self, dtype: torch.dtype = torch.float64) -> State:
        """The state in which a simulation starts; shapes as in :class:`State`.

        ``c302-C1`` and ``c302-D1``: every neuron at -45 mV, gates at their steady state, no calcium and no synaptic activation, as NEURON
        starts the exported network; it takes some hundreds of ms to settle.
        ``kunert``: the resting state, in which every synapse is at ``phi = 1/2``.
        """
        membrane, data, channels = self.membrane, self.data, self.membrane.channels
        empty = torch.empty(0, dtype=dtype)
        if membrane.initial_mV is None:
            activation = torch.full_like(data.threshold_mV, self._half_active(), dtype=dtype)
            return State(data.threshold_mV.to(dtype), activation, empty, empty)
        activation = torch.zeros(len(self.neuron_name), dtype=dtype)
        number = len(self.neuron_name) if self.compartments is None else len(self.cables.area_um2)
        voltage = torch.full((number,), membrane.initial_mV, dtype=dtype)
        if channels is None:
            return State(voltage, activation, empty, empty)
        midpoint, scale = (torch.tensor(table, dtype=dtype)[:, None] for table in (channels.midpoint_mV, channels.scale_mV))
        gates = torch.sigmoid((voltage - midpoint) / scale)
        return State(voltage, activation, gates, torch.full_like(voltage, channels.calcium_resting_pM))

    def _half_active(self) -> float:
        """Steady activation of sigmoid synapses at ``phi = 1/2``."""
        rise, decay = self.membrane.rates_per_ms
        return rise / (rise + 2 * decay)

    def _resting_mV(self) -> Tensor:
        """The potentials at which nothing changes if every synapse is at ``phi = 1/2``: the solution of one linear system."""
        data, half = self.data, self._half_active()
        source, target = data.edge_index
        electrical = data.edge_type == ELECTRICAL
        share = electrical.double() * (1 - half) + half
        total = data.leak_nS.index_add(0, target, data.conductance_nS * share)
        drive = data.leak_nS * self.membrane.leak_reversal_mV
        drive = drive.index_add(0, target, half * data.conductance_nS * data.reversal_mV)
        gaps = (target[electrical], source[electrical])
        matrix = torch.diag(total).index_put(gaps, -data.conductance_nS[electrical], accumulate=True)
        return torch.linalg.solve(matrix, drive)

    def __repr__(self) -> str:
        chemical = int((self.data.edge_type == CHEMICAL).sum())
        source, target = self.data.edge_index
        gaps = int(((self.data.edge_type == ELECTRICAL) & (source < target)).sum())
        shape = "" if self.compartments is None else f" of {len(self.cables.area_um2):,} compartments"
        return f"Worm({self.membrane.name}, {len(self.neuron_name)} neurons{shape}, {chemical} chemical synapses, {gaps} gap junctions)"


@lru_cache(maxsize=8)
def _cables(neurons: tuple[str, ...], compartments: str | float, membrane: Membrane) -> Cables:
    """Compartments, whose lengths depend on the model's resistivity and capacitance, not on a worm's own."""
    assert membrane.area_um2 is not None
    d_lambda = None if isinstance(compartments, str) else compartments
    # From pF per um2 to uF per cm2.
    return cut(read_segments(neurons), d_lambda, membrane.resistivity_ohm_cm or 0, 100 * membrane.capacitance_pF / membrane.area_um2)


@cache
def _classes() -> dict[str, str]:
    """Class of every neuron of either sex."""
    table = read_neurons(data_folder("connectomes") / "neurons.csv")
    return dict(zip(table["name"], table["class"], strict=True))
