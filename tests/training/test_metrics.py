"""The metrics file can be appended to, cut back and read, and no digit is lost."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from elegans_pyg.training.metrics import Metric, MetricsLog


def rows(iteration: int, split: str = "validation") -> list[Metric]:
    return [Metric(iteration, v, 'er, "odd"', 3, v, split, math.nan if v else iteration / 3, 0.1 + 0.2) for v in range(2)]


def test_file_and_memory_agree_to_the_last_digit(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.csv")
    log.append(rows(1))
    log.append(rows(2))
    written = pd.read_csv(tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(written, log.frame(), rtol=1e-12, check_dtype=False)
    resumed = MetricsLog.resume(tmp_path / "metrics.csv", 2)
    assert repr(resumed.rows) == repr(log.rows)


def test_resume_cuts_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = MetricsLog(path)
    for iteration in (1, 2, 3):
        log.append(rows(iteration))
    log.append(rows(3, "test"))
    with path.open("a") as file:
        file.write('4,0,"er, ""od')
    assert [row.iteration for row in MetricsLog.resume(path, 3).rows] == [1, 1, 2, 2, 3, 3]
    resumed = MetricsLog.resume(path, 2)
    resumed.append(rows(9))
    assert pd.read_csv(path)["iteration"].tolist() == [1, 1, 2, 2, 9, 9]
    assert sorted(tmp_path.iterdir()) == [path]
    assert len(MetricsLog.resume(path, 0).rows) == 0


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with pytest.raises(FileNotFoundError, match="is missing beside its checkpoint"):
        MetricsLog.resume(path, 1)
    log = MetricsLog(path)
    log.append(rows(1))
    with pytest.raises(FileExistsError, match="is there already, from another run"):
        MetricsLog(path)
    with pytest.raises(ValueError, match="lacks the evaluation at iteration 5 of its checkpoint"):
        MetricsLog.resume(path, 5)
    content = path.read_text().splitlines()
    path.write_text("\n".join([content[0], "1,x,er,3,0,test,0.1,0.2", *content[1:]]))
    with pytest.raises(ValueError, match=r"line 2 of .* is damaged: '1,x,er,3,0,test,0.1,0.2'"):
        MetricsLog.resume(path, 1)
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match="does not start with the header iteration,variant,family"):
        MetricsLog.resume(path, 1)
    with pytest.raises(OSError, match=r"could not write .* \(No such file or directory\); free space or give another folder"):
        MetricsLog(tmp_path / "nowhere" / "metrics.csv")
