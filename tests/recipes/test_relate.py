"""Structure against what was learned, over the wirings of finished runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from elegans_pyg.recipes.elegans_echo import ELEGANS_ECHO, EchoSettings
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.recipes.relate import RELATE, RelateSettings, _in_a_sentence
from elegans_pyg.studies import Report, load_run, run_study
from elegans_pyg.studies.study import Study
from tests.commands import invoke, refused
from tests.recipes.tiny import tiny_settings, write_wiring
from tests.recipes.undrawn import undrawn

TRAINED = replace(ENSEMBLE, report=lambda done: Report())
"""Runs of ``ensemble`` whose own report is of no interest here."""
FILES = {"relation.json", "relation.txt", "results.csv"}


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run_study(TRAINED, tiny_settings(folder, variants=3, repeats=2), folder / "one", quiet=True)
    run_study(TRAINED, tiny_settings(folder, families=["ws"], seeds=0, variants=6, seed=1), folder / "two", quiet=True)
    run_study(TRAINED, tiny_settings(folder, families=["er"], seeds=0, channels=3), folder / "wide", quiet=True)
    run_study(TRAINED, tiny_settings(folder, families=[], seeds=1), folder / "single", quiet=True)
    return folder


def settings_of(folder: Path, *names: str, measures: tuple[str, ...] = ("size",)) -> RelateSettings:
    return RelateSettings(runs=tuple(str(folder / name) for name in names), measures=measures)


@pytest.mark.slow
def test_runs_are_joined_with_the_measures_of_their_wirings(finished: Path, tmp_path: Path) -> None:
    settings = settings_of(finished, "one", "two", measures=("size", "dag", "clustering"))
    result = run_study(RELATE, settings, tmp_path / "out", quiet=True)
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert len(table) == 14 + 6
    assert table["variant"].tolist() == list(range(20))
    assert table["wiring"].nunique() == 13
    row = 0
    for name in ("one", "two"):
        run = load_run(finished / name)
        for accuracy, graph in zip(run.results["accuracy"], run.units.graphs(), strict=True):
            assert table.loc[row, "accuracy"] == pytest.approx(accuracy, abs=0)
            assert table.loc[row, "levels"] == int(graph.level.max()) + 1
            assert table.loc[row, "edges"] == graph.num_edges
            row += 1
    (relation,) = json.loads((tmp_path / "out" / "relation.json").read_text())["relations"]
    assert relation["value"] == "accuracy"
    assert len(relation["models"]) == 3
    text = (tmp_path / "out" / "relation.txt").read_text()
    assert text.startswith("Accuracy and structure")
    assert "The units are the 13 wirings" in " ".join(text.split())
    assert [figure.name for figure in result.figures] == ["accuracy-against-measures"]
    # What it needs of the runs it keeps.
    assert load_run(tmp_path / "out").redraw()


def test_equal_wirings_of_two_runs_are_one(finished: Path, tmp_path: Path) -> None:
    again = tiny_settings(finished, families=["er"], seeds=2, seed=3)
    run_study(TRAINED, again, tmp_path / "again", quiet=True)
    settings = RelateSettings(runs=(str(finished / "single"), str(tmp_path / "again")), measures=("size",))
    table = run_study(RELATE, settings, quiet=True).results
    assert table["wiring"].tolist() == [0, 0, 0, 1]


def test_too_little_to_relate_is_said(finished: Path, tmp_path: Path) -> None:
    result = run_study(RELATE, settings_of(finished, "single"), tmp_path / "out", quiet=True)
    assert result.figures == []
    assert "No measure differs" in (tmp_path / "out" / "relation.txt").read_text()


def test_every_task_is_related_by_itself(tmp_path: Path) -> None:
    wiring, neurons = write_wiring(tmp_path)
    settings = {"connectome": str(wiring), "neurons": str(neurons), "families": ("er",), "variants": 6, "train": 60, "radii": (0.9,)}
    run_study(ELEGANS_ECHO, EchoSettings(**settings, tasks=("memory", "parity")), tmp_path / "echo", quiet=True)
    result = run_study(RELATE, settings_of(tmp_path, "echo", measures=("reciprocity",)), tmp_path / "out", quiet=True)
    relations = json.loads((tmp_path / "out" / "relation.json").read_text())["relations"]
    assert [relation["value"] for relation in relations] == ["memory score", "parity score"]
    assert relations[0]["measures"][0]["n"] == 7
    assert relations[0]["measures"][0]["rho"] != relations[1]["measures"][0]["rho"]
    assert [figure.name for figure in result.figures] == ["memory-score-against-measures", "parity-score-against-measures"]


def test_runs_that_do_not_belong_together_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"settings cannot be related to structure .*differ in channels.*; relate the runs apart"):
        run_study(RELATE, settings_of(finished, "one", "wide"), tmp_path / "out", quiet=True)
    shutil.copytree(finished / "two", tmp_path / "copy")
    with pytest.raises(ValueError, match="twice; drop the copy"):
        run_study(RELATE, RelateSettings(runs=(str(finished / "two"), str(tmp_path / "copy"))), tmp_path / "out", quiet=True)
    table = (tmp_path / "copy" / "results.csv").read_text()
    (tmp_path / "copy" / "results.csv").write_text(table.replace("ws", "er", 1))
    with pytest.raises(ValueError, match="was changed after its run"):
        run_study(RELATE, RelateSettings(runs=(str(tmp_path / "copy"),)), tmp_path / "out", quiet=True)
    with pytest.raises(FileExistsError, match="holds a run already"):
        run_study(RELATE, settings_of(finished, "two"), finished / "one", quiet=True)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_relation_goes_on_to_the_same_end(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, tried, measure = settings_of(finished, "one"), [], RELATE.measure

    def stops(*arguments: object) -> pd.DataFrame:
        tried.append(1)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setitem(RELATE.__dict__, "shard_size", lambda _: 8)
    with monkeypatch.context() as patch:
        patch.setitem(RELATE.__dict__, "measure", stops)
        with pytest.raises(KeyboardInterrupt):
            run_study(RELATE, settings, tmp_path / "run", workers=1, quiet=True)
    run_study(RELATE, settings, tmp_path / "run", resume=True, workers=1, quiet=True)
    run_study(RELATE, settings, tmp_path / "whole", workers=1, quiet=True)
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_command_prints_and_keeps_what_it_finds(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("relate", finished / "one", "--measures", "size,degrees,dag", "--out", "related", "--quiet")
    assert (code, err) == (0, "")
    assert "Accuracy and structure" in out
    assert "Too few wirings: 7, and" in out
    assert max(map(len, out.splitlines())) <= 80
    assert {path.name for path in Path("related").iterdir()} >= FILES | {"figures"}
    (relation,) = json.loads(Path("related/relation.json").read_text())["relations"]
    ranked, whole = [row["measure"] for row in relation["measures"]], Path("related/relation.txt").read_text()
    assert len(ranked) > 10
    assert f"10 of {len(ranked)} measures shown, those with the largest |rho|; all are in relation.txt" in " ".join(out.split())
    assert [name for name in ranked if re.search(rf"^{name} ", out, re.MULTILINE)] == ranked[:10]
    assert all(re.search(rf"^{name} ", whole, re.MULTILINE) for name in ranked)


def test_bad_input_ends_in_one_line(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bare = tmp_path / "loops.csv"
    bare.write_text("pre,post,weight,synapse\nN00,N00,3,chemical\nN06,N06,2,chemical\n")
    for arguments, message in (
        ((), "RUN"),
        (("none",), "not a run folder"),
        ((finished / "one", finished / "one"), "expected each value once"),
        ((finished / "one", "--seed", -1), "seed: expected at least 0, got -1"),
        ((finished / "one", "--measures", "sgima"), "measures: unknown choice 'sgima'"),
        ((bare,), "not a run folder"),
    ):
        assert message in refused("relate", *arguments, "--quiet")
    assert not list(tmp_path.glob("runs/*"))


def test_the_sentence_names_what_was_shown_and_no_more() -> None:
    rows = [("depth", 0.9, 0.01, 0.2, 0.5), ("loops", -0.7, 0.04, -0.8, 0.03), ("size", 0.1, 1.0, float("nan"), float("nan"))]
    table = pd.DataFrame(rows, columns=["measure", "rho", "p_holm", "rho_within", "p_within_holm"])
    assert _in_a_sentence(table, "accuracy") == (
        "Correlated with the accuracy (p ≤ 0.05 after Holm's correction): 2 of 3 measures over all wirings (strongest by rho: depth (+0.90)"
        ", loops (-0.70)) and 1 of 2 measures within families (strongest by rho: loops (-0.80))."
    )


def test_it_is_a_study_like_the_others() -> None:
    assert isinstance(RELATE, Study)
    with pytest.raises(ValueError, match="runs: expected one run folder or more"):
        run_study(RELATE, quiet=True)
