"""The sweep over rewired fractions: its graphs, its tables, its answers, and resuming."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from elegans_pyg.analysis import MEASURES, measures
from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes.elegans_structure import ELEGANS_STRUCTURE, Point, StructureSettings, _tables, all_points, redraw, structure_units
from elegans_pyg.studies import Shard, run_study, unit_seed
from elegans_pyg.transforms import Rewired
from tests.commands import invoke, refused, start
from tests.recipes.undrawn import undrawn

STAGE = "witvliet2021-1"
SMALL = StructureSettings(connectomes=(STAGE,), stages=("witvliet2021-2",), points=(0, 20, 100), graphs=3, nulls=23)
COMMAND = ("reproduce", "elegans-structure")


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "out"
    run_study(ELEGANS_STRUCTURE, SMALL, folder, workers=1, quiet=True)
    return folder


def graphs_of(folder: Path, point: Point) -> pd.DataFrame:
    table = pd.read_csv(folder / "results.csv")
    return table[table["point"] == point.name].reset_index(drop=True)


def test_units_are_chunks_of_points() -> None:
    table = structure_units(SMALL).table
    counts = {point.name: total for point, total in all_points(SMALL)}
    null = table[(table["connectome"] == STAGE) & (table["family"] == "rewired") & table["null"]]
    assert null[["first", "count"]].to_numpy().tolist() == [[0, 20], [20, 3]]
    assert table["count"].sum() == sum(counts.values())
    # Only the connectomes themselves are kept: everything else follows from their seeds.
    assert set(table.loc[table["wiring"] >= 0, "family"]) == {"connectome"}
    assert ELEGANS_STRUCTURE.shard_size is not None
    assert ELEGANS_STRUCTURE.shard_size(SMALL) == 1


def test_graphs_depend_on_their_point_and_number_alone(swept: Path) -> None:
    base = Connectome(STAGE)[0]
    half, null = Point(STAGE, "rewired", 50.0), Point(STAGE, "rewired", 50.0, null=True)
    seeds = [unit_seed(7, half.name, 2), unit_seed(7, half.name, 1), unit_seed(8, half.name, 2), unit_seed(7, null.name, 2)]
    graph = redraw(base, "rewired", seeds[0], 50.0)
    assert torch.equal(graph.edge_index, Rewired(seeds[0], 0.5)(base).edge_index)
    for seed in seeds[1:]:
        assert not torch.equal(graph.edge_index, redraw(base, "rewired", seed, 50.0).edge_index)
    assert redraw(base, "connectome", 7) is base
    more = structure_units(SMALL.model_copy(update={"graphs": 90, "nulls": 50})).table.set_index(
        ["connectome", "family", "percent", "first"]
    )
    own = structure_units(SMALL).table.set_index(["connectome", "family", "percent", "first"])
    for key in ((STAGE, "rewired", 20.0, 0), (STAGE, "rewired", 100.0, 20)):
        assert own.loc[[key], "seed"].tolist() == more.loc[[key], "seed"].tolist()[: len(own.loc[[key]])]


def test_rows_are_the_measures_of_the_graphs(swept: Path) -> None:
    point = Point(STAGE, "random_rewired", 20.0)
    table, base = graphs_of(swept, point), Connectome(STAGE)[0]
    assert table["graph"].tolist() == [0, 1, 2]
    assert table["seed"].tolist() == [unit_seed(0, f"{STAGE}-random_rewired-20", number) for number in range(3)]
    for number, seed in enumerate(table["seed"]):
        graph = nx.DiGraph(redraw(base, "random_rewired", seed, 20.0).edge_index.T.tolist())
        graph.remove_edges_from(list(nx.selfloop_edges(graph)))
        assert table.loc[number, "edges"] == graph.number_of_edges()
        assert table.loc[number, "reciprocity"] == pytest.approx(nx.reciprocity(graph))


def test_tables_follow_from_the_graphs(swept: Path) -> None:
    scores, curves, families = (pd.read_csv(swept / f"{name}.csv") for name in ("scores", "curves", "families"))
    for name in (STAGE, "witvliet2021-2"):
        null = graphs_of(swept, Point(name, "rewired", 100.0, null=True))
        assert len(null) == 23
        observed = measures(Connectome(name)[0])["clustering"].iloc[0]
        row = scores[(scores["connectome"] == name) & (scores["measure"] == "clustering")].iloc[0]
        assert row["value"] == pytest.approx(observed)
        assert row["z"] == pytest.approx((observed - null["clustering"].mean()) / null["clustering"].std())
        assert row["p"] == pytest.approx(1 / 24)
    graphs = graphs_of(swept, Point(STAGE, "random_rewired", 20.0))
    row = curves[(curves["family"] == "random_rewired") & (curves["fraction"] == 0.2) & (curves["measure"] == "clustering")].iloc[0]
    own = graphs_of(swept, Point(STAGE, "random_rewired", 100.0, null=True))["clustering"].mean()
    observed = measures(Connectome(STAGE)[0])["clustering"].iloc[0]
    assert row["mean"] == pytest.approx(graphs["clustering"].mean())
    assert row["left"] == pytest.approx((graphs["clustering"].mean() - own) / (observed - own))
    # Nothing is redrawn: all of every effect is left.
    at_zero = curves[curves["fraction"] == 0]
    assert at_zero["left"].dropna().to_numpy() == pytest.approx(1)
    assert (at_zero["sd"] < 1e-9).all()
    assert set(families["family"]) == {"ws", "er", "ba", "type_rewired"}


def test_generated_graphs_stand_beside_the_rewired_ones_and_curves_have_the_middle_of_their_graphs() -> None:
    rng = np.random.default_rng(0)
    own = {point: rng.normal(size=total) for point, total in all_points(SMALL)}
    rows = pd.DataFrame([(point.name, value) for point, values in own.items() for value in values], columns=["point", "clustering"])
    tables = _tables(SimpleNamespace(rows=rows, settings=SMALL))  # type: ignore[arg-type]
    curve = tables["curves"].query("family == 'random_rewired' and fraction == 0.2").iloc[0]
    assert curve[["low", "high"]].tolist() == pytest.approx(np.quantile(own[Point(STAGE, "random_rewired", 20.0)], (0.025, 0.975)).tolist())
    null, drawn = own[Point(STAGE, "rewired", 100.0, null=True)], own[Point(STAGE, "er")]
    row = tables["families"].query("family == 'er'").iloc[0]
    z = (drawn.mean() - null.mean()) / null.std(ddof=1)
    assert row[["mean", "sd", "z"]].tolist() == pytest.approx([drawn.mean(), drawn.std(ddof=1), z])


def test_answers_name_their_limits(swept: Path) -> None:
    content = json.loads((swept / "summary.json").read_text())
    assert [(claim["family"], claim["claim"]) for claim in content["claims"]] == [
        (family, claim) for family in ("rewired", "random_rewired") for claim in ("fade", "multi-dyadic")
    ]
    # 23 graphs cannot give a p that survives the correction over 9 pairs.
    assert {claim["verdict"] for claim in content["claims"]} == {"no answer: no such effect"}
    notes = " ".join(content["notes"])
    assert "Too few graphs of the null model" in notes
    assert "Shortened: 3 of 100 graphs per point; 3 of 14 fractions; without cook2019-hermaphrodite" in notes
    assert {path.stem for path in (swept / "figures").glob("*.png")} == {"scores", f"measures-{STAGE}"}


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_to_the_same_end(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    measure = ELEGANS_STRUCTURE.measure

    def press_ctrl_c(settings: StructureSettings, shard: Shard) -> pd.DataFrame:
        made.append(shard.folder.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return measure(settings, shard)

    with monkeypatch.context() as patch:
        patch.setitem(ELEGANS_STRUCTURE.__dict__, "measure", press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            run_study(ELEGANS_STRUCTURE, SMALL, tmp_path / "halves", workers=1, quiet=True)
        kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "halves" / "shards").glob("*/rows.csv")}
        assert sorted(path.parent.name for path in kept) == ["00001", "00002"]
    # Two processes find what one does.
    run_study(ELEGANS_STRUCTURE, SMALL, tmp_path / "halves", resume=True, workers=2, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for name in ("results.csv", "scores.csv", "curves.csv", "families.csv", "effects.csv"):
        assert (tmp_path / "halves" / name).read_bytes() == (swept / name).read_bytes()
    with pytest.raises(ValueError, match=r"resume: synapses is 'chemical' in .* and 'both' was given"):
        run_study(ELEGANS_STRUCTURE, SMALL.model_copy(update={"synapses": "both"}), swept, resume=True, quiet=True)
    with pytest.raises(FileExistsError, match="holds a run already"):
        run_study(ELEGANS_STRUCTURE, SMALL, swept, quiet=True)


def test_the_standard_sweep_is_what_was_asked_for() -> None:
    settings = StructureSettings()
    points = list(all_points(settings))
    assert len({point.name for point, _ in points}) == len(points)
    assert settings.graphs >= 100
    assert {0, 100} < set(settings.points)
    assert {"cook2019-hermaphrodite", "cook2019-male", *(f"witvliet2021-{stage}" for stage in range(1, 9))} <= {
        point.connectome for point, _ in points
    }
    # p can reach 0.05 for every measure after the correction over all of them.
    assert sum(not measure.needs for measure in MEASURES.values()) / (settings.nulls + 1) < 0.05
    assert 18 / (ELEGANS_STRUCTURE.make(quick=True).nulls + 1) < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graphs": 1}, "graphs: expected at least 2, got 1"),
        ({"graphs": "many"}, "graphs: expected a whole number, got 'many'"),
        ({"nulls": 18}, "nulls: expected at least 19, got 18"),
        ({"points": [0, 50, 101]}, "points: expected percentages from 0 to 100, got 101"),
        ({"points": [0, 100]}, "points: expected at least 3 values"),
        ({"points": "all"}, "points: expected a list"),
        ({"connectomes": []}, "connectomes: expected at least 1 value"),
        ({"stages": ["cook2019-male"]}, "stages: 'cook2019-male' is rewired step by step already"),
        ({"synapses": "all"}, "synapses: unknown choice 'all'; choose from chemical, electrical, extrasynaptic, both"),
        ({"graph": 3}, "unknown key 'graph'; choose from connectomes"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StructureSettings(**changes)


def test_the_command_answers_in_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("--connectomes", STAGE, "--stages", "", "--points", "0,20,100", "--graphs", "2", "--nulls", "19", "--workers", "1", "--quiet")
    code, out, err = invoke(*COMMAND, *small)
    assert (code, err) == (0, "")
    assert "Claims of ElegansNet (2023), section II-A" in out
    assert "run folder: runs/elegans-structure-1\n" in out
    assert max(map(len, out.partition("units took")[0].splitlines())) <= 80


def test_help_tells_the_real_defaults() -> None:
    text = " ".join(re.sub(r"[│╭╰─╮╯]", " ", invoke(*COMMAND, "--help")[1]).split())
    assert f"Graphs per point; at least 2 and at most 100000. [{StructureSettings().graphs}]" in text
    assert f"to compare with; at least 19 and at most 100000. [{StructureSettings().nulls}]" in text


def test_bad_input_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for arguments, message in (
        (("--points", "0,ten"), "points: expected numbers separated by commas, got 'ten'"),
        (("--points", "0,50,500"), "points: expected percentages from 0 to 100"),
        (("--connectomes", "cook1986"), "cook2019-hermaphrodite"),
        (("--resume",), "expected --out"),
        (("--resume", "--quick", "--out", "full"), "--quick cannot be used with --resume"),
        (("--resume", "--out", "full"), "is not a run folder"),
        (("--out", "full"), "is not empty"),
    ):
        assert message in refused(*COMMAND, *arguments)
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    options = ["--connectomes", STAGE, "--stages", "", "--nulls", "100000", "--out", "long run", "--workers", "2"]
    process = start(*COMMAND, *options, folder=tmp_path)
    shards = tmp_path / "long run" / "shards"
    deadline = time.monotonic() + 180
    while len(list(shards.glob("*/rows.csv"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; resume with: elegans-pyg reproduce elegans-structure --resume --out 'long run'"
    assert "Traceback" not in err
    rows = pd.concat([pd.read_csv(path) for path in sorted(shards.glob("*/rows.csv"))])
    null = rows[rows["point"] == f"{STAGE}-rewired-100-null"]
    assert len(null) >= 20
    assert np.array_equal(null["graph"].head(20), np.arange(20))
