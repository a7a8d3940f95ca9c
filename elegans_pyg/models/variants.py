"""Ensembles of whole networks: copies of one architecture, and different architectures side by side."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elegans_pyg.nn.variants import VariantNetwork, uniform


class Copies(VariantNetwork):
    """``V`` independent copies of one ordinary module: their parameters and buffers are stacked along a new first dimension.

    The copies run one after the other: on a CPU a convolution with ``V`` groups takes longer than ``V`` convolutions, and ordinary modules
    (batch normalisation included) work as they are. On CUDA, images are in channels-last memory format. Maps ``(V, B, ...)``, or ``(B,
    ...)`` with ``shared=True`` for the same input in every variant, to ``(V, B, ...)``.

    ``copies`` is at least one module, all of one architecture (else ``ValueError``), each with the initial parameters of one variant. The
    first one becomes part of this module and must not be used elsewhere.
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
        # The first copy provides the structure, and holds the stacked tensors under its own names.
        self.stacked = copies[0]
        for name, tensor in self.stacked.state_dict(keep_vars=True).items():
            path, _, leaf = name.rpartition(".")
            stacked = torch.stack([state[name] for state in states])
            if isinstance(tensor, nn.Parameter):
                stacked = nn.Parameter(stacked, requires_grad=tensor.requires_grad)
            setattr(self.stacked.get_submodule(path), leaf, stacked)

    def forward(self, x: Tensor, shared: bool = False) -> Tensor:
        if not shared and (x.dim() < 2 or x.size(0) != self.num_variants):
            raise ValueError(f"x: expected ({self.num_variants}, B, ...), one part per variant, got {tuple(x.shape)}; or set shared=True")
        names, stacked = zip(*self.stacked.state_dict(keep_vars=True).items(), strict=True)
        outputs = []
        # The backward of unbind is one stack; that of indexing would fill a whole gradient per variant.
        for variant, tensors in enumerate(zip(*(tensor.unbind() for tensor in stacked), strict=True)):
            own = x if shared else x[variant]
            if own.is_cuda and own.dim() == 4:
                own = own.contiguous(memory_format=torch.channels_last)
            outputs.append(functional_call(self.stacked, dict(zip(names, tensors, strict=True)), (own,)))
        return torch.stack(outputs)


class SideBySide(VariantNetwork):
    """Models of different architectures as one ensemble, so that one run trains them on the same batches.

    Maps ``(B, C, H, W)``, or ``(V, B, C, H, W)`` with ``V`` the sum of the models' variants, to ``(V, B, ...)``. Variants are numbered
    across the ``models``, in their order; at least one is needed.
    """

    def __init__(self, models: Sequence[VariantNetwork]) -> None:
        super().__init__()
        if not models:
            raise ValueError("models: expected at least one, got none; give one for each architecture")
        self.models = nn.ModuleList(models)
        self.counts = [model.num_variants for model in models]
        self.num_variants = sum(self.counts)

    def variant_ptr(self) -> dict[str, list[int]]:
        """See :meth:`VariantNetwork.variant_ptr`; a model's entries have no rows for variants of other models."""
        pointers, before = {}, 0
        for number, (model, count) in enumerate(zip(self.models, self.counts, strict=True)):
            after = self.num_variants - before - count
            for name, offsets in model.variant_ptr().items():  # type: ignore[operator]
                pointers[f"models.{number}.{name}"] = [0] * before + offsets + [offsets[-1]] * after
            before += count
        return pointers

    def variant_state_dict(self, variant: int) -> dict[str, Tensor]:
        """Return the state of the variant's own model, built for that variant alone."""
        self.check_variant(variant)
        model, place = [(model, place) for model, count in zip(self.models, self.counts, strict=True) for place in range(count)][variant]
        return model.variant_state_dict(place)  # type: ignore[operator]

    def load_variants(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """See :meth:`VariantNetwork.load_variants`; every model loads its own variants."""
        rest = iter(states)
        for model, count in zip(self.models, self.counts, strict=True):
            model.load_variants(list(islice(rest, count)))  # type: ignore[operator]

    def forward(self, images: Tensor) -> Tensor:
        parts = [images] * len(self.counts) if images.dim() == 4 else images.split(self.counts)
        return torch.cat([model(part) for model, part in zip(self.models, parts, strict=True)])


def check_images(images: Tensor, num_variants: int, in_channels: int, size: tuple[int, int] | None = None) -> None:
    """Raise ``ValueError`` unless the shape of images is ``(B, C, H, W)`` or ``(V, B, C, H, W)``."""
    shape = tuple(images.shape)
    fits = len(shape) in (4, 5) and shape[-3] == in_channels and (size is None or shape[-2:] == size)
    if not fits or (len(shape) == 5 and shape[0] != num_variants):
        height, width = ("H", "W") if size is None else size
        expected = f"(B, {in_channels}, {height}, {width})"
        raise ValueError(f"images: expected {expected}, or ({num_variants}, {expected[1:]}, got {shape}; reshape them")


def copies(build: Callable[[], nn.Module], generators: Sequence[torch.Generator]) -> Copies:
    """Return copies of the module that ``build`` makes, each initialised from its own generator."""
    return Copies([seeded(build, generator) for generator in generators])


def seeded(build: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Build a module of linear layers, convolutions and normalisations (else ``TypeError``), initialised from ``generator``.

    The distribution is PyTorch's own, uniform in ± one over the root of the fan-in, but PyTorch draws from the global random state.
    """
    with torch.device("meta"):
        module = build()
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            bound = part.weight[0].numel() ** -0.5
            for parameter in part.parameters(recurse=False):
                parameter.data.copy_(uniform([generator], parameter.shape, bound)[0])
        elif isinstance(part, nn.modules.batchnorm._NormBase | nn.LayerNorm):
            part.reset_parameters()
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"build: expected linear layers, convolutions and normalisations, got a {type(part).__name__}; extend seeded()")
    return module


@torch.inference_mode()
def footprint(build: Callable[[], nn.Module], *shape: int, device: str = "meta") -> tuple[int, int]:
    """Return the number of parameters of a module, and of the numbers that its layers compute for one input of ``shape``.

    ``shape`` is without the batch dimension. On device ``"meta"`` nothing is allocated.
    """
    computed: list[int] = []
    with torch.device(device):
        module = build().eval()
        for layer in module.modules():
            if not list(layer.children()):
                layer.register_forward_hook(lambda _, inputs, output: computed.append(output.numel()))
        module(torch.zeros(1, *shape))
    return sum(parameter.numel() for parameter in module.parameters()), sum(computed)
