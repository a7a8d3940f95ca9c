"""A variant whose parameters are NaN, as after a divergence, beside a healthy one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def assert_second_is_left_alone(clean: Any, poisoned: Any, x: Tensor) -> None:
    """Of two equal models of two variants, the first variant of ``poisoned`` is NaN; outputs and gradients of the second are the same."""
    outs = [net(x) for net in (clean, poisoned)]
    for out in outs:
        out[1].sin().sum().backward()
    assert bool(outs[1][0].isnan().any())
    assert torch.equal(outs[0][1], outs[1][1])
    for name, parameter in clean.named_parameters():
        low = clean.variant_ptr()[name][1]
        assert torch.equal(parameter.grad[low:], poisoned.get_parameter(name).grad[low:]), name
