"""A study small enough to be killed hundreds of times: every unit counts up to a number, and keeps what it has."""

from __future__ import annotations

import hashlib
import signal
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field
from torch_geometric.data import Data

from elegans_pyg._files import write_atomic
from elegans_pyg._settings import Count, Free, Settings, Whole
from elegans_pyg.studies import Finished, Memory, Report, Shard, Study, Units, run_study, unit_seed


class CountingSettings(Settings):
    units: Count = 3
    steps: Count = 5
    seed: Whole = 0
    edges: Count = 4
    unit_bytes: Whole = 0
    shard_size: Count | None = None
    step_s: Annotated[float, Free()] = Field(0.0, ge=0)
    fail_at: Annotated[Whole, Free()] = 0


def units(settings: CountingSettings) -> Units:
    ring = torch.arange(settings.edges)
    graph = Data(edge_index=torch.stack([ring, ring.roll(1)]), num_nodes=settings.edges)
    rows = [
        {"family": family, "wiring_seed": 0, "seed": unit_seed(settings.seed, family, 0, number)}
        for family in ("connectome", "er")
        for number in range(settings.units)
    ]
    return Units.build(rows, [graph] * len(rows))


def measure(settings: CountingSettings, shard: Shard) -> pd.DataFrame:
    kept = shard.folder / "state.txt"
    done, digest = kept.read_text().split() if kept.is_file() else ("0", "start")
    step = int(done)
    while step < settings.steps:
        step += 1
        digest = hashlib.sha256(f"{digest} {shard.units['seed'].tolist()}".encode()).hexdigest()
        time.sleep(settings.step_s)
        if settings.fail_at and step == settings.fail_at:
            raise OSError(28, "no space left on the pretended disk")
        write_atomic(kept, f"{step} {digest}".encode())
    scores = [
        int(hashlib.sha256(f"{digest if len(shard.units) < 0 else seed}".encode()).hexdigest()[:8], 16) / 2**32
        for seed in shard.units["seed"]
    ]
    return shard.units.assign(accuracy=scores)


def report(done: Finished[CountingSettings]) -> Report:
    notes = pd.DataFrame({"shard": [folder.name for folder in done.shards], "state": [(f / "state.txt").read_text() for f in done.shards]})
    return Report(["counted"], [f"{len(done.rows)} units"], {"states.csv": notes})


def memory(settings: CountingSettings, units: Units) -> Memory:
    return Memory(0, settings.unit_bytes)


def data(settings: CountingSettings) -> dict[str, str]:
    return {"numbers": "none"}


def shard_size(settings: CountingSettings) -> int | None:
    return settings.shard_size


COUNTING: Study[CountingSettings] = Study(
    "counting", CountingSettings, units, measure, report, data=data, memory=memory, shard_size=shard_size
)
BESIDE: Study[CountingSettings] = Study("beside", CountingSettings, units, measure, report, processes=True, shard_size=shard_size)


def main(place: str, pause: float, units: int = 3, shard_size: int | None = None, name: str = "counting") -> None:
    """Begin or resume a run, in a process of its own that takes Ctrl-C as one started from a terminal does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = CountingSettings(step_s=pause, units=units, shard_size=shard_size)
    study = BESIDE if name == "beside" else COUNTING
    run_study(study, chosen, Path(place), resume=True, quiet=True, workers=2 if study is BESIDE else None)
