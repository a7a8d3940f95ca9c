"""Run folders that cannot lie: kill studies at random moments and resume them, and give every command bad input.

    python scripts/torture.py --kills 200 --inputs 300

Kills: every study runs once undisturbed; then again and again, killed (SIGKILL or SIGTERM) at a random moment, perhaps a second time
while it is resumed, and resumed to its end. All files must have the undisturbed run's bytes. Inputs: every command is given wrong values
for its settings, damaged files, pipes, devices, and sizes that no machine has. It must refuse each in one line, write nothing, and end.

All runs are forks of this process, in which everything has been imported and nothing computed, so that a run takes its own time only.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from elegans_pyg import cli
from elegans_pyg._settings import Settings, choices
from elegans_pyg.studies.registry import RECIPES, find

NOT_COMPARED = {".lock", ".holder.json", "summary.json", "fit.json", "seconds.json"}
"""What holds times, or belongs to a process."""
HANG_S = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--inputs", type=int, default=300)
    parser.add_argument("--studies", default="", help="names with commas between them; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="work here and keep it")
    options = parser.parse_args()
    warm_up()
    place = options.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    write_inputs(place)
    failures: list[str] = []
    if options.kills:
        failures += kill_studies(options.kills, options.seed, [name for name in options.studies.split(",") if name])
    if options.inputs:
        failures += give_bad_input(options.inputs, options.seed)
    if options.folder is None and not failures:
        os.chdir("/")
        shutil.rmtree(place)
    sys.exit(1 if failures else 0)


class Failures(list[str]):
    """What went wrong, told as soon as it is known."""

    def append(self, failure: str) -> None:
        print(f"FAILED: {failure}", flush=True)
        super().append(failure)


def warm_up() -> None:
    """Import what runs need, and compute nothing: threads do not survive a fork."""
    import matplotlib.figure  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch_geometric  # noqa: F401

    import elegans_pyg.analysis
    import elegans_pyg.dynamics
    import elegans_pyg.models
    import elegans_pyg.plots
    import elegans_pyg.studies.engines
    import elegans_pyg.studies.fitting
    import elegans_pyg.studies.saved
    import elegans_pyg.studies.tables  # noqa: F401


def write_inputs(place: Path) -> None:
    """A small wiring, and files of every bad kind."""
    rng = random.Random(5)
    edges = sorted({(rng.randrange(24), rng.randrange(24)) for _ in range(300)})
    rows = [f"N{a:02},N{b:02},{rng.randrange(1, 30)},chemical" for a, b in edges if a != b]
    (place / "small.csv").write_text("\n".join(["pre,post,weight,synapse", *rows]) + "\n")
    types = ("sensory", "inter", "motor")
    neurons = [f"N{n:02},{types[0 if n < 6 else 1 + n % 2]}" for n in range(24)]
    (place / "neurons.csv").write_text("\n".join(["name,type", *neurons]) + "\n")
    bad = place / "bad"
    bad.mkdir(exist_ok=True)
    text = {
        "empty.csv": "",
        "loops.csv": "pre,post,weight,synapse\nN00,N00,1,chemical\nN06,N06,2,chemical\n",
        "one-column.csv": "pre\nN00\n",
        "text-weight.csv": "pre,post,weight,synapse\nN00,N06,abc,chemical\n",
        "huge-weight.csv": f"pre,post,weight,synapse\nN00,N06,{'9' * 400},chemical\n",
        "infinite.csv": "pre,post,weight,synapse\nN00,N06,1e999,chemical\n",
        "header-only.csv": "pre,post,weight,synapse\n",
        "utf7.graphml": '<?xml version="1.0" encoding="utf-7"?><graphml/>',
        "bomb.graphml": '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><g>&b;</g>',
        "torn.graphml": "<graphml><graph>",
        "deep.yaml": "[" * 5_000,
        "alias.yaml": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "torn.yaml": "a: [1",
        "list.yaml": "- 1\n- 2\n",
        "unknown.yaml": "chanels: 3\n",
        "object.yaml": "!!python/object/apply:os.system ['true']\n",
        "digits.yaml": f"seed: {'9' * 20}\n",
    }
    for name, content in text.items():
        (bad / name).write_text(content)
    (bad / "binary.csv").write_bytes(bytes(range(256)) * 20)
    (bad / "binary.graphml").write_bytes(bytes(range(256)))
    (bad / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    if not (bad / "pipe").exists():
        os.mkfifo(bad / "pipe")
    (bad / "folder.csv").mkdir(exist_ok=True)


# A form of every study that takes seconds.
TRAINING = "--batch-size 20 --device cpu --validation-fraction 0.1"
WIRING = "--connectome small.csv --neurons neurons.csv"
SMALL = {
    "ensemble": f"{WIRING} --families er,rewired --seeds 2 --variants 1 --channels 2 --executor levels {TRAINING} --iterations 60"
    " --eval-every 15 --checkpoint-every 10",
    "train": f"{WIRING} --seeds 2 --channels 2 --executor fused {TRAINING} --iterations 60 --eval-every 15 --checkpoint-every 10",
    "reproduce park-kim": f"--seeds 1 --variants 1 --channels 1 --executor levels {TRAINING} --iterations 6 --checkpoint-every 2",
    "reproduce elegans-m1": f"--dataset digits --families er --seeds 1 --variants 1 --width 4 --encoder-channels 4,4,4,4 {TRAINING}"
    " --iterations 6 --eval-every 3 --checkpoint-every 2 --augment none",
    "reproduce elegans-m2": f"--dataset digits --families er --seeds 1 --variants 1 --width 4 {TRAINING} --iterations 6 --eval-every 3"
    " --checkpoint-every 2",
    "reproduce elegans-echo": f"{WIRING} --families er --variants 6 --tasks memory,parity --radii 0.5,0.9 --leaks 1 --train 60",
    "reproduce time-tasks": f"{WIRING} --families er --seeds 2 --variants 2 --tasks memory,digits --steps 20 --washout 5 --train 20"
    " --iterations 40 --eval-every 10 --checkpoint-every 10",
    "reproduce elegans-structure": "--connectomes witvliet2021-1 --stages '' --points 0,50,100 --graphs 2 --nulls 19 --workers 1",
    "reproduce signal-propagation": "--connectome witvliet2021-1 --synapses chemical --fitted-synapses chemical --families rewired"
    " --nulls 4 --fitted-nulls 2 --folds 3 --workers 1",
    "reproduce signal-simulation": "--membranes kunert --families rewired --nulls 2 --fit-steps 1 --fit-stimuli 2 --on 1 --duration 2"
    " --fit-duration 2 --workers 1",
    "reproduce barbulescu": "--experiment 1 --epochs 4 --runs 2 --count 4",
    "reproduce wiringbench": "--targets memory --splits random --models size,ridge,gin --seeds 1 --epochs 1",
    "build-wiringbench": "--every 1600 --groups start",
    "fit-rnn": "--epochs 8 --runs 2 --count 4 --hidden 2",
    "analyze": "witvliet2021-1 --nulls 19 --workers 1",
    "relate": "reference/ensemble --workers 1",
    "simulate": "--duration 40 --on 10 --off 30",
}


def arguments_of(name: str) -> list[str]:
    return [*name.split(), *(part.strip("'") for part in SMALL[name].split()), "--quiet"]


def start(arguments: list[str], log: Path) -> int:
    """A fork that runs the command; gives its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        import torch

        torch.set_num_threads(1)
        cli.main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}\n".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> int | None:
    """Exit code (128 + signal for a signalled process), or ``None`` if it has not ended by then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        time.sleep(0.01)
    return None


def end(child: int) -> None:
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def kill_studies(kills: int, seed: int, chosen: list[str]) -> list[str]:
    """Kill and resume; gives what went wrong."""
    rng, failures = random.Random(seed), Failures()
    durations: dict[str, float] = {}
    counts: collections.Counter[str] = collections.Counter()
    names = [name for name in RECIPES if not chosen or name in chosen or name == "ensemble"]
    for name in names:
        reference = Path("reference") / name.split()[-1]
        began = time.monotonic()
        if not (reference / "summary.json").is_file():
            code = wait(start([*arguments_of(name), "--out", str(reference)], Path(f"log-{name.split()[-1]}.txt")), 600)
            if code != 0:
                failures.append(f"{name}: the undisturbed run ended with {code}; see log-{name.split()[-1]}.txt")
                continue
        durations[name] = time.monotonic() - began
        print(f"{name}: {durations[name]:.1f} s undisturbed", flush=True)
    for number in range(kills):
        name = list(durations)[number % len(durations)]
        place = Path(f"killed-{number}")
        log = Path(f"log-killed-{number}.txt")
        command = [*arguments_of(name), "--resume", "--out", str(place)]
        kinds = []
        for _ in range(1 + (rng.random() < 0.3)):
            place.mkdir(exist_ok=True)
            child, kind = start(command, log), rng.choice([signal.SIGKILL, signal.SIGTERM])
            if wait(child, rng.random() * durations[name]) is None:
                os.killpg(child, kind) if kind == signal.SIGKILL else os.kill(child, kind)
                code = wait(child, HANG_S)
                kinds.append(kind.name)
                if code is None:
                    failures.append(f"{name}: hung after {kind.name} (run {number})")
                    end(child)
                elif kind == signal.SIGTERM and code not in (143, 0):
                    failures.append(f"{name}: ended with {code} after SIGTERM (run {number}, {log})")
        child = start(command, log)
        code = wait(child, 600)
        if code is None:
            end(child)
        problem = f"the resumed run ended with {code}" if code != 0 else differs(Path("reference") / name.split()[-1], place)
        if problem:
            failures.append(f"{name}: {problem} (run {number}, killed by {', '.join(kinds) or 'nothing'}, {log})")
        else:
            shutil.rmtree(place)
        counts.update(kinds or ["ended first"])
    print(f"{kills} runs disturbed, {dict(counts)}, {len(failures)} failures", flush=True)
    return failures


def differs(reference: Path, other: Path) -> str:
    """The first way in which two run folders differ; empty if they do not."""
    trees = []
    for folder in (reference, other):
        files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_COMPARED}
        trees.append(files)
    odd = set(trees[0]) ^ set(trees[1])
    if odd:
        return f"{min(odd)} is in one folder only"
    for name, path in sorted(trees[0].items()):
        one, two = path.read_bytes(), trees[1][name].read_bytes()
        if path.name == "state.json":
            one, two = ({**json.loads(each), "seconds": 0, "sha256": 0} for each in (one, two))  # type: ignore[assignment]
        # A report shows what training took, where a study keeps that.
        timed = name.name == "report.html" and any(reference.glob("shards/*/fit.json")) | any(reference.glob("shards/*/seconds.json"))
        if one != two and not timed:
            return f"{name} differs"
    return ""


def give_bad_input(count: int, seed: int) -> list[str]:
    """Refusals; gives what went wrong."""
    failures = Failures()
    cases = bad_inputs()
    random.Random(seed).shuffle(cases)
    # All kinds of cases, however few are asked for: one of each group in turn.
    groups = collections.defaultdict(list)
    for case in cases:
        groups[case[0]].append(case)
    mixed = [case for row in itertools.zip_longest(*groups.values()) for case in row if case is not None]
    for _, arguments in mixed[:count]:
        log, place = Path("log-inputs.txt"), Path("bad-run")
        log.unlink(missing_ok=True)
        child = start([*arguments, "--out", str(place)] if arguments[0] not in ("compare", "plot", "join", "report") else arguments, log)
        code = wait(child, HANG_S)
        shown = " ".join(part if len(part) < 60 else f"{part[:30]}... ({len(part)} characters)" for part in arguments)
        if code is None:
            end(child)
            failures.append(f"hung: {shown}")
            shutil.rmtree(place, ignore_errors=True)
            continue
        said = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        if code == 0:
            failures.append(f"accepted: {shown}")
        elif (
            code not in (1, 2) or len(said) != 1 or not said[0].startswith("error: ") or "this is a bug" in said[0] or len(said[0]) > 2_000
        ):
            failures.append(f"ended with {code}: {shown}: {' / '.join(said)[-300:]}")
        if place.exists():
            failures.append(f"left a folder: {shown}")
            shutil.rmtree(place)
    print(f"{min(count, len(mixed))} of {len(mixed)} bad inputs given, {len(failures)} failures", flush=True)
    return failures


def bad_inputs() -> list[tuple[str, list[str]]]:
    """Cases, each with the group that it is of."""
    cases: list[tuple[str, list[str]]] = []
    pools = {
        int: ["x", "-1", "1.5", "9" * 20, "9" * 5_000, ""],
        float: ["x", "nan", "inf", "-inf", ""],
    }
    for name in RECIPES:
        study = find(name)
        base = ["bad/none"] if study.places == "runs" else ["witvliet2021-1"] if study.places else []
        for setting, (_, info) in study.settings.flat_fields().items():
            option = f"--{setting.replace('_', '-')}"
            for kind, values in pools.items():
                if plain_type(info.annotation) is kind:
                    cases += [(f"{kind.__name__} of {name}", [*name.split(), *base, f"{option}={value}"]) for value in values]
            if choices(info.annotation) and setting != study.places:
                cases.append((f"choice of {name}", [*name.split(), *base, f"{option}=nope"]))
        cases += [
            (f"options of {name}", [*name.split(), *base, *more])
            for more in (["--nope"], ["--resume"], ["--shard", "2/1"], ["--engine", "x"])
        ]
        cases += [(f"config of {name}", [*name.split(), *base, "--config", str(path)]) for path in sorted(Path("bad").glob("*.yaml"))]
        cases += [(f"config of {name}", [*name.split(), *base, "--config", path]) for path in ("bad/pipe", "/dev/zero", "bad", "bad/none")]
        if "connectome" in study.settings.flat_fields():
            for path in (
                "bad/pipe",
                "/dev/zero",
                "bad/none.csv",
                *map(str, sorted([*Path("bad").glob("*.csv"), *Path("bad").glob("*.graphml")])),
            ):
                cases.append(
                    (
                        f"wiring of {name}",
                        [
                            *name.split(),
                            "--connectome",
                            path,
                            *(["--neurons", "neurons.csv"] if "neurons" in study.settings.flat_fields() and path.endswith("csv") else []),
                        ],
                    )
                )
    huge = (
        ["ensemble", "--channels", "100000"],
        ["ensemble", "--family-option", "er.seed=1"],
        ["ensemble", "--family-option", "er.density=" + "[" * 3_000],
        ["reproduce", "elegans-m2", "--dataset", "digits", "--width", "100000"],
        ["reproduce", "elegans-m1", "--encoder", "nope"],
        ["fit-rnn", "--cell", "nope"],
        ["fit-rnn", "--hidden", "100000"],
        ["simulate", "--duration", "500000000"],
        ["simulate", "--inputs", "NOPE"],
        ["analyze", "--seed", "-1"],
        ["analyze", "bad/loops.csv"],
        ["compare", "bad"],
        ["compare"],
        ["plot", "bad/none"],
        ["report", "bad/none"],
        ["report", "bad"],
        ["report"],
        ["join", "/dev/zero"],
    )
    return cases + [("sizes and names", list(case)) for case in huge]


def plain_type(annotation: Any) -> Any:
    from elegans_pyg.cli import options

    found = options._members(annotation)
    return found[0] if len(found) == 1 and not (isinstance(found[0], type) and issubclass(found[0], Settings)) else None


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
