"""scripts/gpu_day.py: what it does about steps that fail, hang or were done before, its table, and part of it on tiny networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import gpu_day
from scripts.gpu_day import ROOT, Step, executor_rows, markdown, read_run, run_steps

SETTINGS = {"device": "cpu", "quick": True}


def python(code: str) -> list[object]:
    return [sys.executable, "-S", "-c", code]


def test_steps_that_fail_or_hang_are_recorded_and_the_rest_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_day, "SAVING_S", 0.5)
    saved = tmp_path / "saved"
    saves = f"import signal, sys, time; signal.signal(15, lambda *_: (open({str(saved)!r}, 'w'), sys.exit(1))); time.sleep(60)"
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    for name, code in (("saves", saves), ("deaf", deaf)):
        run_steps([Step(name, 0, python(code))], tmp_path, 2.5 / 60, SETTINGS)
    assert saved.exists()
    rest = [
        Step("broken", 1, python("print('so it goes'); raise SystemExit(3)")),
        Step("unreadable", 1, python(""), lambda: json.loads("")),
        Step("well", 1, python("print(7)"), lambda: {"result": (tmp_path / "well.log").read_text().strip()}),
    ]
    steps = run_steps(rest, tmp_path, 1.0, SETTINGS)["steps"]
    ends = {name: step["outcome"] for name, step in steps.items()}
    assert ends == {
        "saves": "out of time",
        "deaf": "out of time",
        "broken": "failed with exit code 3: so it goes",
        "unreadable": "done",
        "well": "done",
    }
    assert steps["deaf"]["seconds"] < 20
    assert "JSONDecodeError" in steps["unreadable"]["unread"]
    assert steps["well"]["measured"] == {"result": "7"}
    assert json.loads((tmp_path / "gpu_day.json").read_text()) == {"settings": SETTINGS, "steps": steps}
    assert "| well | done (7) |" in (tmp_path / "gpu_day.md").read_text()


def test_another_call_does_what_is_left_and_no_more(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counts = python(f"open({str(counter)!r}, 'a').write('x')")
    assert run_steps([Step("one", 1, counts), Step("two", 1, counts)], tmp_path, 0.1, SETTINGS)["steps"]["two"]["outcome"] == "no time left"
    assert not counter.exists()
    for _ in range(2):
        steps = run_steps([Step("one", 1, counts), Step("two", 1, counts)], tmp_path, 5.0, SETTINGS)["steps"]
        assert [step["outcome"] for step in steps.values()] == ["done", "done"]
    assert counter.read_text() == "xx"
    with pytest.raises(SystemExit, match="other settings"):
        run_steps([], tmp_path, 5.0, {"device": "cuda", "quick": False})


def measured(levels: float, share: float) -> dict[str, object]:
    alone = {"loop": {"forward+backward": 0.09}, "levels": {"forward+backward": 0.05}, "fused": {"forward+backward": 0.01}}
    limits = {"the walk moves: fraction of bandwidth": share, "copy_bandwidth": 4e12}
    together = {"loop": {}, "levels": {"2": 0.03, "8": levels}, "fused": {"2": 0.008, "8": 0.006, "30": 0.005}}
    return {"one variant": alone, "seconds per variant": together, "bytes": limits, "bytes together": limits}


def test_the_table_sets_results_beside_their_bars() -> None:
    rows = {row[0]: row[1:] for row in executor_rows("executors-bfloat16", measured(0.02, 0.53))}
    assert rows["bfloat16: fused, a step, the fastest per variant"][0] == "5 ms"
    assert rows["bfloat16: fused against loop, one variant"] == ("9.0x", "8x", "met")
    assert rows["bfloat16: fused against levels, one variant"] == ("5.0x", "4x", "met")
    assert rows["bfloat16: fused against levels, the fastest of each"] == ("4.0x", "4x", "met")
    assert rows["bfloat16: share of a copy's 4,000 GB/s, most variants"] == ("53%", "50%", "met")
    rows = {row[0]: row[1:] for row in executor_rows("executors-bfloat16", measured(0.019, 0.47))}
    assert rows["bfloat16: fused against levels, the fastest of each"] == ("3.8x", "4x", "missed")
    assert rows["bfloat16: share of a copy's 4,000 GB/s, one variant"] == ("47%", "50%", "missed")
    step = {"outcome": "done", "seconds": 3, "measured": measured(0.02, 0.5)}
    page = markdown({"settings": SETTINGS, "steps": {"executors-float32": step}})
    assert "the numbers mean nothing" in page
    assert "| float32: fused against loop, the fastest of each | 18.0x | 8x | met |" in page


def test_an_unfinished_run_tells_how_far_it_is(tmp_path: Path) -> None:
    shard = tmp_path / "shards" / "00001"
    (shard / "checkpoint").mkdir(parents=True)
    records = [{"executor": name, "why": f"{name} is faster", "training": name == "fused"} for name in ("fused", "levels")]
    (shard / "checkpoint" / "state.json").write_text(json.dumps({"iteration": 40, "executors": records}))
    head = "iteration,variant,family,wiring_seed,seed,split,loss,accuracy"
    rows = ["20,0,a,0,1,validation,1.0,0.2", "40,0,a,0,1,train,1.0,0.9", "40,0,a,0,1,validation,1.0,0.5", "40,1,a,0,2,validation,1.0,0.7"]
    (shard / "metrics.csv").write_text("\n".join([head, *rows, "40,2,b,0,2,validation,1.0,0.3"]) + "\n")
    found = read_run(tmp_path)
    assert found == {
        "iterations": [40],
        "executors": ["fused: fused is faster"],
        "validation": {"a": pytest.approx(0.6), "b": 0.3},
        "finished": False,
    }
    assert "a 60.00, b 30.00" in gpu_day.run_rows("park-kim-mnist", found)[0]
    assert "published 99.6 and 99.5" in gpu_day.run_rows("park-kim-mnist", found)[0]


@pytest.mark.slow
def test_part_of_it_on_tiny_networks(tmp_path: Path) -> None:
    steps = ["machine", "park-kim-mnist"]
    command = [sys.executable, "scripts/gpu_day.py", "--device", "cpu", "--quick", "--out", str(tmp_path), "--steps", ",".join(steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "gpu_day.json").read_text())["steps"]
    assert {name: step["outcome"] for name, step in report.items()} == dict.fromkeys(steps, "done"), done.stdout
    assert report["machine"]["measured"]["versions"]["torch"]
    run = report["park-kim-mnist"]["measured"]
    assert run["finished"]
    assert list(run["scores"]) == ["connectome", "cook2019-male"]
