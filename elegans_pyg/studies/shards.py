"""Split units into shards, and run a shard."""

from typing import TypeVar

import numpy as np
import pandas as pd

from elegans_pyg._progress import Progress
from elegans_pyg._settings import Settings
from elegans_pyg.studies import machine
from elegans_pyg.studies.folder import RunFolder
from elegans_pyg.studies.study import Shard, Study
from elegans_pyg.studies.units import Units
from elegans_pyg.training.settings import resolve_device

S = TypeVar("S", bound=Settings)
MEMORY_SHARE = 0.8
"""Largest share of the free memory that a shard may use."""


def split(study: Study[S], settings: S, units: Units, shards: int | None = None) -> np.ndarray:
    """Assign a shard to every unit, ``(units,)``, numbered from 1: contiguous, and as few as memory and the study's limit allow, or
    ``shards``.

    No shard holds units of two jobs (the units' column ``job``), and units with the same value of ``study.together`` share a shard; equal
    values of both are contiguous.

    Raises:
        ValueError: if a single unit, or units that stay together, do not fit in memory, or ``shards`` is too small or larger than the
            number of parts.
    """
    table = units.table
    job = table["job"].to_numpy() if "job" in table else np.zeros(len(table), np.int64)
    whole = table[study.together].to_numpy() if study.together else np.arange(len(table))
    # A part is what no two shards can share: one unit, or all units that stay together.
    starts = np.flatnonzero(np.append(True, (job[1:] != job[:-1]) | (whole[1:] != whole[:-1])))
    sizes = np.diff(starts, append=len(table))
    count, most = len(starts), int(sizes.max())
    if shards is not None and not 1 <= shards <= count:
        what = f"values of {study.together}" if study.together else "units"
        raise ValueError(f"shards: expected 1 to {count}, the number of {what}, got {shards}; change it")
    # Parts per shard.
    limit = count if study.shard_size is None else max(1, (study.shard_size(settings) or len(table)) // most)
    if study.memory is not None:
        memory = study.memory(settings, units)
        device = getattr(getattr(settings, "training", None), "device", "cpu")
        free = MEMORY_SHARE * machine.free_memory(resolve_device(device))
        largest = most * int(np.max(memory.unit))
        if memory.fixed + largest > free:
            needs = "one unit needs" if most == 1 else f"{most} units that stay together need"
            raise ValueError(
                f"memory: {needs} about {_size(memory.fixed + largest)}, and {_size(free)} are available here; make the network, the batch"
                " or the sequences smaller, or use a larger machine"
            )
        limit = min(limit, max(1, int((free - memory.fixed) // max(largest, 1))))
    jobs = pd.Series(job[starts]).groupby(job[starts], sort=False).size().tolist()
    parts = [-(-size // limit) for size in jobs]
    if shards is None:
        within = [np.arange(size) // limit for size in jobs]
    elif shards < sum(parts):
        raise ValueError(f"shards: {len(table)} units in {shards} do not fit in memory or the study's limit; give {sum(parts)} or more")
    else:
        while sum(parts) < shards:
            parts[max(range(len(jobs)), key=lambda job: jobs[job] / parts[job])] += 1
        within = [np.sort(np.arange(size) % own) for size, own in zip(jobs, parts, strict=True)]
    before = np.cumsum([0, *parts[:-1]])
    return np.repeat(np.concatenate([own + first for own, first in zip(within, before, strict=True)]) + 1, sizes)


def run_shard(study: Study[S], settings: S, folder: RunFolder, number: int, count: int, quiet: bool = True) -> None:
    """Run one shard of ``count``, or resume it; a shard that is done is not run again.

    Raises:
        Interrupted: if it was stopped, and can be resumed.
        FolderInUse: if another process is running this shard.
    """
    own = folder.shard(number)
    if own.has_rows():
        return
    with own.claim_shard():
        if own.has_rows():
            return
        table, wirings = folder.read_shard(number)
        if count > 1 and not quiet:
            Progress("", 1).message(f"shard {number} of {count}: {len(table)} units")
        with own.telling_progress():
            rows = study.measure(settings, Shard(own.path, table, wirings, quiet))
        own.write("rows.csv", rows)


def missing_shards(folder: RunFolder, units: Units) -> list[int]:
    """Numbers of the shards that are not done."""
    return [number for number in sorted(units.table["shard"].unique().tolist()) if not folder.shard(number).has_rows()]


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
