#!/usr/bin/env python3
"""What waits for a GPU, in at most 29 minutes a call: the cuda tests, executors, Park & Kim, M1, M2; writes gpu_day.json and gpu_day.md.

    python scripts/gpu_day.py                                        # in runs/gpu-day; again: resumes
    python scripts/gpu_day.py --device cpu --quick --out /tmp/day    # the same path with tiny networks, in minutes on a CPU

Every step is a process of its own with a limit of its own, and a log beside the table. One that fails or runs out of time is recorded, and
the next one follows; runs that were stopped keep a checkpoint, from which another call of this script, or `elegans-pyg`, resumes them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SAVING_S = 60
"""How long a run that is told to stop may take to save its checkpoint."""
X_LOOP, X_LEVELS, SHARE = 8, 4, 0.5
"""Bars: times the speed of the per-node loop and of `levels`, and share of the bandwidth of a copy."""
PUBLISHED = {"mnist": "99.6 and 99.5", "fashion_mnist": "92.7 and 92.6"}
"""Test accuracy in percent of hermaphrodite and male: Park & Kim (2023), doi:10.5607/en23004."""
MACHINE = "import json; from elegans_pyg.studies import machine as m; print(json.dumps({**m.describe(), 'devices': m.devices()}))"


class Step(NamedTuple):
    """A command, the minutes that it may take at least if there are so many left, and what reads its results."""

    name: str
    minutes: float
    command: Sequence[object]
    read: Callable[[], dict[str, Any]] = dict


def all_steps(options: argparse.Namespace) -> list[Step]:
    out, quick, python = options.out, options.quick, sys.executable
    log = {name: out / f"{name}.log" for name in ("machine", "tests")}
    files = ("nn/dag/test_cuda_kernels.py", "training/test_fit.py", "dynamics/test_simulate.py", "datasets/test_images.py")
    tests = [python, "-m", "pytest", "-m", "cuda", *(f"tests/{file}" for file in files)]
    steps = [
        Step("machine", 1, [python, "-c", MACHINE], lambda: json.loads(last_line(log["machine"]))),
        Step("tests", 4, tests, lambda: {"result": last_line(log["tests"])}),
    ]
    sizes = "--channels 2 --channels-together 2 --batch-size 4 --size 4 --variants 2 --rounds 1 --executors loop,fused"
    full = "--channels 78 --channels-together 78 --batch-size 100 --size 14 --variants 2,8,30 --rounds 3"
    for precision in ("float32", "bfloat16"):
        file = out / f"executors-{precision}.json"
        command = [python, "scripts/bench_dag.py", "--device", options.device, "--precision", precision, "--json", file]
        steps.append(Step(file.stem, 4, [*command, *(sizes if quick else full).split()], lambda file=file: json.loads(file.read_text())))

    def study(name: str, minutes: float, command: str, short: str, only_at_first: str = "") -> None:
        folder = out / name
        begun = (folder / "config.yaml").is_file()
        more = ["--resume"] if begun else only_at_first.split() if quick else []
        call = [python, "-m", "elegans_pyg", "reproduce", *command.split(), *(short.split() if quick else []), *more]
        root = ["--image-root", options.image_root.resolve()] if options.image_root and not quick else []
        steps.append(Step(name, minutes, [*call, *root, "--device", options.device, "--out", folder], lambda: read_run(folder)))

    few = "--iterations 4 --batch-size 20"
    for dataset in PUBLISHED:
        both = f"park-kim --dataset {'digits' if quick else dataset} --families , --seeds 1 --checkpoint-every 500"
        study(f"park-kim-{dataset}", 5, both, f"{few} --channels 2")
    networks = f"{few} --dataset digits --width 8 --seeds 1 --variants 1 --families er"
    study("elegans-m1", 3, "elegans-m1 --checkpoint-every 100", f"{networks} --encoder-channels 2,3,4,5", "--quick")
    study("elegans-m2", 3, "elegans-m2 --checkpoint-every 500", networks, "--quick")
    return steps


def last_line(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]


def read_run(folder: Path) -> dict[str, Any]:
    """Scores of a finished run by family; of another one its iterations and last validation scores."""
    states = [json.loads(path.read_text()) for path in sorted(folder.glob("shards/*/checkpoint/state.json"))]
    found: dict[str, Any] = {
        "iterations": [state["iteration"] for state in states],
        "executors": [
            f"{record['executor']}: {record['why']}" for state in states for record in state.get("executors", []) if record["training"]
        ],
    }
    if (folder / "summary.json").is_file():
        score = json.loads((folder / "summary.json").read_text())["score"]
        return {**found, "finished": True, "score": score, "scores": by_family(folder / "results.csv", score)}
    for path in sorted(folder.glob("shards/*/metrics.csv")):
        found.setdefault("validation", {}).update(by_family(path))
    return {**found, "finished": False}


def by_family(table: Path, score: str = "") -> dict[str, float]:
    """Mean score by family; of a table of evaluations the first score, at the last one on validation images."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not score:
        rows = [row for row in rows if row["split"] == "validation"]
        rows = [row for row in rows if row["iteration"] == rows[-1]["iteration"]]
        score = "".join(list(rows[0])[7:8]) if rows else ""
    families = dict.fromkeys(row["family"] for row in rows)
    values = {family: [float(row[score] or "nan") for row in rows if row["family"] == family] for family in families}
    return {family: sum(own) / len(own) for family, own in values.items()}


def run(command: Sequence[object], log: Path, seconds: float) -> str:
    """Run a command with its output in a log, and say how it ended; when its time is over it may save, and is then killed."""
    with log.open("wb") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(seconds)
            return "done" if code == 0 else f"failed with exit code {code}: {last_line(log)[:300]}"
        except subprocess.TimeoutExpired:
            return "out of time"
        finally:
            for number, patience in ((signal.SIGTERM, SAVING_S), (signal.SIGKILL, None)):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(patience)


def run_steps(steps: Sequence[Step], out: Path, minutes: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Run what is not done yet, one step after another, and keep the report up to date in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    path, ends = out / "gpu_day.json", time.monotonic() + 60 * minutes
    report: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"settings": settings, "steps": {}}
    if report["settings"] != settings:
        raise SystemExit(f"{out} has a report with other settings, {report['settings']}; give another --out")
    for number, step in enumerate(steps):
        before = report["steps"].get(step.name, {"outcome": "", "seconds": 0.0})
        if before["outcome"] == "done":
            continue
        started = time.monotonic()
        # What others leave is shared among those to come; a run needs some of it to save.
        left = ends - started - SAVING_S
        seconds = min(left, max(60 * step.minutes, left / (len(steps) - number)))
        print(f"{step.name}: ", end="", flush=True)
        outcome = run(step.command, out / f"{step.name}.log", seconds) if seconds > 0 else "no time left"
        spent = round(before["seconds"] + time.monotonic() - started, 1)
        row = {"outcome": outcome, "seconds": spent, "command": " ".join(map(str, step.command))}
        try:
            row["measured"] = step.read()
        except (OSError, ValueError, LookupError) as error:
            row["unread"] = repr(error)
        report["steps"][step.name] = row
        print(f"{outcome}, {spent:.0f} s", flush=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        (out / "gpu_day.md").write_text(markdown(report))
    return report


def markdown(report: dict[str, Any]) -> str:
    """Results beside their bars, then how every step ended."""
    steps = report["steps"]
    machine = steps.get("machine", {}).get("measured", {})
    lines = [f"{', '.join(machine.get('devices', []))}; torch {machine.get('versions', {}).get('torch', '?')}", ""]
    if report["settings"]["quick"]:
        lines += ["Tiny networks, to try the script: the numbers mean nothing.", ""]
    lines += ["| what | measured | bar | |", "| --- | --- | --- | --- |"]
    for name, step in steps.items():
        measured = step.get("measured", {})
        rows = executor_rows(name, measured) if "one variant" in measured else run_rows(name, measured) if "finished" in measured else []
        lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "| step | end | s |", "| --- | --- | --- |"]
    for name, step in steps.items():
        result = step.get("measured", {}).get("result", "")
        lines.append(f"| {name} | {step['outcome']}{f' ({result})' if result else ''} | {step['seconds']:.0f} |".replace("\n", " "))
    return "\n".join(lines) + "\n"


def executor_rows(name: str, measured: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    precision, step = name.partition("-")[2], "forward+backward"
    alone = {who: row[step] for who, row in measured["one variant"].items()}
    together = {who: {int(count): value for count, value in row.items()} for who, row in measured.get("seconds per variant", {}).items()}
    # Of the variants that each has room for together.
    best = {who: min([seconds, *together.get(who, {}).values()]) for who, seconds in alone.items()}
    rows = [(f"{precision}: {who}, a step, the fastest per variant", f"{1e3 * seconds:.3g} ms", "", "") for who, seconds in best.items()]

    def against(who: str, bar: float, what: str, theirs: float, ours: float) -> None:
        ratio = theirs / ours
        rows.append((f"{precision}: fused against {who}, {what}", f"{ratio:.1f}x", f"{bar:g}x", "met" if ratio >= bar else "missed"))

    if "fused" not in alone:
        return [*rows, (f"{precision}: fused", "not run", f"{X_LOOP}x, {X_LEVELS}x, {SHARE:.0%}", "missed")]
    for who, bar in (("loop", X_LOOP), ("levels", X_LEVELS)):
        if who in alone:
            against(who, bar, "one variant", alone[who], alone["fused"])
            against(who, bar, "the fastest of each", best[who], best["fused"])
    for key, what in (("bytes", "one variant"), ("bytes together", "most variants")):
        if key in measured:
            share, copy = measured[key]["the walk moves: fraction of bandwidth"], measured[key]["copy_bandwidth"]
            verdict = "met" if share >= SHARE else "missed"
            rows.append((f"{precision}: share of a copy's {copy / 1e9:,.0f} GB/s, {what}", f"{share:.0%}", f"{SHARE:.0%}", verdict))
    return rows


def run_rows(name: str, measured: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    scores = measured.get("scores") or measured.get("validation", {})
    shown = ", ".join(f"{family} {100 * value:.2f}" for family, value in scores.items())
    iterations, of = ", ".join(map(str, measured["iterations"])), "test" if measured["finished"] else "validation, to be resumed"
    published = PUBLISHED.get(name.removeprefix("park-kim-"), "")
    taken = [(f"{name}: auto takes", text, "", "") for text in measured["executors"]]
    return [(f"{name}, %, after {iterations} iterations, {of}", shown or "nothing yet", published and f"published {published}", ""), *taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="tiny networks, to try this script")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-day"))
    parser.add_argument("--image-root", type=Path, help="folder that holds mnist, fashion_mnist and cifar10; else they are downloaded")
    parser.add_argument("--minutes", type=float, default=29.0, help="for all steps together")
    parser.add_argument("--steps", help="only these, with commas between them")
    options = parser.parse_args()
    options.out = options.out.resolve()
    steps = all_steps(options)
    if options.steps:
        names = options.steps.split(",")
        if unknown := set(names) - {step.name for step in steps}:
            parser.error(f"--steps: expected {', '.join(step.name for step in steps)}, got {', '.join(sorted(unknown))}")
        steps = [step for step in steps if step.name in names]
    report = run_steps(steps, options.out, options.minutes, {"device": options.device, "quick": options.quick})
    print(f"\n{markdown(report)}\nwritten to {options.out / 'gpu_day.json'} and gpu_day.md")


if __name__ == "__main__":
    main()
