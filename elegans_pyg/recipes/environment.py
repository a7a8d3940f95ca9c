"""What a run ran on: versions, devices, executors."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from elegans_pyg import __version__
from elegans_pyg.nn import fused
from elegans_pyg.nn.dag import EXECUTORS

_PACKAGES = ("torch", "torch-geometric", "numpy", "scipy", "pandas", "networkx", "scikit-learn", "torch-scatter", "numba", "triton")


def versions() -> dict[str, str]:
    """Version of this package, of Python, and of every package that can change a run's numbers or speed, where it is installed."""
    found = {"elegans-pyg": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """The device in words, such as ``cpu (x86_64, 2 threads)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores)"


def devices() -> list[str]:
    """Every device there is, in words, the one that ``auto`` picks first."""
    found = [device_name(torch.device("cuda", number)) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*found, device_name(torch.device("cpu"))]


def executors_in_words() -> str:
    """The executors, and which one ``auto`` picks on each kind of device, and why."""
    choices = []
    for kind in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
        device = torch.device(kind)
        refusal = fused.refusal(device, torch.float32) or fused.reluctance(device)
        choices.append(f"levels on {kind}, not fused: {refusal}" if refusal else f"fused on {kind}, the fastest")
    return f"{', '.join(name for name in EXECUTORS if name != 'auto')}; auto picks {'; '.join(choices)}"
