"""What a shard costs beside its work: a study of empty shards, and the driver's time and memory.

python scripts/bench_shards.py --shards 10000 --engine ray
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from elegans_pyg._settings import Count, Settings
from elegans_pyg.studies import Finished, Report, Shard, Study, Units, run_study


class EmptySettings(Settings):
    shards: Count = 100


def units(settings: EmptySettings) -> Units:
    rows: list[dict[str, object]] = [{"family": "connectome", "wiring_seed": 0, "seed": number} for number in range(settings.shards)]
    return Units.build(rows, [None] * len(rows))


def measure(settings: EmptySettings, shard: Shard) -> pd.DataFrame:
    return shard.units.assign(accuracy=0.5)


def report(done: Finished[EmptySettings]) -> Report:
    return Report()


def one(settings: EmptySettings) -> int:
    return 1


EMPTY: Study[EmptySettings] = Study("empty", EmptySettings, units, measure, report, processes=True, shard_size=one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="ray")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        more: dict[str, Any] = {} if options.engine == "ray" else {"workers": options.workers or 1}
        run_study(EMPTY, EmptySettings(shards=options.shards), Path(place) / "run", options.engine, **more)
        seconds = time.perf_counter() - started
        files = [path for path in Path(place).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{options.shards:,} empty shards on {options.engine}: {seconds:.1f} s, {1e3 * seconds / options.shards:.2f} ms per shard")
    print(f"driver memory {before / 1024:,.0f} -> {after / 1024:,.0f} MiB; {len(files):,} files, {size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
