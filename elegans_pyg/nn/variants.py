"""Ensembles of networks in one module: which parameters belong to which variant, and the seeds they start from."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor, nn


def resolve_seeds(seeds: int | Sequence[int], num_variants: int) -> list[int]:
    """Return one seed per variant; an integer ``s`` stands for ``s, s + 1, ...``; other lengths raise ``ValueError``."""
    if isinstance(seeds, int):
        return [seeds + variant for variant in range(num_variants)]
    if len(seeds) != num_variants:
        raise ValueError(f"seeds must hold one integer for each of the {num_variants} variants, got {len(seeds)}; or give a single integer")
    return [int(seed) for seed in seeds]


def generators(seeds: int | Sequence[int], num_variants: int, stream: int = 0) -> list[Generator]:
    """Return one generator per variant; each ``stream`` draws independent numbers, whatever the other streams drew."""
    return [Generator().manual_seed(seed ^ stream) for seed in resolve_seeds(seeds, num_variants)]


def uniform(
    of: Sequence[Generator], shape: tuple[int, ...], bound: float, rows: Sequence[int] | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw numbers uniform in ± ``bound``, ``(sum of rows, *shape)``: ``rows[v]``, by default one, from the generator of variant ``v``.

    They are drawn in ``dtype`` whatever the parameters' dtype, so that a seed gives the same numbers in every precision.
    """
    drawn = zip(rows or [1] * len(of), of, strict=True)
    return torch.cat([torch.empty(n, *shape, dtype=dtype).uniform_(-bound, bound, generator=own) for n, own in drawn])


def uniform_parameter(of: Sequence[Generator], shape: tuple[int, ...], bound: float, rows: Sequence[int] | None = None) -> nn.Parameter:
    """As :func:`uniform`, but a parameter of PyTorch's default dtype."""
    return nn.Parameter(uniform(of, shape, bound, rows).to(torch.get_default_dtype()))


class VariantNetwork(nn.Module):
    """Base class of ensembles of networks, which knows which entries of ``state_dict()`` belong to which variant.

    The entries of a child module with a ``variant_ptr()`` are split by that; the first dimension of all others is that of the variants.
    """

    num_variants: int
    """Number of variants, ``V``."""

    def variant_ptr(self) -> dict[str, list[int]]:
        """Return the ``V + 1`` offsets that split the first dimension of each entry of ``state_dict()`` among the variants."""
        pointers = {name: list(range(self.num_variants + 1)) for name in self.state_dict()}
        for child, module in self.named_children():
            if callable(own := getattr(module, "variant_ptr", None)):
                pointers |= {f"{child}.{name}": offsets for name, offsets in own().items()}
        return pointers

    def variant_state_dict(self, variant: int) -> dict[str, Tensor]:
        """Return the part of ``state_dict()`` that belongs to one variant: the state of the same model built for that variant alone."""
        self.check_variant(variant)
        pointers, state = self.variant_ptr(), self.state_dict()
        return state | {name: state[name][offsets[variant] : offsets[variant + 1]] for name, offsets in pointers.items()}

    def check_variant(self, variant: int) -> None:
        """Raise ``ValueError`` unless ``variant`` is from 0 to ``V - 1``."""
        if not 0 <= variant < self.num_variants:
            raise ValueError(f"variant: expected 0 to {self.num_variants - 1}, got {variant}; give a number in that range")

    def load_variants(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Load the states of ``V`` variants, as returned by :meth:`variant_state_dict`.

        Missing entries keep their values, and entries common to all variants come from the first state.
        """
        split = self.variant_ptr()
        joined = {name: torch.cat([state[name] for state in states]) if name in split else states[0][name] for name in states[0]}
        self.load_state_dict({**self.state_dict(), **joined})

    def parameters_per_variant(self, trainable: bool = False, norm: bool = True) -> list[int]:
        """Return the number of parameters of each variant, all or only the ``trainable`` ones.

        Without ``norm``, those of normalisation (``norm_weight``, ``norm_bias``) do not count, as in Park & Kim (0.21 M).
        """
        pointers, totals = self.variant_ptr(), torch.zeros(self.num_variants, dtype=torch.long)
        for name, parameter in self.named_parameters():
            counted = norm or not name.rpartition(".")[2].startswith("norm_")
            if counted and len(parameter) and (parameter.requires_grad or not trainable):
                totals += torch.tensor(pointers[name]).diff() * parameter[0].numel()
        return totals.tolist()
