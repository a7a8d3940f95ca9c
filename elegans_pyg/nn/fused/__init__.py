"""Executor ``fused``: the whole DAG in one walk per variant and channel."""

from __future__ import annotations

from importlib.util import find_spec

import torch

_TYPES = {"cpu": (torch.float32, torch.float64), "cuda": (torch.float32,)}
_NEEDS = {"cpu": ("numba", "'elegans-pyg[fast]'"), "cuda": ("triton", "triton")}


def refusal(device: torch.device, dtype: torch.dtype) -> str:
    """Why the fused executor has no kernels for parameters of this kind; empty if it has."""
    if device.type not in _TYPES:
        return f"it has no kernels for the device '{device.type}'"
    known = _TYPES[device.type]
    if dtype not in known:
        return f"its {device.type} kernels know {' and '.join(str(t) for t in known)}, and the parameters are {dtype}"
    module, remedy = _NEEDS[device.type]
    if find_spec(module) is None:
        return f"its {device.type} kernels need '{module}', which is not installed; run: pip install {remedy}"
    return ""


def reluctance(device: torch.device) -> str:
    """Why ``auto`` leaves this executor to those who ask for it by name on such a device; empty if it does not."""
    return "" if device.type == "cpu" else f"it has not been timed on '{device.type}' yet, and runs only if asked for by name"
