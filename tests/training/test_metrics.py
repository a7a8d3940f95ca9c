"""The table of metrics can be kept, read back and written again, and no digit is lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from elegans_pyg.training.metrics import MetricsLog


def rows(iteration: int, split: str = "validation") -> list[tuple[Any, ...]]:
    return [(iteration, v, 'er, "odd"', 3, v, split, math.nan if v else iteration / 3, 0.1 + 0.2) for v in range(2)]


def test_file_and_memory_agree_to_the_last_digit(tmp_path: Path) -> None:
    log = MetricsLog()
    log.rows += rows(1)
    log.rows += rows(2)
    log.write(tmp_path / "metrics.csv")
    written = pd.read_csv(tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(written, log.frame(), rtol=1e-12, check_dtype=False)
    again = MetricsLog(content=log.to_csv())
    assert repr(again.rows) == repr(log.rows)
    again.rows += rows(3, "test")
    log.rows += rows(3, "test")
    assert again.to_csv() == log.to_csv()


def test_the_file_is_written_whole_whatever_was_there(tmp_path: Path) -> None:
    path, log = tmp_path / "metrics.csv", MetricsLog()
    log.rows += rows(1)
    for damage in (b"", b"a,b\n1", log.to_csv() * 2):
        path.write_bytes(damage)
        log.write(path)
        assert path.read_bytes() == log.to_csv()
    assert sorted(tmp_path.iterdir()) == [path]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"could not write .* \(File exists\); free space, or give another folder"):
        log.write(tmp_path / "file" / "metrics.csv")


def test_a_slow_disk_is_not_written_to_all_the_time(tmp_path: Path) -> None:
    path, log = tmp_path / "metrics.csv", MetricsLog()
    log.write(path)
    log._seconds = 1e6
    log.rows += rows(1)
    log.write(path, now=False)
    assert path.read_bytes() != log.to_csv()
    log.write(path)
    assert path.read_bytes() == log.to_csv()
