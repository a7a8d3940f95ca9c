"""Executor ``fused``: the whole DAG in one walk per variant and channel."""

from __future__ import annotations

from importlib.util import find_spec

import torch

_CPU_TYPES = (torch.float32, torch.float64)


def refusal(device: torch.device, dtype: torch.dtype) -> str:
    """Why the fused executor has no kernels for parameters of this kind; empty if it has."""
    if device.type != "cpu":
        return f"it has no kernels for the device '{device.type}'"
    if dtype not in _CPU_TYPES:
        return f"its CPU kernels know {' and '.join(str(t) for t in _CPU_TYPES)}, and the parameters are {dtype}"
    if find_spec("numba") is None:
        return "its CPU kernels need 'numba', which is not installed; run: pip install 'elegans-pyg[fast]'"
    return ""
