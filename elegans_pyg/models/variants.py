"""Ensembles of whole networks: copies of one architecture, and different architectures side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

_INITIALISED = (nn.Linear, nn.Conv2d)


class VariantNetwork(nn.Module):
    """What ensembles of whole networks share: which entries of ``state_dict()`` belong to which variant.

    A child module with a ``variant_ptr()`` of its own is asked; of every other entry the first dimension is the variants'.
    """

    num_variants: int
    """``V``."""

    def variant_ptr(self) -> dict[str, list[int]]:
        """The ``V + 1`` offsets that split the first dimension of each entry of ``state_dict()`` among the variants."""
        pointers = {name: list(range(self.num_variants + 1)) for name in self.state_dict()}
        for child, module in self.named_children():
            if callable(own := getattr(module, "variant_ptr", None)):
                pointers |= {f"{child}.{name}": offsets for name, offsets in own().items()}
        return pointers

    def variant_state_dict(self, variant: int) -> dict[str, Tensor]:
        """The entries of ``state_dict()`` that belong to one variant: the state of the same model built for that variant alone."""
        if not 0 <= variant < self.num_variants:
            raise ValueError(f"variant: expected 0 to {self.num_variants - 1}, got {variant}; give one of these")
        pointers = self.variant_ptr()
        return {name: tensor[pointers[name][variant] : pointers[name][variant + 1]] for name, tensor in self.state_dict().items()}

    def parameters_per_variant(self, trainable: bool = False) -> list[int]:
        """Number of parameters of each variant; of those that are trained alone if ``trainable``."""
        pointers, totals = self.variant_ptr(), [0] * self.num_variants
        for name, parameter in self.named_parameters():
            if len(parameter) and (parameter.requires_grad or not trainable):
                for variant in range(self.num_variants):
                    totals[variant] += (pointers[name][variant + 1] - pointers[name][variant]) * parameter[0].numel()
        return totals


class Copies(VariantNetwork):
    """``V`` copies of one ordinary module, sharing nothing: their parameters and buffers are stacked along a new first dimension.

    The copies run one after the other: on a CPU a convolution with ``V`` groups takes longer than ``V`` convolutions, and ordinary modules
    (batch normalisation included) work as they are. On CUDA images are walked in channels-last order.

    Args:
        copies: modules of one architecture, each with the first parameters of one variant. The first is taken over, and not to be used
            any more.

    Shapes:
        - **input:** ``(V, B, ...)``, or ``(B, ...)`` with ``shared=True`` for the same in every variant
        - **output:** ``(V, B, ...)``

    Raises:
        ValueError: if there are no copies, or they differ in architecture.
    """

    def __init__(self, copies: Sequence[nn.Module]) -> None:
        super().__init__()
        if not copies:
            raise ValueError("copies: expected at least one module, got none; give one for each variant")
        self.num_variants = len(copies)
        states = [copy.state_dict() for copy in copies]
        shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("copies: expected modules of one architecture, got parameters of different names or shapes; build them alike")
        # The first copy keeps the structure, and holds everyone's tensors under its own names.
        self.stacked = copies[0]
        for name, tensor in self.stacked.state_dict(keep_vars=True).items():
            path, _, leaf = name.rpartition(".")
            owner, together = self.stacked.get_submodule(path), torch.stack([state[name] for state in states])
            if isinstance(tensor, nn.Parameter):
                setattr(owner, leaf, nn.Parameter(together, requires_grad=tensor.requires_grad))
            else:
                setattr(owner, leaf, together)

    def forward(self, x: Tensor, shared: bool = False) -> Tensor:
        if not shared and (x.dim() < 2 or x.size(0) != self.num_variants):
            raise ValueError(f"x: expected ({self.num_variants}, B, ...), one part for each variant, got {tuple(x.shape)}; or set shared")
        names, stacked = zip(*self.stacked.state_dict(keep_vars=True).items(), strict=True)
        outputs = []
        # unbind's gradient is one stack; indexing would fill a whole gradient for each variant.
        for variant, tensors in enumerate(zip(*(tensor.unbind() for tensor in stacked), strict=True)):
            own = x if shared else x[variant]
            if own.is_cuda and own.dim() == 4:
                own = own.contiguous(memory_format=torch.channels_last)
            outputs.append(functional_call(self.stacked, dict(zip(names, tensors, strict=True)), (own,)))
        return torch.stack(outputs)


class SideBySide(VariantNetwork):
    """Models of different architectures as one ensemble, so that one run trains them on the same batches.

    Args:
        models: each with ``num_variants`` and ``variant_ptr()``; variants are numbered through, in this order.

    Shapes:
        - **input:** ``(B, C, H, W)``, or ``(V, B, C, H, W)`` with ``V`` the sum of the models' variants
        - **output:** ``(V, B, ...)``

    Raises:
        ValueError: if there is no model.
    """

    def __init__(self, models: Sequence[VariantNetwork]) -> None:
        super().__init__()
        if not models:
            raise ValueError("models: expected at least one, got none; give one for each architecture")
        self.models = nn.ModuleList(models)
        self.counts = [model.num_variants for model in models]
        self.num_variants = sum(self.counts)

    def variant_ptr(self) -> dict[str, list[int]]:
        """See :meth:`VariantNetwork.variant_ptr`; a model's entries have no rows for the variants of the others."""
        pointers, before = {}, 0
        for number, (model, count) in enumerate(zip(self.models, self.counts, strict=True)):
            for name, offsets in model.variant_ptr().items():  # type: ignore[operator]
                after = self.num_variants - before - count
                pointers[f"models.{number}.{name}"] = [0] * before + offsets + [offsets[-1]] * after
            before += count
        return pointers

    def forward(self, images: Tensor) -> Tensor:
        parts = [images] * len(self.counts) if images.dim() == 4 else images.split(self.counts)
        return torch.cat([model(part) for model, part in zip(self.models, parts, strict=True)])


def seeded(build: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Build a module of linear layers, convolutions and normalisations with first parameters from ``generator``.

    They are distributed as PyTorch's own (uniform in :math:`\\pm 1/\\sqrt{\\text{fan in}}`), which draws from the global random state.

    Raises:
        TypeError: if a module with parameters is of another kind.
    """
    with torch.device("meta"):
        module = build()
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, _INITIALISED):
            bound = part.weight[0].numel() ** -0.5
            for parameter in (part.weight, part.bias):
                if parameter is not None:
                    # Always drawn in float32, so that a seed means the same in every precision.
                    drawn = torch.empty(parameter.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
                    parameter.data.copy_(drawn)
        elif isinstance(part, nn.modules.batchnorm._NormBase | nn.LayerNorm):
            part.reset_parameters()
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"build: expected linear layers, convolutions and normalisations, got a {type(part).__name__}; add its start")
    return module
