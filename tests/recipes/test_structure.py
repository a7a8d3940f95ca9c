"""The sweep from settings to answers, small, and what a run's or a connectome's analysis holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from elegans_pyg import plots
from elegans_pyg.analysis import MEASURES, measures
from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes import run as run_module
from elegans_pyg.recipes.analyze import analyze_connectome, analyze_run
from elegans_pyg.recipes.relate import relate_runs, wiring_name
from elegans_pyg.recipes.run import build_variants, run
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.recipes.structure import SweepConfig, quick_config, read_config, reproduce
from elegans_pyg.recipes.sweep import Point, PointFiles
from tests.recipes.tiny import tiny_config

SMALL = SweepConfig(("witvliet2021-1",), ("witvliet2021-2",), (0, 20, 100), 3, 19)


@pytest.fixture(autouse=True, scope="module")
def _figures_without_pixels() -> Iterator[None]:
    """Laying out and drawing dozens of panels takes most of the time here; what they show is tested on its own."""

    def save(figure: Figure, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".png").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", save)
        yield


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "out"
    assert reproduce(SMALL, folder, workers=1, quiet=True) is not None
    return folder


def test_tables_follow_from_the_graphs(swept: Path) -> None:
    scores, curves, families = (pd.read_csv(swept / f"{name}.csv") for name in ("scores", "curves", "families"))
    files = PointFiles(swept / "points")
    for name in ("witvliet2021-1", "witvliet2021-2"):
        null = files.read(Point(name, "rewired", 1.0, 19, "null"))
        assert len(null) == 19
        observed = measures(Connectome(name)[0])["clustering"].iloc[0]
        row = scores[(scores["connectome"] == name) & (scores["measure"] == "clustering")].iloc[0]
        assert row["value"] == pytest.approx(observed)
        assert row["z"] == pytest.approx((observed - null["clustering"].mean()) / null["clustering"].std())
        assert row["p"] == pytest.approx(1 / 20)
    graphs = files.read(Point("witvliet2021-1", "random_rewired", 0.2, 3))
    row = curves[(curves["family"] == "random_rewired") & (curves["fraction"] == 0.2) & (curves["measure"] == "clustering")].iloc[0]
    own = files.read(Point("witvliet2021-1", "random_rewired", 1.0, 19, "null"))["clustering"].mean()
    observed = measures(Connectome("witvliet2021-1")[0])["clustering"].iloc[0]
    assert row["mean"] == pytest.approx(graphs["clustering"].mean())
    assert row["left"] == pytest.approx((graphs["clustering"].mean() - own) / (observed - own))
    # Nothing is redrawn: all of every effect is left.
    at_zero = curves[curves["fraction"] == 0]
    assert at_zero["left"].dropna().to_numpy() == pytest.approx(1)
    assert (at_zero["sd"] < 1e-9).all()
    assert set(families["family"]) == {"ws", "er", "ba", "type_rewired"}


def test_answers_name_their_limits(swept: Path) -> None:
    content = json.loads((swept / "claims.json").read_text())
    assert [(claim["family"], claim["claim"]) for claim in content["claims"]] == [
        (family, claim) for family in ("rewired", "random_rewired") for claim in ("fade", "multi-dyadic")
    ]
    # 19 graphs cannot give a p that survives the correction over 9 pairs.
    assert {claim["verdict"] for claim in content["claims"]} == {"no answer: no such effect"}
    notes = " ".join(content["notes"])
    assert "Too few graphs of the null model" in notes
    assert "Shortened: 3 of 100 graphs a point; 3 of 14 fractions; without cook2019-hermaphrodite" in notes
    assert {path.stem for path in (swept / "figures").glob("*.png")} == {"scores", "measures-witvliet2021-1"}


def test_a_sweep_is_extended_and_not_made_again(swept: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (swept / "points").iterdir()}
    more = replace(SMALL, graphs=4, percents=(0, 20, 50, 100))
    result = reproduce(more, swept, resume=True, workers=1, quiet=True)
    assert result is not None
    assert read_config(swept) == more
    for name, content in before.items():
        now = (swept / "points" / name).read_bytes()
        assert now.startswith(content)
        assert (now == content) == (name.endswith(("null.csv", "connectome.csv")))
    assert sorted(result.curves["fraction"].unique()) == [0, 0.2, 0.5, 1]
    assert all(table.row_count for table in result.tables())
    with pytest.raises(ValueError, match=r"synapses: the graphs in .* were made with 'chemical'; give another folder"):
        reproduce(replace(SMALL, synapses="both"), swept, resume=True, quiet=True)
    with pytest.raises(FileExistsError, match="is not empty"):
        reproduce(SMALL, swept, quiet=True)
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        reproduce(SMALL, tmp_path / "none", resume=True, quiet=True)


def test_the_standard_sweep_is_what_was_asked_for() -> None:
    config = SweepConfig()
    points = config.points()
    assert len({point.name for point in points}) == len(points)
    assert config.graphs >= 100
    assert {0, 100} < set(config.percents)
    assert {"cook2019-hermaphrodite", "cook2019-male", *(f"witvliet2021-{stage}" for stage in range(1, 9))} <= {
        point.connectome for point in points
    }
    # p can reach 0.05 for every measure after the correction over all of them.
    assert sum(not measure.needs for measure in MEASURES.values()) / (config.nulls + 1) < 0.05
    assert 18 / (quick_config().nulls + 1) < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graphs": 1}, "graphs: expected at least 2, got 1"),
        ({"graphs": "many"}, "graphs: expected a whole number, got 'many'"),
        ({"percents": [0, 50, 101]}, "percents: expected numbers from 0 to 100, got 101"),
        ({"percents": [0, 100]}, "percents: expected at least three fractions, got 2"),
        ({"percents": "all"}, "percents: expected a list, got 'all'"),
        ({"connectomes": ["cook1986"]}, "unknown connectome 'cook1986'; choose from cook2019-hermaphrodite"),
        ({"connectomes": []}, "connectomes: expected at least one"),
        ({"stages": ["cook2019-male"]}, "stages: 'cook2019-male' is swept already"),
        ({"synapses": "all"}, "synapses: unknown choice 'all'; choose from chemical, electrical, both"),
        ({"graph": 3}, "unknown key 'graph'; choose from connectomes"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        SweepConfig().updated(changes)


def test_analysis_of_a_connectome(tmp_path: Path) -> None:
    analysis = analyze_connectome("witvliet2021-1", tmp_path / "out", ["size", "clustering"], nulls=19, quiet=True)
    stored = pd.read_parquet(analysis.file)
    pd.testing.assert_frame_equal(stored, analysis.table)
    assert stored.set_index("measure").loc["edges", "value"] == measures(Connectome("witvliet2021-1")[0])["edges"].iloc[0]
    assert stored.set_index("measure").loc["clustering", "p"] == pytest.approx(1 / 20)
    assert {figure.name for figure in analysis.figures} == {"type-pairs", "scores"}
    plain = analyze_connectome("witvliet2021-1", tmp_path / "plain", ["size"], nulls=0, quiet=True)
    assert plain.table.columns.tolist() == ["measure", "value"]
    assert plain.rendered().row_count == len(plain.measures)
    with pytest.raises(ValueError, match="nulls: expected 0, or at least 19"):
        analyze_connectome("witvliet2021-1", tmp_path / "few", nulls=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "draw_figures", lambda *_: [])
        run(tiny_config(folder, variants=3, repeats=2), folder / "one", quiet=True)
        run(tiny_config(folder, families=["ws"], seeds=0, variants=6, seed=1), folder / "two", quiet=True)
        run(tiny_config(folder, families=["er"], seeds=0, channels=3), folder / "wide", quiet=True)
        run(tiny_config(folder, families=[], seeds=1), folder / "single", quiet=True)
    return folder


def test_analysis_of_a_run(finished: Path, tmp_path: Path) -> None:
    analysis = analyze_run(finished / "one", tmp_path / "out", quiet=True)
    assert len(analysis.table) == 2 + 2 * 3 * 2
    assert analysis.table["wiring"].nunique() == 1 + 2 * 3
    assert {"levels", "clustering"} < set(analysis.measures)
    assert [figure.name for figure in analysis.figures] == ["families"]
    assert len(analysis.rendered().columns) == 1 + 3
    assert analyze_run(finished / "single", tmp_path / "single", quiet=True).figures == []


def test_runs_are_joined_with_the_measures_of_their_wirings(finished: Path, tmp_path: Path) -> None:
    related = relate_runs([finished / "one", finished / "two"], tmp_path / "out", ["size", "dag", "clustering"], quiet=True)
    table = pd.read_parquet(tmp_path / "out" / "variants.parquet")
    assert related.table == tmp_path / "out" / "variants.parquet"
    assert len(table) == 14 + 6
    assert table["variant"].tolist() == list(range(20))
    row = 0
    for name in ("one", "two"):
        folder = RunFolder(finished / name)
        batch, _ = build_variants(folder.read_config())
        for number, accuracy in enumerate(folder.read_results()["accuracy"]):
            graph = batch.get_example(number)
            assert table.loc[row, "accuracy"] == accuracy
            assert table.loc[row, "wiring"] == wiring_name(graph)
            assert table.loc[row, "levels"] == int(graph.level.max()) + 1
            assert table.loc[row, "edges"] == graph.num_edges
            row += 1
    assert related.relation.table["n"].unique().tolist() == [13]
    assert len(related.relation.models) == 3
    assert json.loads((tmp_path / "out" / "relation.json").read_text())["value"] == "accuracy"
    assert (tmp_path / "out" / "relation.txt").read_text() == related.relation.to_text()
    assert all(figure.with_name(figure.name + ".png").is_file() for figure in related.figures)


def test_without_pyarrow_the_table_is_csv(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elegans_pyg.recipes.tables.find_spec", lambda _: None)
    related = relate_runs([finished / "single"], tmp_path / "out", ["size"], quiet=True)
    assert related.table == tmp_path / "out" / "variants.csv"
    assert len(pd.read_csv(related.table)) == 1
    assert related.figures == []
    assert "No measure differs" in " ".join(related.relation.notes)


def test_runs_that_do_not_belong_together_are_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"settings cannot be related to structure .*differ in channels.*; relate the runs apart"):
        relate_runs([finished / "one", finished / "wide"], quiet=True)
    (tmp_path / "copy").mkdir()
    for name in ("config.yaml", "results.csv"):
        (tmp_path / "copy" / name).write_bytes((finished / "two" / name).read_bytes())
    with pytest.raises(ValueError, match="twice; drop the copy"):
        relate_runs([finished / "two", tmp_path / "copy"], quiet=True)
    table = pd.read_csv(finished / "two" / "results.csv")
    table.assign(wiring_seed=np.arange(6)).to_csv(tmp_path / "copy" / "results.csv", index=False)
    with pytest.raises(ValueError, match=r"no longer give the variants in its results\.csv"):
        relate_runs([tmp_path / "copy"], quiet=True)
    with pytest.raises(FileExistsError, match="is not empty"):
        relate_runs([finished / "two"], tmp_path / "copy", quiet=True)
