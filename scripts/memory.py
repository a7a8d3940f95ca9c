"""What benchmarks need of memory: a run that cannot have it is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import torch

from elegans_pyg.studies.machine import free_memory


def too_large(what: str, needed: float, remedy: str, device: str = "cpu") -> str:
    """Why ``needed`` bytes cannot be had, empty if they can."""
    free = free_memory(torch.device(device))
    sizes = f"about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB can be had here"
    return f"{what} needs {sizes}; {remedy}" if needed > free else ""


def refuse_if_too_large(what: str, needed: float, remedy: str, device: str = "cpu") -> None:
    """End with a line that says so if ``needed`` bytes cannot be had."""
    if problem := too_large(what, needed, remedy, device):
        raise SystemExit(problem)


def peak_resident_bytes() -> int:
    """The kernel's high-water mark of this process alone; getrusage would carry over the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
