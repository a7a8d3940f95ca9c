"""Executors of DAGs and backends of other layers: their names, and where compiled kernels can run."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch

EXECUTORS = ("auto", "levels", "fused")
BACKENDS = ("auto", "reference", "fused")
"""What computes a layer that is no walk along a DAG: plain PyTorch, or compiled kernels."""
DAG_EXECUTORS = ("auto", "scatter", "levels", "fused")
"""Executors of a DAG network; ``scatter`` is the definition, which ``auto`` never picks."""
TRIED_ON = ("cuda",)
"""Device types on which the faster DAG executor differs from card to card. On the CPU it is ``fused``."""
_TYPES = {"cpu": (torch.float32, torch.float64), "cuda": (torch.float32,)}
_NEEDS = {"cpu": ("numba", "'elegans-pyg[fast]'"), "cuda": ("triton", "triton")}


def refusal(device: torch.device, dtype: torch.dtype, devices: Sequence[str] = ("cpu", "cuda")) -> str:
    """Return why there are no compiled kernels for tensors of this device and dtype; empty if there are.

    Args:
        device, dtype: of the tensors.
        devices: device types with kernels.
    """
    if device.type not in devices:
        return f"it has no kernels for device '{device.type}', only for {' and '.join(devices)}"
    known = _TYPES[device.type]
    if dtype not in known:
        return f"its {device.type} kernels take {' and '.join(map(str, known))}, and the parameters are {dtype}"
    module, remedy = _NEEDS[device.type]
    if find_spec(module) is None:
        return f"its {device.type} kernels need '{module}', which is not installed; run: pip install {remedy}"
    return ""


def decided_by_trial(executor: str, device: torch.device, refused: str) -> bool:
    """Return whether ``auto`` must time both DAG executors to choose one, see :mod:`elegans_pyg.nn.dag.trial`."""
    return executor == "auto" and not refused and device.type in TRIED_ON


def choose(executor: str, refused: str, plain: str = "levels", argument: str = "executor") -> str:
    """Return ``plain`` or ``"fused"``; ``"auto"`` means fused unless there is a refusal.

    Raises:
        ValueError: for ``"fused"`` with a refusal.
    """
    if executor == "fused" and refused:
        raise ValueError(f"{argument}='fused' does not apply: {refused}; use {argument}='auto' or '{plain}'")
    return plain if executor == plain or refused else "fused"
