from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from elegans_pyg._settings import Settings
from elegans_pyg.studies.shards import split
from elegans_pyg.studies.study import Memory, Report, Study
from elegans_pyg.studies.units import Units


def study(limit: int | None = None, **more: Any) -> Study[Settings]:
    return Study("tiny", Settings, units_of, lambda settings, shard: shard.units, lambda done: Report(), shard_size=lambda _: limit, **more)


def units_of(jobs: list[int] | None = None, count: int = 6) -> Units:
    table = pd.DataFrame({"variant": range(count if jobs is None else len(jobs))})
    return Units(table if jobs is None else table.assign(job=jobs), [])


def test_shards_are_contiguous_and_as_few_as_the_limit_allows() -> None:
    assert split(study(), Settings(), units_of()).tolist() == [1] * 6
    assert split(study(4), Settings(), units_of()).tolist() == [1, 1, 1, 1, 2, 2]
    assert split(study(), Settings(), units_of(), 4).tolist() == [1, 1, 2, 2, 3, 4]


def test_no_shard_holds_units_of_two_jobs() -> None:
    jobs = [0, 0, 0, 2, 2, 1]
    assert split(study(), Settings(), units_of(jobs)).tolist() == [1, 1, 1, 2, 2, 3]
    assert split(study(2), Settings(), units_of(jobs)).tolist() == [1, 1, 2, 3, 3, 4]
    assert split(study(), Settings(), units_of(jobs), 3).tolist() == [1, 1, 1, 2, 2, 3]
    assert split(study(), Settings(), units_of(jobs), 4).tolist() == [1, 1, 2, 3, 3, 4]
    assert split(study(), Settings(), units_of(jobs), 6).tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="shards: 6 units in 2 do not fit in memory or the study's limit; give 3 or more"):
        split(study(), Settings(), units_of(jobs), 2)
    with pytest.raises(ValueError, match="shards: expected 1 to 6, the number of units, got 7"):
        split(study(), Settings(), units_of(jobs), 7)


def test_units_that_are_measured_together_share_a_shard() -> None:
    jobs, wirings = [0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 2, 2]
    units = Units(pd.DataFrame({"job": jobs, "wiring": wirings}), [])
    assert split(study(together="wiring"), Settings(), units).tolist() == [1] * 6 + [2] * 2
    assert split(study(5, together="wiring"), Settings(), units).tolist() == [1, 1, 1, 1, 2, 2, 3, 3]
    assert split(study(1, together="wiring"), Settings(), units).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert split(study(together="wiring"), Settings(), units, 3).tolist() == [1, 1, 1, 1, 2, 2, 3, 3]
    assert split(study(together="job"), Settings(), units, 2).tolist() == [1] * 6 + [2] * 2
    with pytest.raises(ValueError, match="shards: expected 1 to 2, the number of values of job, got 3"):
        split(study(together="job"), Settings(), units, 3)


def test_memory_counts_what_stays_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elegans_pyg.studies.machine.free_memory", lambda device=None: 1_000)
    units = Units(pd.DataFrame({"wiring": [0, 0, 0, 1, 1, 2]}), [])
    tight = study(together="wiring", memory=lambda settings, units: Memory(0, 250))
    assert split(tight, Settings(), units).tolist() == [1, 1, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="memory: 3 units that stay together need about "):
        split(study(together="wiring", memory=lambda settings, units: Memory(0, 400)), Settings(), units)


def test_a_unit_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"memory: one unit needs about 1,024\.0 GiB, and .* are available here"):
        split(study(memory=lambda settings, units: Memory(0, 2**40)), Settings(), units_of())
