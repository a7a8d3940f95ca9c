"""What Triton's compiler makes of the CUDA kernels, on a machine without a GPU."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64", reason="triton brings its assembler for Linux on x86-64 alone"
    ),
]
SCRIPT = Path(__file__).parents[3] / "scripts" / "model_gpu.py"


def run(*arguments: str) -> list[dict[str, Any]]:
    # In a process of its own: other tests have the kernels interpreted in this one.
    done = subprocess.run([sys.executable, "-W", "ignore", str(SCRIPT), "--json", "-", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def builds() -> list[dict[str, Any]]:
    rows = run("--counts")
    expected = {(name, dtype, arch) for name in ("forward", "backward") for dtype in ("fp32", "bf16") for arch in (80, 90, 100)}
    assert {(row["kernel"], row["dtype"], row["architecture"]) for row in rows} == expected
    return rows


def test_no_stack_no_spills_and_registers_for_three_programs(builds):
    for row in builds:
        assert (row["stack"], row["spills"]) == (0, 0), row
        # A multiprocessor has 65,536 registers; three programs of four warps want theirs at once.
        assert row["registers"] * 3 * 4 * 32 <= 65536, row


def test_maps_move_in_loads_of_16_bytes(builds):
    for row in builds:
        assert row["wanted_wide_loads"] >= 15, row
        assert row["wide_loads"] >= 0.9 * row["wanted_wide_loads"], row


def test_inner_loops_do_at_most_two_integer_instructions_for_each_floating_point_one(builds):
    kinds = {"forward": {"edges", "convolution", "elements"}, "backward": {"edges", "convolution", "convolution back", "elements"}}
    for row in builds:
        assert set(row["loops"]) == kinds[row["kernel"]], row
        for kind, mix in row["loops"].items():
            # The loop over borders adds maps up, for input and output nodes alone; from bfloat16 into float32 they change hands on the way.
            assert mix["integer"] <= (5 if kind == "elements" else 2) * mix["floating"], (row["kernel"], row["dtype"], kind, mix)


def test_the_arithmetic_of_a_convolution_is_that_of_nine_taps(builds):
    for row in builds:
        vector = {"fp32": 4, "bf16": 8}[row["dtype"]]
        assert row["loops"]["convolution"]["floating"] >= 9 * vector, row
        assert row["kernel"] == "forward" or row["loops"]["convolution back"]["floating"] >= 18 * vector, row


@pytest.mark.slow
def test_prediction_is_bound_by_memory_and_never_below_what_edges_alone_take():
    bandwidth = {"A100 SXM 80 GB": 2.039e12, "H100 SXM": 3.35e12, "H200 SXM": 4.8e12}
    rows = run("--channels", "6", "--size", "4", "--batch-size", "16", "--variants", "2")
    assert len(rows) == 6
    for row in rows:
        edges_alone = 2 * 2263 * 6 * 16 * 16 * {"fp32": 4, "bf16": 2}[row["maps"]]
        assert row["ms"] >= edges_alone / bandwidth[row["gpu"]] * 1e3
        assert row["ms"] == max(row[f"{kind}_ms"] for kind in ("memory", "instructions", "integer"))
