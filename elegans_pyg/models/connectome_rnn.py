"""Trainable recurrent networks wired by connectomes, including their cycles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.rnn import pad_sequence
from torch_geometric.data import Batch, Data
from torch_geometric.utils import cumsum, scatter

from elegans_pyg._arguments import check_choice, check_number, check_whole, shown
from elegans_pyg.nn.recurrent import LeakyWalk
from elegans_pyg.nn.recurrent.sharing import SHARES, Synapses, edge_signs, synapses
from elegans_pyg.nn.recurrent.steady import find_rest, jacobian
from elegans_pyg.nn.variants import VariantNetwork, generators, uniform
from elegans_pyg.wirings import MOTOR, SENSORY, Graphs, as_batch, as_wiring


class Coefficients(NamedTuple):
    """Coefficients of the equation, computed from the parameters.

    Weights ``(E,)`` of the directed synapses, conductances ``(P,)`` of the gap junctions, and each neuron's time constant and bias
    ``(N,)``.
    """

    weight: Tensor
    gap: Tensor
    tau: Tensor
    bias: Tensor


class ConnectomeRNN(VariantNetwork):
    r"""``V`` independent networks of leaky units, one per wiring, trained side by side.

    .. math::
        \tau_i \frac{dv_i}{dt} = -v_i + \sum_{j \to i} w_{ij}\, \phi(v_j) + \sum_j g_{ij} (v_j - v_i) + b_i + u_i,
        \qquad u_i = \sum_f p_{if}\, x_f

    The neurons and synapses are those of a connectome, and the unknown constants are learned, as for the fly's visual system in Lappalainen
    et al. (2024), doi:10.1038/s41586-024-07939-3. Nulls are degree-preserving wirings with the same ``seeds``, after Dhiman (2026),
    arXiv:2604.04033. Time steps ``dt`` are exponential Euler: first order, and stable for any ``dt`` if :math:`\phi` is bounded. With
    :math:`G_i = 1 + \sum_j g_{ij}` and :math:`k_i = e^{-G_i\, dt / \tau_i}`,

    .. math::
        v_i \leftarrow k_i v_i + \frac{1 - k_i}{G_i} \Big( \sum_{j \to i} w_{ij}\, \phi(v_j) + \sum_j g_{ij} v_j + b_i + u_i \Big)

    Weights are :math:`w_e = s_e\, n_e \operatorname{softplus}(\theta_e)` where the sign :math:`s_e` is known and
    :math:`n_e \theta_e` where it is not; conductances are :math:`g_{ij} = g_{ji} = n_{ij} \operatorname{softplus}(\theta_{ij})`, and
    :math:`\tau = e^{\theta}`. The strengths :math:`n`, scaled so that a neuron receives 1 in total on average, are not trained.

    Args:
        batch: a wiring, or a ``Batch``, data set or list of wirings. Extrasynaptic edges (``edge_type`` 2) count as synapses of unknown
            sign; a gap junction (``edge_type`` 1) given in one direction conducts in both.
        inputs: ``F``, the number of features, which all sensory neurons receive by trained weights; or names of neurons, each of which
            receives one feature unweighted.
        outputs: ``O``, the number of outputs of a linear readout; or names of neurons whose voltages are the outputs.
        share: what has parameters of its own: ``"edge"`` (each synapse, gap junction and neuron), ``"class"`` (each neuron class, by
            :func:`~elegans_pyg.nn.recurrent.sharing.neuron_classes`), ``"type"`` (each neuron type) or ``"global"``. A weight is shared by
            the synapses of one sign that come from one class; a gap junction between two classes has the mean of their conductances.
        counts: strengths are ``edge_weight``, the numbers of synapses; else all are equal.
        dale: synapses keep the sign of ``edge_sign``, where 0 means unknown, or else of ``inhibitory``; if false, every sign is learned.
        activation: :math:`\phi`, ``"tanh"``, ``"sigmoid"`` or ``"relu"``.
        dt, tau: time step, and initial time constant of every neuron, in the same unit.
        gain: initial weights and conductances in units of the strengths: uniform within ± 50 % of this, or between ± this if the sign is
            unknown.
        readout: which neurons a linear readout reads: ``"motor"`` or ``"all"``.
        last: return only the outputs of the last step, such as the logits of each sequence.
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``; a variant's initial parameters depend only on its own seed.
        backend: ``"reference"`` (plain PyTorch, any device), ``"fused"`` (Numba, CPU; first derivatives), or ``"auto"``: fused where it can
            run.

    Shapes:
        - **input:** ``(B, T, F)``, the same for every variant, or ``(V, B, T, F)``
        - **state:** voltages ``(B, N)`` of the ``N`` neurons of all variants; zeros by default
        - **output:** ``(V, B, T, O)``, or ``(V, B, O)`` with ``last``
        - **parameters:** ``weight``, ``gap``, ``log_tau`` and ``bias``, one number per group given by ``share``;
          ``input_weight (K,)``, ``readout_weight (R, O)`` and ``readout_bias (V, O)`` where features and outputs are numbers; see
          :meth:`variant_ptr`

    Raises:
        TypeError: if ``batch`` is none of these, or an argument has the wrong type.
        ValueError: for wirings without signs under ``dale``, or without the neurons that are named or read; an argument out of range;
            inputs or states of another shape.

    Example:
        >>> herm = Connectome("cook2019-hermaphrodite")[0]
        >>> ConnectomeRNN(herm, inputs=["ASEL", "ASER"], outputs=["AIYL"])(torch.rand(4, 100, 2)).shape
        torch.Size([1, 4, 100, 1])
    """

    node_ptr: Tensor
    edge_index: Tensor
    gap_index: Tensor
    weight: Tensor
    gap: Tensor
    log_tau: Tensor
    bias: Tensor
    input_weight: Tensor
    readout_weight: Tensor
    readout_bias: Tensor
    _owner: Tensor
    _group: Tensor
    _gap_group: Tensor
    _sign: Tensor
    _strength: Tensor
    _gap_strength: Tensor
    _place: Tensor

    def __init__(
        self,
        batch: Graphs,
        inputs: int | Sequence[str] = 1,
        outputs: int | Sequence[str] = 1,
        *,
        share: str = "edge",
        counts: bool = True,
        dale: bool = True,
        activation: str = "tanh",
        dt: float = 0.5,
        tau: float = 1.0,
        gain: float = 0.5,
        readout: str = "motor",
        last: bool = False,
        seeds: int | Sequence[int] = 0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_choice("share", share, SHARES)
        check_choice("readout", readout, ("motor", "all"))
        self.dt, self.last = check_number("dt", dt, above=True), last
        tau, gain = check_number("tau", tau, above=True), check_number("gain", gain, above=True)
        batch = as_batch(batch)
        graphs: list[Data] = batch.to_data_list() if isinstance(batch, Batch) else [batch]
        wirings = [as_wiring(graph, "batch") for graph in graphs]
        wired = [synapses(own, share, counts, edge_signs(graph) if dale else None) for own, graph in zip(wirings, graphs, strict=True)]
        self.num_variants, self._rows = len(graphs), dict[str, list[int]]()
        self.node_ptr = nn.Buffer(cumsum(torch.tensor([len(own.owner) for own in wired])), persistent=False)
        self._join(wired)
        entered, read = self._neurons("inputs", inputs, wirings, "sensory"), self._neurons("outputs", outputs, wirings, readout)
        self.in_features, self.out_features = (count if isinstance(count, int) else len(count) for count in (inputs, outputs))
        each = self.in_features if isinstance(inputs, int) else 1
        input_node = torch.cat(entered).repeat_interleave(each)
        feature = torch.arange(self.in_features).repeat(len(input_node) // self.in_features)
        if isinstance(inputs, int):
            self._rows["input_weight"] = [each * len(own) for own in entered]
        if isinstance(outputs, int):
            self._rows |= {"readout_weight": [len(own) for own in read], "readout_bias": [1] * len(read)}
        (a, b), nodes = self.gap_index, int(self.node_ptr[-1])
        source, target = torch.cat([self.edge_index[0], nodes + a, nodes + b]), torch.cat([self.edge_index[1], b, a])
        self.walk = LeakyWalk(self.node_ptr, source, target, input_node, feature, torch.cat(read), activation, backend)
        self._draw(seeds, gain, tau)

    def _join(self, wired: Sequence[Synapses]) -> None:
        """Join the tables of all variants, and count the parameters of each."""
        dtype = torch.get_default_dtype()
        for name, groups in (("weight", "group"), ("gap", "gap_group"), ("log_tau", "owner"), ("bias", "owner")):
            self._rows[name] = [int(getattr(own, groups).max()) + 1 if getattr(own, groups).numel() else 0 for own in wired]

        def joined(name: str, counts: Sequence[int]) -> Tensor:
            firsts = cumsum(torch.tensor(counts)).tolist()
            return torch.cat([getattr(own, name) + first for own, first in zip(wired, firsts, strict=False)], dim=-1)

        sizes = self.node_ptr.diff().tolist()
        tables = {"edge_index": joined("chemical", sizes), "gap_index": joined("gap", sizes), "_owner": joined("owner", self._rows["bias"])}
        tables |= {"_group": joined("group", self._rows["weight"]), "_gap_group": joined("gap_group", self._rows["gap"])}
        for name in ("sign", "strength", "gap_strength"):
            tables[f"_{name}"] = torch.cat([getattr(own, name) for own in wired]).to(dtype)
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def _neurons(self, argument: str, wanted: int | Sequence[str], wirings: Sequence[Data], role: str) -> list[Tensor]:
        """Return the input or output nodes of each variant: those of a role, or those with the ``wanted`` names, in that order."""
        if isinstance(wanted, str):
            raise TypeError(f"{argument}: expected a number or a list of names, got the string {wanted!r}; write [{wanted!r}]")
        check_whole(argument, wanted if isinstance(wanted, int) else len(wanted), 1)
        chosen = []
        for variant, (wiring, first) in enumerate(zip(wirings, self.node_ptr.tolist(), strict=False)):
            if isinstance(wanted, int):
                kinds = wiring.neuron_type.cpu()
                found = ((kinds == {"sensory": SENSORY, "motor": MOTOR}[role]) if role != "all" else kinds >= 0).nonzero().flatten()
                problem = "" if len(found) else f"expected {role} neurons in every wiring, got none"
            else:
                place = {name: position for position, name in enumerate(wiring.neuron_name)}
                missing = [name for name in wanted if name not in place]
                found = torch.tensor([place.get(name, 0) for name in wanted])
                problem = f"expected names of neurons of every wiring, got {shown(missing)}, which are not" if missing else ""
            if problem:
                raise ValueError(f"{argument}: {problem} in variant {variant}; name others, or see its neuron_name and neuron_type")
            chosen.append(first + found)
        return chosen

    def _draw(self, seeds: int | Sequence[int], gain: float, tau: float) -> None:
        """Draw the initial parameters, each kind from its own stream of random numbers."""
        rows = self._rows

        def drawn(stream: int, name: str, *shape: int) -> Tensor:
            own = generators(seeds, self.num_variants, (0x4EC0 + stream) << 32)
            return uniform(own, shape, 1, rows[name], torch.float64)

        # Positive weights are the softplus of the parameter.
        weight, gap = drawn(0, "weight"), torch.log(torch.expm1(gain * (1 + drawn(1, "gap") / 2)))
        signed = torch.zeros(len(weight), dtype=torch.bool).index_fill_(0, self._group[self._sign != 0], True)
        weight = torch.where(signed, torch.log(torch.expm1(gain * (1 + weight / 2))), gain * weight)
        log_tau, bias = torch.full((sum(rows["log_tau"]),), math.log(tau)), torch.zeros(sum(rows["bias"]))
        parameters = {"weight": weight, "gap": gap, "log_tau": log_tau, "bias": bias}
        if "input_weight" in rows:
            parameters["input_weight"] = drawn(2, "input_weight") / self.in_features**0.5
        else:
            self.register_buffer("input_weight", torch.ones(len(self.walk.input_node)), persistent=False)
        if "readout_weight" in rows:
            reads = torch.tensor(rows["readout_weight"])
            parameters["readout_weight"] = drawn(3, "readout_weight", self.out_features) / reads.repeat_interleave(reads)[:, None] ** 0.5
            parameters["readout_bias"] = torch.zeros(self.num_variants, self.out_features)
            place = pad_sequence(torch.arange(len(self.walk.read_node)).split(reads.tolist()), batch_first=True, padding_value=-1)
            self.register_buffer("_place", place, persistent=False)
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.to(torch.get_default_dtype())))

    def variant_ptr(self) -> dict[str, list[int]]:
        return {name: cumsum(torch.tensor(counts)).tolist() for name, counts in self._rows.items()}

    def coefficients(self) -> Coefficients:
        """Return the coefficients of the equation; synapses in the order of ``edge_index (2, E)`` and ``gap_index (2, P)``."""
        raw = self.weight[self._group]
        weight = self._strength * torch.where(self._sign == 0, raw, self._sign * softplus(raw))
        gap = self._gap_strength * softplus(self.gap)[self._gap_group].mean(0)
        return Coefficients(weight, gap, self.log_tau.exp()[self._owner], self.bias[self._owner])

    def forward(self, x: Tensor, trained: int | None = None) -> Tensor:
        """Compute outputs ``(V, B, T, O)``; gradients are those of the first ``trained`` sequences, by default all."""
        if trained is None or trained == x.size(-3):
            return self.run(x)[0]
        out = self.run(x[..., :trained, :, :])[0]
        with torch.no_grad():
            rest = self.run(x[..., trained:, :, :])[0]
        return torch.cat([out, rest], dim=1)

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs of :meth:`forward`, and the voltages ``(B, N)`` of all neurons after the last step, from which to continue."""
        x, nodes = self._checked(x), len(self._owner)
        state = x.new_zeros(x.size(1), nodes) if state is None else self._checked_state(state, x.size(1))
        own = self.coefficients()
        rate = self._rate(own.gap)
        keep = torch.exp(-self.dt * rate / own.tau)
        pull = (1 - keep) / rate
        weight = torch.cat([own.weight, own.gap, own.gap]) * pull[self.walk.target]
        read, last = self.walk(keep, weight, self.input_weight * pull[self.walk.input_node], own.bias * pull, x, state.T)
        return self._read(read[-1:])[:, :, 0] if self.last else self._read(read), last.T

    def steady_state(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        r"""Find all variants' steady voltages ``(B, N)`` under constant inputs ``(B, F)`` or ``(V, B, F)``; differentiable once.

        Newton's method starts from ``state (B, N)``, by default zeros. There may be several steady states, and some may be unstable. It
        solves one linear system per variant and input, all at once: their matrices are ``V B n^2`` numbers, of the largest ``n`` neurons.

        Raises:
            ValueError: if Newton's method does not converge.
        """
        x = self._checked(x[..., None, :])
        start = x.new_zeros(x.size(1), len(self._owner)) if state is None else self._checked_state(state, x.size(1))
        variant = self.walk.input_variant if len(x) > 1 else torch.zeros_like(self.walk.input_variant)
        entering = self.input_weight[:, None] * x[variant, :, 0, self.walk.input_feature]
        drive = (scatter(entering, self.walk.input_node, dim=0, dim_size=len(self._owner)) + self.coefficients().bias[:, None]).T
        rest, converged = find_rest(*self._matrices(), self._padded(drive), self.walk.activation, self._padded(start))
        if not bool(converged.all()):
            number, remedy = int((~converged).nonzero()[0, 0]), "start from another state, such as the last state of a long run"
            raise ValueError(f"state: expected a start from which Newton's method converges, got none for variant {number}; {remedy}")
        return rest.transpose(0, 1)[:, self._real()]

    def linear_response(self, state: Tensor | None = None) -> list[Tensor]:
        r"""Compute the steady responses ``[i, j]`` of neuron ``i`` to a small constant current into neuron ``j``, ``(n, n)`` per variant:

        .. math:: \big(\operatorname{diag}(G) - g - W \operatorname{diag}(\phi'(v))\big)^{-1}

        around voltages ``state (1, N)``, by default the steady state without input. The result is differentiable.
        """
        if state is None:
            state = self.steady_state(self.bias.new_zeros(1, self.in_features))
        matrix = jacobian(*self._matrices(), self._padded(self._checked_state(state, 1))[:, 0], self.walk.activation)
        responses = torch.linalg.solve(matrix, torch.eye(matrix.size(-1)).to(matrix).expand_as(matrix))
        return [response[:size, :size] for response, size in zip(responses, self._sizes(), strict=True)]

    def extra_repr(self) -> str:
        nodes, chemical, gaps = len(self._owner), self.edge_index.size(1), self.gap_index.size(1)
        return f"{self.in_features} -> {self.out_features}, variants={self.num_variants}, {nodes=}, {chemical=}, {gaps=}"

    def _rate(self, gap: Tensor) -> Tensor:
        """:math:`G (N,)`."""
        return 1 + scatter(torch.cat([gap, gap]), self.gap_index.flatten(), dim_size=len(self._owner))

    def _sizes(self) -> list[int]:
        return self.node_ptr.diff().tolist()

    def _real(self) -> Tensor:
        """Which places of the padded form are neurons, ``(V, n)``."""
        sizes = self.node_ptr.diff()
        return torch.arange(int(sizes.max()), device=sizes.device) < sizes[:, None]

    def _padded(self, values: Tensor, empty: float = 0.0) -> Tensor:
        """Values of all neurons, ``(B, N)``, by variant: ``(V, B, n)``, filled up to the ``n`` of the largest."""
        return pad_sequence(values.T.split(self._sizes()), batch_first=True, padding_value=empty).transpose(1, 2)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """Return the weights :math:`W` and the leak ``diag(G) - g`` of all variants, ``(V, n, n)``, target by source; neurons that fill up
        a variant are unconnected and have a leak of 1."""
        own, (a, b), real = self.coefficients(), self.gap_index, self._real()
        variants, size = real.shape
        row, column = real.nonzero().T
        place = row * size + column

        def dense(edges: Tensor, values: Tensor) -> Tensor:
            entries = place[edges[1]] * size + column[edges[0]]
            return values.new_zeros(variants * size * size).index_add(0, entries, values).view(variants, size, size)

        leak = torch.diag_embed(self._padded(self._rate(own.gap)[None], empty=1.0)[:, 0])
        gaps = torch.stack([torch.cat([a, b]), torch.cat([b, a])])
        return dense(self.edge_index, own.weight), leak - dense(gaps, torch.cat([own.gap, own.gap]))

    def _read(self, read: Tensor) -> Tensor:
        """Compute outputs ``(V, B, T, O)`` from voltages ``(T, R, B)``."""
        if "readout_weight" not in self._rows:
            return read.unflatten(1, (self.num_variants, -1)).permute(1, 3, 0, 2)
        # Variants that read fewer neurons are padded with zeros; others' voltages at weight zero could be NaN.
        weight = pad_sequence(self.readout_weight.split(self._rows["readout_weight"]), batch_first=True)
        if read.size(1) < self._place.numel():
            place = self._place.flatten()
            read = read.index_select(1, place.clamp(min=0)).masked_fill_((place < 0)[:, None], 0.0)
        # The layout of the fused walk, so that neither the voltages nor their gradients are copied.
        voltages = read.transpose(0, 1).reshape(*self._place.shape, -1)
        read_out = (weight.transpose(1, 2) @ voltages).unflatten(2, (len(read), -1))
        return read_out.permute(0, 3, 2, 1) + self.readout_bias[:, None, None]

    def _checked(self, x: Tensor) -> Tensor:
        """Inputs as ``(V or 1, B, T, F)``."""
        shape = tuple(x.shape)
        x = x[None] if x.dim() == 3 else x
        if x.dim() != 4 or x.size(-1) != self.in_features or x.size(0) not in (1, self.num_variants) or 0 in shape:
            expected = f"(B, T, {self.in_features}) or ({self.num_variants}, B, T, {self.in_features})"
            raise ValueError(f"x: expected {expected}, got {shape}; give one column per feature")
        return x.to(self.bias)

    def _checked_state(self, state: Tensor, sequences: int) -> Tensor:
        if state.shape != (sequences, len(self._owner)):
            expected = f"({sequences}, {len(self._owner)})"
            raise ValueError(f"state: expected voltages {expected}, got {tuple(state.shape)}; take them from run()")
        return state.to(self.bias)
