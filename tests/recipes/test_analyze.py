"""The structure of a connectome against rewired graphs, and of the wirings of a run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from elegans_pyg.analysis import MEASURES, dyads, measures
from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes.analyze import ANALYZE, AnalyzeSettings, _short, analyze_units
from elegans_pyg.recipes.elegans_echo import ELEGANS_ECHO, EchoSettings
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.studies import Report, Shard, load_run, run_study, unit_seed
from elegans_pyg.transforms import Rewired
from tests.commands import invoke, refused
from tests.recipes.tiny import tiny_settings, write_wiring
from tests.recipes.undrawn import undrawn

STAGE = "witvliet2021-1"
TRAINED = replace(ENSEMBLE, report=lambda done: Report())
"""Runs of ``ensemble`` whose own report is of no interest here."""


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run_study(TRAINED, tiny_settings(folder, variants=3, repeats=2), folder / "one", quiet=True)
    run_study(TRAINED, tiny_settings(folder, families=[], seeds=1), folder / "single", quiet=True)
    return folder


def test_a_connectome_against_its_rewired_graphs(tmp_path: Path) -> None:
    settings = AnalyzeSettings(wiring=STAGE, measures=("size", "clustering"), nulls=19)
    result = run_study(ANALYZE, settings, tmp_path / "run", quiet=True)
    base, table = Connectome(STAGE)[0], pd.read_csv(tmp_path / "run" / "measures.csv").set_index("measure")
    graphs = [Rewired(unit_seed(0, f"{STAGE}-rewired-100-null", number))(base) for number in range(19)]
    expected = measures([base, *graphs], ["size", "clustering"])
    pd.testing.assert_frame_equal(result.results[list(expected)], expected.astype(float))
    assert table.loc["edges", "value"] == expected["edges"].iloc[0]
    assert table.loc["clustering", "mean"] == pytest.approx(expected["clustering"].iloc[1:].mean())
    assert table.loc["clustering", "p"] == pytest.approx(1 / 20)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "dyads.csv"), dyads(base), check_dtype=False)
    assert {figure.name for figure in result.figures} == {"type-pairs", "scores"}
    assert analyze_units(settings).table["wiring"].tolist() == [0] + [-1] * 19
    plain = run_study(ANALYZE, AnalyzeSettings(wiring=STAGE, measures=("size",), nulls=0), tmp_path / "plain", quiet=True)
    assert pd.read_csv(tmp_path / "plain" / "measures.csv").columns.tolist() == ["measure", "value"]
    assert [figure.name for figure in plain.figures] == ["type-pairs"]


def test_an_interrupted_analysis_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AnalyzeSettings(wiring=STAGE, measures=("degrees", "triangles"), nulls=29)
    tried: list[int] = []
    measure = ANALYZE.measure

    def stops(settings: AnalyzeSettings, shard: Shard) -> pd.DataFrame:
        tried.append(len(shard.units))
        if len(tried) == 2:
            raise KeyboardInterrupt
        return measure(settings, shard)

    monkeypatch.setitem(ANALYZE.__dict__, "shard_size", lambda settings: 10)
    with monkeypatch.context() as patch:
        patch.setitem(ANALYZE.__dict__, "measure", stops)
        with pytest.raises(KeyboardInterrupt):
            run_study(ANALYZE, settings, tmp_path / "run", quiet=True, workers=1)
    run_study(ANALYZE, settings, tmp_path / "run", resume=True, quiet=True, workers=1)
    run_study(ANALYZE, settings, tmp_path / "whole", quiet=True, workers=1)
    for name in ("results.csv", "measures.csv", "dyads.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_wirings_of_a_run(finished: Path, tmp_path: Path) -> None:
    result = run_study(ANALYZE, AnalyzeSettings(wiring=str(finished / "one")), tmp_path / "run", quiet=True)
    rows, run = result.results, load_run(finished / "one")
    assert len(rows) == 2 + 2 * 3 * 2
    assert rows["wiring"].nunique() == 1 + 2 * 3
    assert {"levels", "clustering"} < set(rows)
    for number, graph in enumerate(run.units.graphs()):
        assert rows.loc[number, "levels"] == int(graph.level.max()) + 1
        assert rows.loc[number, "edges"] == graph.num_edges
    assert [figure.name for figure in result.figures] == ["families"]
    shown = result.report.tables[0]
    assert len(shown.columns) == 1 + 3
    # Ten rows, of those whose family means are farthest apart; the file has all.
    wirings, written = rows.drop_duplicates(["family", "wiring"]), pd.read_csv(tmp_path / "run" / "families.csv")
    every = [name for name in wirings if name in MEASURES and not wirings[name].isna().any()]
    means = wirings.groupby("family", sort=False)[every].mean()
    apart = ((means.max() - means.min()) / wirings[every].std()).sort_values(ascending=False)
    chosen = [str(cell) for cell in shown.columns[0].cells]
    assert apart[chosen].tolist() == pytest.approx(apart.iloc[:10].tolist())
    assert set(written["measure"]) == set(every)
    er = written[written["family"] == "er"].set_index("measure")["mean"]
    assert er["clustering"] == pytest.approx(means.loc["er", "clustering"])
    assert result.report.notes[1].startswith(f"10 of {len(every)} measures shown, those whose family means lie farthest apart")
    assert len(result.report.figures["families"].axes) == 12
    single = run_study(ANALYZE, AnalyzeSettings(wiring=str(finished / "single")), tmp_path / "single", quiet=True)
    assert single.figures == []


@pytest.mark.parametrize("name", ["one", "single"])
def test_the_analysis_of_a_run_that_is_gone_stays_one(finished: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(finished / name, tmp_path / "run")
    result = run_study(ANALYZE, AnalyzeSettings(wiring=str(tmp_path / "run"), measures=("size",)), tmp_path / "out", quiet=True)
    (tmp_path / "run").rename(tmp_path / "moved")
    part = load_run(tmp_path / "out").reported()
    assert part.report is not None
    assert part.report.notes == result.report.notes
    assert "families.csv" in part.report.files


def test_a_folder_with_the_name_of_a_connectome_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(STAGE).mkdir()
    assert len(analyze_units(AnalyzeSettings(wiring=STAGE).with_absolute_paths()).table) == 101


def test_a_run_that_is_not_finished_and_one_with_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wiring, neurons = write_wiring(tmp_path)
    settings = EchoSettings(connectome=str(wiring), neurons=str(neurons), families=("er",), variants=2, tasks=("memory", "parity"))

    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(ELEGANS_ECHO.__dict__, "measure", stops)
        with pytest.raises(KeyboardInterrupt):
            run_study(ELEGANS_ECHO, settings, tmp_path / "echo", quiet=True)
    result = run_study(ANALYZE, AnalyzeSettings(wiring=str(tmp_path / "echo"), measures=("size",)), tmp_path / "run", quiet=True)
    assert result.results["task"].tolist() == ["memory", "parity"] * 4
    assert result.results["wiring"].tolist() == [0] * 4 + [1, 1, 2, 2]
    # All have as many neurons and edges as the connectome.
    assert result.figures == []


def test_the_command_takes_names_files_and_runs(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("analyze", STAGE, "--nulls", 19, "--measures", "size,clustering", "--quiet")
    assert (code, err) == (0, "")
    assert re.search(r"clustering +0\.\d+ +0\.\d+ ± \d", out)
    assert "Holm's correction over 1." in out
    assert "No measure can reach 0.05" not in out
    assert "run folder: runs/analyze-1\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert Path("runs/analyze-1/figures/scores.png").is_file()
    code, out, err = invoke("analyze", STAGE, "--nulls", 19, "--measures", "triangles", "--quiet")
    assert (code, err) == (0, "")
    assert "No measure can reach 0.05 after Holm's correction with 19 graphs: 59 are needed" in " ".join(out.split())

    line = refused("analyze", finished / "one", "--inputs", "ASHL", "--quiet")
    assert line == "error: inputs: the wirings of a run have their neurons already; leave --inputs out"
    code, out, err = invoke("analyze", finished / "one", "--out", "shape", "--quiet")
    assert (code, err) == (0, "")
    assert "Wirings of" in out
    assert max(map(len, out.partition("units took")[0].splitlines()[4:])) <= 80
    assert len(pd.read_csv("shape/results.csv")) == 14

    (tmp_path / "my, own.csv").write_text("pre,post,weight,synapse\nASHL,AVAL,3,chemical\nAVAL,DA1,2,chemical\nASHL,DA1,1,chemical\n")
    code, out, _ = invoke("analyze", "my, own.csv", "--nulls", 0, "--quiet")
    assert code == 0
    assert re.search(r"nodes +neurons +3", out)
    assert not re.search(r"\de[+-]?\d", out)


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(32324, 4, "32,324"), (9999.6, 4, "10,000"), (9999.4, 4, "9,999"), (0.12345, 4, "0.1235"), (128.4, 2, "128"), (99.6, 2, "100")],
)
def test_large_numbers_have_all_their_digits(value: float, digits: int, shown: str) -> None:
    assert _short(value, digits) == shown


def test_bad_input_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "loops.csv").write_text("pre,post,weight,synapse\nASHL,ASHL,3,chemical\nAVAL,AVAL,2,chemical\n")
    (tmp_path / "gaps.csv").write_text("pre,post,weight,synapse\nASHL,AVAL,3,electrical\n")
    for arguments, message in (
        (("cook1986",), "cook2019-hermaphrodite"),
        (("none.csv",), "none.csv"),
        (("full",), "is not a run folder"),
        (("loops.csv",), "loops.csv has no chemical synapse between two neurons"),
        (("gaps.csv",), "expected synapses of the kind 'chemical', got none"),
        ((STAGE, "cook2019-male"), "wiring: expected one value, got 2"),
        ((STAGE, "--nulls", 3), "nulls: expected 0, or at least 19"),
        ((STAGE, "--nulls", -1), "nulls: expected at least 0, got -1"),
        ((STAGE, "--nulls", 10**12), "nulls: expected at most"),
        ((STAGE, "--seed", -1), "seed: expected at least 0, got -1"),
        ((STAGE, "--measures", "sgima", "--nulls", 0), "measures: unknown choice 'sgima'; choose from size, degrees"),
        ((STAGE, "--measures", "dag"), "needs wirings with level"),
        ((STAGE, "--out", "full"), "is not empty"),
    ):
        assert message in refused("analyze", *arguments, "--quiet"), arguments
    assert not list(tmp_path.glob("runs/*"))


def test_a_missing_extra_is_named_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(ImportError, match=r"finding communities needs 'igraph'"):
        run_study(ANALYZE, AnalyzeSettings(wiring=STAGE, measures=("communities",)), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_wiring_that_was_edited_is_read_again(tmp_path: Path) -> None:
    """In one process, as in a notebook."""
    wiring, neurons = write_wiring(tmp_path)
    settings = AnalyzeSettings(wiring=str(wiring), neurons=str(neurons), nulls=0, measures=("size",))
    before = run_study(ANALYZE, settings, quiet=True).results["edges"].item()
    lines = wiring.read_text().splitlines()
    wiring.write_text("\n".join(lines[:-3]) + "\n")
    os.utime(wiring, ns=(0, 0))
    assert run_study(ANALYZE, settings, quiet=True).results["edges"].item() == before - 3
