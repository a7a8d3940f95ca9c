"""The machine that a study runs on: versions, processor, devices, executors, memory."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from elegans_pyg import __version__
from elegans_pyg.nn.dag import trial
from elegans_pyg.nn.executors import DAG_EXECUTORS, choose, decided_by_trial, refusal

_PACKAGES = ("torch", "torch-geometric", "numpy", "scipy", "pandas", "networkx", "scikit-learn", "torch-scatter", "numba", "triton")
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of every installed package that can change a run's numbers or speed."""
    found = {"elegans-pyg": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Describe what the last digits of a result can depend on: versions, processor, number of threads."""
    return {"versions": versions(), "processor": processor(), "threads": torch.get_num_threads()}


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Describe a device, such as ``cpu (x86_64, 2 of 2 cores)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores)"


def devices() -> list[str]:
    """Describe every available device; ``auto`` picks the first."""
    found = [device_name(torch.device("cuda", number)) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*found, device_name(torch.device("cpu"))]


def executors_in_words() -> str:
    """Name the executors, and which one ``auto`` picks on each kind of device, and why."""
    picks = []
    for kind in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
        device = torch.device(kind)
        why = refusal(device, torch.float32)
        if why:
            picks.append(f"levels on {kind}, not fused: {why}")
        elif decided_by_trial("auto", device, why):
            picks.append(f"the faster of fused and levels on {kind}, both timed on the first inputs of each shape")
        else:
            picks.append(f"fused on {kind}, the fastest")
    found = [trial.in_words(*item) for item in trial.known.items()]
    return "; ".join([f"{', '.join(DAG_EXECUTORS[1:])}; auto picks {'; '.join(picks)}", *found])


def executor_for(executor: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return the DAG executor that runs for the setting ``executor``; ``"auto"`` where a trial decides."""
    refused = refusal(device, dtype)
    return executor if executor == "scatter" or decided_by_trial(executor, device, refused) else choose(executor, refused)


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(device: torch.device | None = None) -> int:
    """Free memory in bytes: of a GPU, or of this machine within the limits of its container and of this process."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    own = psutil.Process().memory_info()
    limits = [psutil.virtual_memory().available]
    for name in _CGROUPS:
        try:
            limits.append(int(Path(name).read_text()) - own.rss)
        except (OSError, ValueError):
            continue
    if hasattr(psutil, "RLIMIT_AS"):
        soft, _ = psutil.Process().rlimit(psutil.RLIMIT_AS)
        if soft != psutil.RLIM_INFINITY:
            limits.append(soft - own.vms)
    return max(min(limits), 0)
