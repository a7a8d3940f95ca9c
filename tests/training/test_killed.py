"""A killed process, really killed, and what a resumed run makes of what it left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from elegans_pyg.training import has_checkpoint, load_checkpoint
from tests.training.test_fit import assert_same_tensors, make_ensemble, run

OPTIONS = {"iterations": 300, "eval_every": 7, "checkpoint_every": 20, "data_order": "variant", "select": "best"}
CHILD = """
import sys, time
from pathlib import Path
import torch
from tests.training.test_fit import make_ensemble, run
from tests.training.test_killed import OPTIONS
torch.set_num_threads(1)
result = run(make_ensemble(on_forward=lambda call: time.sleep(0.005)), out=Path(sys.argv[1]), **OPTIONS)
sys.exit(0 if result.signal is None else 128 + result.signal)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_run_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path, number: signal.Signals) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        straight, resumed, out = make_ensemble(), make_ensemble(), tmp_path / "killed"
        expected = run(straight, out=tmp_path / "straight", **OPTIONS)
        with subprocess.Popen([sys.executable, "-c", CHILD, str(out)], stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 120
            while not (out / "metrics.csv").exists() or (out / "metrics.csv").read_bytes().count(b"\n") < 60:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            code = process.wait(60)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number)
        assert has_checkpoint(out)
        assert 0 < load_checkpoint(out / "checkpoint").state["iteration"] < 300
        # What other moments of dying would have left.
        (out / "checkpoint.tmp").mkdir(exist_ok=True)
        (out / ".metrics.csv.1.part").write_text("cut sh")
        actual = run(resumed, out=out, resume=True, **OPTIONS)
    finally:
        torch.set_num_threads(threads)
    assert_same_tensors(straight, resumed)
    assert (out / "metrics.csv").read_bytes() == (tmp_path / "straight" / "metrics.csv").read_bytes()
    pd.testing.assert_frame_equal(actual.results, expected.results)
    assert torch.equal(actual.test_predictions, expected.test_predictions)
    assert actual.tested_at.tolist() == expected.tested_at.tolist()
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint", "metrics.csv"]
