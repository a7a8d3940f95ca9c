"""Ensembles of networks in one module: which parameters are whose, and from which seed they start."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor, nn


def resolve_seeds(seeds: int | Sequence[int], num_variants: int) -> list[int]:
    """One seed a variant; an integer ``s`` stands for ``s, s + 1, ...``; ``ValueError`` for a sequence of another length."""
    if isinstance(seeds, int):
        return [seeds + variant for variant in range(num_variants)]
    if len(seeds) != num_variants:
        raise ValueError(f"seeds must hold one integer for each of the {num_variants} variants, got {len(seeds)}; or give a single integer")
    return [int(seed) for seed in seeds]


def generators(seeds: int | Sequence[int], num_variants: int, stream: int = 0) -> list[Generator]:
    """One generator a variant; those of another ``stream`` draw unrelated numbers, so that no part depends on how many another drew."""
    return [Generator().manual_seed(seed ^ stream) for seed in resolve_seeds(seeds, num_variants)]


def uniform(
    of: Sequence[Generator], shape: tuple[int, ...], bound: float, rows: Sequence[int] | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Numbers uniform in ± ``bound``, ``(sum of rows, *shape)``: ``rows[v]``, by default one, of variant ``v``, from its own generator.

    They are drawn in ``dtype`` whatever the parameters' own type, so that a seed means the same in every precision.
    """
    drawn = zip(rows or [1] * len(of), of, strict=True)
    return torch.cat([torch.empty(n, *shape, dtype=dtype).uniform_(-bound, bound, generator=own) for n, own in drawn])


def uniform_parameter(of: Sequence[Generator], shape: tuple[int, ...], bound: float, rows: Sequence[int] | None = None) -> nn.Parameter:
    """The same as a parameter of PyTorch's default type."""
    return nn.Parameter(uniform(of, shape, bound, rows).to(torch.get_default_dtype()))


class VariantNetwork(nn.Module):
    """What ensembles of networks share: which entries of ``state_dict()`` belong to which variant.

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
        self.check_variant(variant)
        pointers, state = self.variant_ptr(), self.state_dict()
        return state | {name: state[name][offsets[variant] : offsets[variant + 1]] for name, offsets in pointers.items()}

    def check_variant(self, variant: int) -> None:
        """Raises ``ValueError`` for a number that is no variant's."""
        if not 0 <= variant < self.num_variants:
            raise ValueError(f"variant: expected 0 to {self.num_variants - 1}, got {variant}; give one of these")

    def load_variants(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over the states of ``V`` variants, each as :meth:`variant_state_dict` gives it. What they lack stays as it is, and of what
        is common to all variants the first one's is taken."""
        split = self.variant_ptr()
        joined = {name: torch.cat([state[name] for state in states]) if name in split else states[0][name] for name in states[0]}
        self.load_state_dict({**self.state_dict(), **joined})

    def parameters_per_variant(self, trainable: bool = False, norm: bool = True) -> list[int]:
        """Number of parameters of each variant: all, or the ``trainable`` ones alone; with or without a layer's own normalisation
        (``norm_weight``, ``norm_bias``), which Park & Kim do not count (0.21 M)."""
        pointers, totals = self.variant_ptr(), torch.zeros(self.num_variants, dtype=torch.long)
        for name, parameter in self.named_parameters():
            counted = norm or not name.rpartition(".")[2].startswith("norm_")
            if counted and len(parameter) and (parameter.requires_grad or not trainable):
                totals += torch.tensor(pointers[name]).diff() * parameter[0].numel()
        return totals.tolist()
