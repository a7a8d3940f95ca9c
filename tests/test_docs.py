"""Pages that are written by scripts say what the code says now, and the commands of pages for users run."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.cli.app import app
from elegans_pyg.cli.options import given_settings
from elegans_pyg.studies.study import Study
from tests.commands import invoke
from tests.datasets.test_natural_files import shared
from tests.recipes.undrawn import undrawn

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "README.md", *(path for place in ("docs/*.md", "docs/papers/*.md", "examples/*.py") for path in sorted(ROOT.glob(place)))]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}


def test_the_settings_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "settings_page.py"))
    assert script["page"]() == PAGES["docs/settings.md"], "run: python scripts/settings_page.py"


def test_the_answer_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "answer_page.py"))
    page = PAGES["docs/what_is_the_wiring_for.md"]
    assert script["between_marks"](page, script["texts"]()) == page, "run: python scripts/answer_page.py"


def test_the_answer_page_says_what_the_runs_found(tmp_path: Path) -> None:
    """Runs made up so that the answer is known: equal on images, worse at memory and at NARMA-10, where less is better."""
    script = runpy.run_path(str(ROOT / "scripts" / "answer_page.py"))
    kept, rng = script["texts"].__globals__, np.random.default_rng(0)
    kept["EVIDENCE"] = tmp_path
    found = {"digits-d": {"": (0.97, 0.97, 0.002)}, "time-trained": {"memory": (30.0, 40.0, 1.0), "narma10": (0.5, 0.4, 0.01)}}
    for name, tasks in found.items():
        rows = [
            {"family": family, "wiring_seed": place * (family != "connectome"), "seed": place, "task": task, column: mean}
            for task, (own, null, sd) in tasks.items()
            for family, centre in (("connectome", own), ("type_rewired", null))
            for place, mean in enumerate(rng.normal(centre, sd, 30))
            for column in ["score" if task else "accuracy"]
        ]
        table = pd.DataFrame(rows).rename_axis("variant").reset_index()
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "results.csv", index=False)
    machine = {"units": 60, "processor": "one", "versions": dict.fromkeys(("elegans-pyg", "torch", "torch-geometric", "numpy"), "1")}
    (tmp_path / "runs.json").write_text(json.dumps(dict.fromkeys(found, machine)), encoding="utf-8")
    said = script["texts"]()
    assert "| **equal** |" in said["pictures"]
    worse = "the connectome differs at the registered level of 0.0125 in memory (worse, p 1e-04), narma10 (worse, p 1e-04);"
    assert f"the wiring matters. From `type_rewired`, the primary family, {worse}" in said["answer"]
    # Rank 1 is the best, also where less is better.
    assert said["time"].count("| 31 of 31 |") == 2
    effects = script["effects"]().set_index("row")["effect"]
    assert (effects[["memory, trained", "narma10, trained"]] < -5).all()
    assert abs(effects["digits"]) < 1
    assert said["signals"] == said["structure"] == "Not run yet."


def test_the_diffs_of_the_contributors_page_apply() -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    diffs = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(diffs) == 4
    for diff in diffs:
        assert diff.count("\n") < 60
        done = subprocess.run(["git", "apply", "--check"], input=diff, text=True, capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr


def run_blocks(page: str) -> list[str]:
    """Run the Python blocks and the commands of a page, in order, and return what each prints, commands on both channels."""
    printed: list[str] = []
    namespace: dict[str, object] = {}
    for language, block in re.findall(r"^```(python|sh)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as text:
                exec(block, namespace)
            printed.append(text.getvalue())
            continue
        for command in block.splitlines():
            program, *arguments = shlex.split(command)
            assert program == "elegans-pyg"
            code, out, err = invoke(*arguments)
            assert code == 0, (command, out, err)
            printed.append(out + err)
    return printed


def commands(page: str) -> list[str]:
    """Every ``elegans-pyg`` command of a page, in blocks, tables and text, without the program's name."""
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\belegans-pyg (.*)", blocks) + re.findall(r"`(?:elegans-pyg )?((?<=elegans-pyg )[^`]+|reproduce [^`]+)`", text)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_what_the_application_takes(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command, option and choice exists; nothing runs. A command without arguments may be no more than a mention."""

    def check(study: Study[Any], values: dict[str, Any]) -> None:
        study.make(given_settings(study.settings, values), quick=values.get("quick", False))

    monkeypatch.setattr("elegans_pyg.cli.studies.run_command", check)
    for command in commands(PAGES[page]):
        words = shlex.split(command, comments=True)
        names, _, rest = app.parse_commands(words)
        assert names, command
        if rest:
            function, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
            if function.__module__ == "elegans_pyg.cli.studies":
                function(*bound.args, **bound.kwargs)


def test_scripts_and_extras_that_pages_name_exist() -> None:
    text, project = "\n".join(PAGES.values()), (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"^(\w+) = \[", project.partition("[project.optional-dependencies]")[2].partition("\n[")[0], re.MULTILINE))
    named = {extra for group in re.findall(r"'\.\[([a-z,]+)\]'", text) for extra in group.split(",")}
    assert {"fast", "images"} <= named <= extras
    assert not [name for name in re.findall(r"\bscripts/\w+\.(?:py|sh)\b", text) if not (ROOT / name).is_file()]


def test_the_api_has_what_pages_import() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "reference_pages.py"))
    listed = {f"elegans_pyg.{module}.{name}" for module in script["MODULES"] for name in script["exported"](module)}
    listed |= {f"{module}.{name}" for module, *names in script["recipes"]().values() for name in names}
    text = "\n".join(PAGES.values())
    imports = re.findall(r"^from (elegans_pyg\.[\w.]+) import (.+)$", text, re.MULTILINE)
    found = {f"{module}.{name}" for module, names in imports for name in names.split(", ")}
    found |= {f"elegans_pyg.{name}" for name in re.findall(r"\bep\.([\w.]+)\(", text)}
    assert {"elegans_pyg.dynamics.cables.read_segments", "elegans_pyg.recipes.ensemble.EnsembleSettings"} < found
    assert not found - listed


def test_the_commands_page_names_the_program_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where ``python -m sphinx`` writes it."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec("sphinx.__main__", None, origin=sys.argv[0]))
    page = runpy.run_path(str(ROOT / "scripts" / "reference_pages.py"))["commands"]()
    assert "\nelegans-pyg analyze [OPTIONS] [ARGS...]\n" in page
    assert "sphinx" not in page


@pytest.mark.ogb
def test_the_page_on_wiringbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ogb", reason="needs the extra ogb")
    monkeypatch.chdir(tmp_path)
    run_blocks(PAGES["docs/wiringbench.md"])
    assert list((tmp_path / "ogb").iterdir())


@pytest.mark.slow
def test_the_page_on_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    said = "".join(run_blocks(PAGES["docs/export.md"]))
    assert said.count("largest difference from the network on sample inputs: ") == 3
    assert "True True True" in said
    assert {path.name for path in tmp_path.iterdir()} >= {"digits.onnx", "digits.pt2", "digits.npz", "digits.py", "digits_floats.pt2"}


@pytest.mark.slow
def test_the_worm_with_its_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="takes minutes without")
    monkeypatch.chdir(tmp_path)
    page = PAGES["docs/the_worm_with_its_shape.md"]
    (said,) = re.findall(r"^```\n(.*)\n```$", page, re.MULTILINE)
    assert run_blocks(page) == [said + "\n"]
    assert (tmp_path / "PVDL.png").stat().st_size > 10_000


@pytest.mark.slow
def test_your_own_connectome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGES["docs/your_own_connectome.md"]
    with undrawn():
        printed = "".join(run_blocks(page.partition("## The fly larva")[0]))
    (said,) = re.findall(r"^```\n(.*)\n```$", page, re.MULTILINE)
    assert said in printed
    assert "chosen: 4 inputs, 2 outputs" in printed
    assert re.search(r"connectome +1 +161 +\d+ +4 +2 ", printed)


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGES["README.md"].partition("## The same in Python")[2]
    smaller = {"seeds=10, variants=10": "seeds=1, variants=1", '"iterations": 300': '"iterations": 2', "=78": "=2"}
    smaller |= {"count=30": "count=2", "full((40": "full((1"}
    for large, small in smaller.items():
        assert page.count(large) == 1
        page = page.replace(large, small)
    with undrawn():
        run_blocks(page)
    assert (tmp_path / "runs" / "mine" / "summary.json").is_file()


@pytest.mark.slow
def test_the_larva(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "maggot_subset_edgelist.csv").symlink_to(shared("maggot_subset_edgelist.csv"))
    monkeypatch.chdir(tmp_path)
    page = PAGES["docs/your_own_connectome.md"]
    with undrawn():
        analyzed, trained = run_blocks(page.partition("## The fly larva")[2])
    assert "columns 1, 2 as edges, 3 as weight; no types: inputs are sources (23), outputs sinks (92)" in analyzed
    assert re.search(r"connectome +1 +1,240 +20,984 +23 +135 +0 +423", trained)


@pytest.mark.slow
def test_a_trained_network_is_used_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = "".join(run_blocks(PAGES["docs/use_a_trained_network.md"]))
    here, kept = re.findall(r"([0-9.]+) here, ([0-9.]+) in results.csv", said)[0]
    assert here == kept
    assert "photo.png: 8x8 from 120x120, grey, inverted." in said
    assert (tmp_path / "seen" / "predictions.csv").is_file()


def test_the_page_on_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGES["docs/statistics.md"]
    with undrawn():
        said = "".join(run_blocks(page.replace("--iterations 100", "--iterations 2")))
    # The headings of what the page shows, from the run and from compare.
    headings = re.findall(r"^(Different, equal .*|Rank of .*|family +(?:verdict|rank) .*)$", page, re.MULTILINE)
    assert len(headings) == 4
    for heading in headings:
        assert " ".join(said.split()).count(" ".join(heading.split())) >= 2, heading
    assert said.count("equal within 2 pp") == 2
