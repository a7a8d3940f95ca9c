"""Small recurrent networks as models of the whole nervous system: voltages of a few neurons from currents into a few others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from elegans_pyg._arguments import check_choice
from elegans_pyg._files import read_bounded, sha256, write_atomic
from elegans_pyg.nn.recurrent import BACKENDS, CELLS, GATES, choose_backend, recurrent
from elegans_pyg.nn.variants import VariantNetwork, resolve_seeds

_FORMAT = 1


class ReducedOrder(VariantNetwork):
    r"""``R`` independent replicas of one recurrent layer with a linear readout, trained side by side.

    The reduced-order models of Barbulescu et al. (2023), doi:10.1038/s41598-022-25421-w. With :math:`x_t` the inputs and
    :math:`[\,\cdot\,;\cdot\,]` concatenation:

    .. math::
        \text{rnn:} \quad & h_t = \tanh(W [x_t; h_{t-1}] + b) \\
        \text{lstm:} \quad & i, f, o = \sigma(W_{i,f,o} [x_t; h_{t-1}] + b_{i,f,o}), \quad
            c_t = f \circ c_{t-1} + i \circ \tanh(W_c [x_t; h_{t-1}] + b_c), \quad h_t = o \circ \tanh(c_t) \\
        \text{gru:} \quad & z, r = \sigma(W_{z,r} [x_t; h_{t-1}] + b_{z,r}), \quad
            h_t = z \circ h_{t-1} + (1 - z) \circ \tanh(W_h [x_t; r \circ h_{t-1}] + b_h) \\
        & y_t = C h_t + d

    from :math:`h_0 = c_0 = 0`. Each gate has one bias, and the GRU resets the state before the product, as in Cho et al. (2014): only this
    gives the published numbers of parameters. (:class:`torch.nn.GRU` has two biases and resets after the product.) Parameters are
    initialised as in Keras, which the authors used: Glorot-uniform input and readout weights, orthogonal recurrent weights over all gates,
    biases 0, and 1 for an LSTM's forget gate.

    Args:
        cell: ``"rnn"``, ``"lstm"`` or ``"gru"``.
        inputs: number ``I`` of neurons that receive a current, or their names.
        outputs: number ``O`` of neurons whose voltage is predicted, or their names.
        hidden: number of units of the recurrent layer, ``H``.
        replicas: number of replicas, ``R``.
        seeds: one seed per replica, or an integer ``s`` for ``s, s + 1, ...``. A replica's initial parameters depend only on its own seed.
        backend: ``"reference"`` (plain PyTorch, any device), ``"fused"`` (Numba, CPU: each replica in one walk), or ``"auto"``: fused
            where it can run.

    Shapes:
        - **input:** ``(S, T, I)``, scaled currents, the same for all replicas
        - **output:** ``(R, S, T, O)``, scaled voltages
        - **parameters:** ``weight (R, G H, I + H)``, ``bias (R, G H)``, ``readout (R, O, H)``, ``offset (R, O)`` with ``G`` = 1, 4, 3 gates
        - **buffers:** ``input_scale (I,)`` in pA, ``output_scale (O,)`` and ``output_zero (O,)`` in mV, see :meth:`predict_mV`

    Raises:
        ValueError: for an unknown cell or backend, ``backend="fused"`` where it does not apply, sizes below 1, a number of seeds other
            than ``R``, or inputs of another shape.
    """

    def __init__(
        self,
        cell: str = "gru",
        inputs: int | Sequence[str] = 4,
        outputs: int | Sequence[str] = 4,
        hidden: int = 4,
        replicas: int = 1,
        seeds: int | Sequence[int] = 0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {cell!r}; choose one of them")
        self.backend = check_choice("backend", backend, BACKENDS)
        for name, neurons in (("inputs", inputs), ("outputs", outputs)):
            if isinstance(neurons, str):
                raise TypeError(f"{name}: expected a number or a list of names, got the string {neurons!r}; write [{neurons!r}]")
        self.input_names = [f"input {k}" for k in range(inputs)] if isinstance(inputs, int) else list(inputs)
        self.output_names = [f"output {k}" for k in range(outputs)] if isinstance(outputs, int) else list(outputs)
        sizes = {"inputs": len(self.input_names), "outputs": len(self.output_names), "hidden": hidden, "replicas": replicas}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}: expected 1 or more, got {size}; give a positive number")
        self.seeds = resolve_seeds(seeds, replicas)
        self.replicas = self.num_variants = replicas  # training calls them variants
        self.cell, self.hidden = cell, hidden
        starts = [_first_parameters(cell, sizes["inputs"], sizes["outputs"], hidden, seed) for seed in self.seeds]
        self.weight, self.bias, self.readout, self.offset = (
            nn.Parameter(torch.stack(drawn).to(torch.get_default_dtype())) for drawn in zip(*starts, strict=True)
        )
        self.input_scale, self.output_scale = nn.Buffer(torch.ones(sizes["inputs"])), nn.Buffer(torch.ones(sizes["outputs"]))
        self.output_zero = nn.Buffer(torch.zeros(sizes["outputs"]))

    def variant_ptr(self) -> dict[str, list[int]]:
        """Return one row per replica for every parameter; the scaling is common to all replicas."""
        return {name: list(range(self.replicas + 1)) for name, _ in self.named_parameters()}

    def parameters_per_replica(self) -> int:
        """Return the number of parameters as the paper counts it."""
        return sum(parameter[0].numel() for parameter in self.parameters())

    def forward(self, x: Tensor, trained: int | None = None) -> Tensor:
        """Compute scaled voltages ``(R, S, T, O)`` from scaled currents ``(S, T, I)``.

        Gradients are those of the first ``trained`` sequences, by default all; the others are only computed forward.
        """
        if x.dim() != 3 or x.size(2) != len(self.input_names) or 0 in x.shape:
            raise ValueError(f"x: expected (sequences, steps, {len(self.input_names)}), got {tuple(x.shape)}; give one column per input")
        if trained is not None and not 0 <= trained <= x.size(0):
            raise ValueError(f"trained: expected 0 to {x.size(0)} sequences, got {trained}; x holds no more")
        x = x.to(self.weight)
        return recurrent(self.cell, x, *self.parameters(), trained=trained, backend=choose_backend(self.backend, x))

    def set_scaling(self, input_scale: Tensor, output_zero: Tensor, output_scale: Tensor) -> None:
        """Set the scaling: currents are ``pA / input_scale``, voltages ``(mV - output_zero) / output_scale``."""
        for name, value in (("input_scale", input_scale), ("output_zero", output_zero), ("output_scale", output_scale)):
            own = getattr(self, name)
            if value.shape != own.shape or not bool(value.isfinite().all()) or (name != "output_zero" and bool((value <= 0).any())):
                raise ValueError(
                    f"{name}: expected {tuple(own.shape)} finite numbers, scales above 0, got {value.tolist()}; give one for each neuron"
                )
            own.copy_(value)

    @torch.no_grad()
    def predict_mV(self, current_pA: Tensor) -> Tensor:
        """Predict voltages in mV, ``(R, S, T, O)``, from currents in pA, ``(S, T, I)``."""
        scaled = self(current_pA.to(self.input_scale) / self.input_scale)
        return scaled * self.output_scale + self.output_zero

    def select(self, replica: int) -> ReducedOrder:
        """Return one replica as a separate model, with its parameters and the scaling."""
        if not 0 <= replica < self.replicas:
            raise ValueError(f"replica: expected 0 to {self.replicas - 1}, got {replica}; choose one of them")
        one = ReducedOrder(self.cell, self.input_names, self.output_names, self.hidden, 1, [self.seeds[replica]], self.backend)
        one.to(self.weight).load_state_dict(self.variant_state_dict(replica))
        return one

    def save(self, folder: str | Path, **notes: Any) -> Path:
        """Write ``model.safetensors`` and ``model.json`` to ``folder``, each atomically; the folder is created if missing.

        ``notes`` are plain JSON values stored beside the settings, such as ``dt_ms``. Returns the folder.
        """
        folder = Path(folder)
        tensors = save({name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()})
        settings = {"format_version": _FORMAT, "cell": self.cell, "inputs": self.input_names, "outputs": self.output_names}
        settings |= {"hidden": self.hidden, "seeds": self.seeds, "notes": notes, "sha256": sha256(tensors)}
        # The tensors first: wherever the new settings are found, the tensors they describe are there.
        write_atomic(folder / "model.safetensors", tensors)
        write_atomic(folder / "model.json", json.dumps(settings, indent=1, allow_nan=False).encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path, backend: str = "auto") -> ReducedOrder:
        """Load a model written by :meth:`save`.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged or has another format version.
        """
        text, content = (read_bounded(Path(folder) / name, "folder") for name in ("model.json", "model.safetensors"))
        try:
            settings = json.loads(text)
            if settings["format_version"] != _FORMAT:
                raise ValueError(f"format version {settings['format_version']!r} instead of {_FORMAT}")
            if settings["sha256"] != sha256(content):
                raise ValueError("model.safetensors has another sha256")
            cell, inputs, outputs, hidden, seeds = (settings[name] for name in ("cell", "inputs", "outputs", "hidden", "seeds"))
            state = load(content)
            model = cls(cell, inputs, outputs, hidden, len(seeds), seeds, backend).to(state["weight"].dtype)
            model.load_state_dict(state)
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"folder: {folder} does not hold a complete model ({error}); save it again") from error
        return model

    def extra_repr(self) -> str:
        return f"{self.cell}, {len(self.input_names)} -> {self.hidden} -> {len(self.output_names)}, replicas={self.replicas}"


def _first_parameters(cell: str, inputs: int, outputs: int, hidden: int, seed: int) -> tuple[Tensor, ...]:
    """Draw one replica's weight, bias, readout and offset, in float64 so that a seed gives the same numbers in every precision."""
    generator = torch.Generator().manual_seed(seed)
    rows = GATES[cell] * hidden

    def uniform(shape: tuple[int, int], fans: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float64).uniform_(-1, 1, generator=generator) * math.sqrt(6 / fans)

    q, r = torch.linalg.qr(torch.empty(rows, hidden, dtype=torch.float64).normal_(generator=generator))
    bias = torch.zeros(rows, dtype=torch.float64)
    if cell == "lstm":
        bias[hidden : 2 * hidden] = 1
    # With the signs of R's diagonal, q is uniform over the orthogonal matrices.
    recurrent_weight = q * r.diagonal().sign()
    weight = torch.cat([uniform((rows, inputs), inputs + rows), recurrent_weight], dim=1)
    return weight, bias, uniform((outputs, hidden), hidden + outputs), torch.zeros(outputs, dtype=torch.float64)
