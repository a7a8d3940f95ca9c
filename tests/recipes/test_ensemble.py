from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from elegans_pyg._settings import read_yaml
from elegans_pyg.datasets import Connectome, load_images
from elegans_pyg.recipes.ensemble import (
    ENSEMBLE,
    TRAIN,
    EnsembleSettings,
    TrainSettings,
    accuracy_figures,
    ensemble_units,
    load_wiring,
    nothing_learned,
)
from elegans_pyg.recipes.park_kim import CONSTRAINED, CONSTRAINED_MALE, PARK_KIM, RANDOM, RANDOM_WS, networks
from elegans_pyg.studies import Interrupted, Report, load_run, run_study
from elegans_pyg.studies import fitting as fitting_module
from elegans_pyg.studies.settings import CONTROL_FAMILIES, CYCLIC_FAMILIES, schedule_for
from elegans_pyg.studies.tables import to_plain
from elegans_pyg.training import fit
from elegans_pyg.training.settings import FitSettings
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG
from tests.recipes.tiny import tiny_settings

# Figures take most of a short run's time.
PLAIN = replace(ENSEMBLE, report=lambda done: Report(files={"metrics.csv": done.joined("metrics.csv")}))


def test_the_families_are_those_of_transforms() -> None:
    assert ("connectome", *CONTROL_FAMILIES) == tuple(FAMILIES)
    assert tuple(name for name, family in FAMILIES.items() if family.rewiring is not None) == CYCLIC_FAMILIES


def test_units_do_not_depend_on_their_company(tmp_path: Path) -> None:
    few = ensemble_units(tiny_settings(tmp_path, families=["rewired"], seeds=1))
    many = ensemble_units(tiny_settings(tmp_path, families=["er", "rewired"], seeds=2, variants=2, repeats=2))
    table = many.table
    assert table["family"].tolist() == ["connectome"] * 2 + ["er"] * 4 + ["rewired"] * 4
    assert table["variant"].tolist() == list(range(10))
    graphs = many.graphs()
    assert torch.equal(few.graphs()[1].edge_index, graphs[6].edge_index)
    assert not torch.equal(graphs[6].edge_index, graphs[8].edge_index)
    assert few.table["seed"].tolist() == table["seed"].iloc[[0, 6]].tolist()
    assert table.loc[table["family"] == "rewired", "wiring_seed"].nunique() == 2
    assert set(table["wiring_seed"][:2]) == {0}
    assert table["seed"].is_unique
    assert len(many.wirings) == 5


@pytest.mark.parametrize("seed", [3, 5_000_000_000])
def test_a_wiring_can_be_drawn_again_from_its_seed(tmp_path: Path, seed: int) -> None:
    settings = tiny_settings(tmp_path, families=["rewired"], seeds=1, variants=2, seed=seed)
    units, base = ensemble_units(settings), load_wiring(settings.connectome, settings)
    for own, dag in list(zip(units.table["wiring_seed"], units.graphs(), strict=True))[1:]:
        drawn = ConstrainedDAG()(FAMILIES["rewired"].rewiring(seed=int(own))(base))
        assert torch.equal(drawn.edge_index, dag.edge_index)


def test_another_connectome_trains_beside_the_first(tmp_path: Path) -> None:
    changes = {"neurons": None, "connectome": "witvliet2021-1", "beside": ["witvliet2021-2"], "families": [], "seeds": 1}
    units = ensemble_units(tiny_settings(tmp_path, **changes))
    assert units.table["family"].tolist() == ["connectome", "witvliet2021-2"]
    assert units.graphs()[1].neuron_name == Connectome("witvliet2021-2")[0].neuron_name


def test_random_dags_are_drawn_anew_for_every_run(tmp_path: Path) -> None:
    units = ensemble_units(tiny_settings(tmp_path, dag="random", families=[], seeds=2))
    assert units.table["wiring_seed"].nunique() == 2
    assert not torch.equal(units.graphs()[0].edge_index, units.graphs()[1].edge_index)


def test_matching_leaves_alone_families_without_a_density(tmp_path: Path) -> None:
    units = ensemble_units(tiny_settings(tmp_path, connectome="witvliet2021-1", neurons=None, match="dag", seeds=1))
    edges = [graph.num_edges for graph in units.graphs()]
    assert abs(edges[1] - edges[0]) <= 0.01 * edges[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connectome": "cook2020"}, "expected one of cook2019-hermaphrodite"),
        ({"connectome": "no/such.csv"}, r"no/such\.csv"),
        ({"families": ["lattice"]}, "unknown choice 'lattice'; choose from ws"),
        ({"family_options": {"rewired": {"share": 1}}}, "'share' is not an option of family 'rewired'; choose from fraction"),
        ({"family_options": {"er": {"seed": 1}}}, "'seed' is not an option of family 'er'"),
        ({"dataset": "imagenet"}, "expected one of digits"),
        ({"edge_activation": "tanh"}, "edge_activation: unknown choice 'tanh'; choose from identity"),
        ({"executor": "warp"}, "executor: unknown choice 'warp'"),
        ({"channels": 10**7}, "memory: one unit needs about"),
        ({"training": {"batch_size": 99_999}}, "batch_size"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    out = tmp_path / "out"
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        run_study(PLAIN, tiny_settings(tmp_path, **changes), out, quiet=True)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_two_families_cannot_have_one_name(tmp_path: Path) -> None:
    for beside, name in ((["other/er.csv"], "er"), (["a/worm.tsv", "b/worm.csv"], "worm")):
        with pytest.raises(ValueError, match=rf"beside: '{beside[-1]}' would be named '{name}'"):
            tiny_settings(tmp_path, beside=beside)


@pytest.mark.drawn
def test_a_run_leaves_everything_behind(tmp_path: Path) -> None:
    config = tiny_settings(tmp_path)
    result = run_study(ENSEMBLE, config, tmp_path / "out", quiet=True)
    run = load_run(tmp_path / "out")
    names = {"config.yaml", "identity.json", "units.csv", "wirings", "metrics.csv", "results.csv", "predictions.safetensors"}
    assert {path.name for path in run.folder.path.iterdir()} - {".lock"} == names | {"report.html", "summary.json", "shards", "figures"}
    assert run.settings == config.with_absolute_paths()
    assert len(result.figures) >= 6
    for figure in result.figures:
        assert figure.with_name(figure.name + ".png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in figure.with_name(figure.name + ".svg").read_text()[:600]
    assert {"families", "accuracy", "confusion", "dag-connectome", "dag-er", "dag-rewired"} <= {figure.name for figure in result.figures}

    # Accuracies are what the stored predictions say about the images.
    labels = load_images("digits").test_labels
    predictions = load_file(run.folder.path / "predictions.safetensors")["predictions"].long()
    stored = run.results
    assert stored["accuracy"].tolist() == pytest.approx((predictions == labels).double().mean(1).tolist())
    assert stored["family"].tolist() == ["connectome", "connectome", "er", "rewired"]

    summary = run.summary
    assert summary["machine"]["versions"]["torch"] == torch.__version__
    assert (summary["units"], summary["iterations"], summary["executor"]) == (4, 4, "levels")
    assert summary["comparison"]["reference"] == "connectome"
    check_match(summary["match"], [run.wirings[name] for name in ("connectome", "er", "rewired")])
    # The file has 96 edges.
    kept, last = run.wirings["connectome"].num_edges, "a DAG drops the edges that run backwards."
    assert counts_told(result) == [f"connectome: 96 synaptic connections; the DAG keeps {kept} ({100 * kept / 96:.0f} %)", last]

    titles = {
        path.name: figure.get_suptitle().replace("\n", " ")
        for path, figure in zip(result.figures, result.report.figures.values(), strict=True)
    }
    assert all(title.startswith("digits, small.csv: ") for title in titles.values())
    assert titles["families"].endswith(": connectome, er, rewired")
    assert titles["dag-er"].endswith(": family er")
    assert titles["confusion"].endswith(": connectome, all 2 runs that came to the end, pooled")
    assert f"unit 0 (seed {stored['seed'][0]}): the first run" in titles["examples-wrong"]
    right = int((predictions[:2] == labels).sum())
    shown = result.report.figures["confusion"].axes[0].get_title(loc="left")
    assert shown == f"{100 * right / (2 * len(labels)):.2f} % of {2 * len(labels):,} right"

    # Drawn again from the folder, the figures are the same bytes.
    before = {figure: figure.with_name(figure.name + ".svg").read_bytes() for figure in result.figures}
    assert run.redraw() == result.figures
    assert {figure: figure.with_name(figure.name + ".svg").read_bytes() for figure in result.figures} == before
    # Of a file that is no longer the run's nothing is said.
    wiring = tmp_path / "small.csv"
    wiring.write_text("\n".join(wiring.read_text().splitlines()[:-30]) + "\n")
    assert counts_told(run.reported()) == [last]


def counts_told(result: Any) -> list[str]:
    """The notes on the counts, but for those on families, the last by its end."""
    notes = to_plain(*result.report.tables)[-1]["notes"]
    assert notes[-1].startswith("What families keep, such as degrees, they keep in the whole wiring; ")
    return [*(note for note in notes[:-1] if " differs by over " not in note), notes[-1].partition("; ")[2]]


def test_nothing_learned_is_said_of_the_best_network_that_finished() -> None:
    labels = torch.tensor([0, 1, 1, 1, 2, 2, 0, 2, 2, 2])  # half of them 2
    rows = pd.DataFrame({"family": ["connectome", "er", "er"], "accuracy": [0.5, 0.3, float("nan")]})
    compared = "always naming the most frequent class (50.00 %): nothing was learned, so nothing can be compared; raise --iterations."
    assert nothing_learned(rows, labels) == [f"No network does better than {compared}"]
    (alone,) = nothing_learned(rows[:1], labels)
    assert alone.endswith("nothing was learned; raise --iterations.")
    assert nothing_learned(rows.assign(accuracy=[0.1, 0.6, float("nan")]), labels) == []
    assert nothing_learned(rows.assign(accuracy=float("nan")), labels) == []


def check_match(match: list[dict[str, Any]], dags: list[Any]) -> None:
    """The match report, against NetworkX on the DAGs themselves."""
    for row, dag in zip(match, dags, strict=True):
        graph = nx.DiGraph(dag.edge_index.T.tolist())
        graph.add_nodes_from(range(24))
        reached = set().union(*({n} | nx.descendants(graph, n) for n in range(24) if dag.input_mask[n]))
        assert (row["nodes"], row["edges"], row["inputs"]) == (24, graph.number_of_edges(), 6)
        assert row["outputs"] == sum(graph.out_degree(n) == 0 for n in reached)
        assert row["unreached"] == 24 - len(reached)
        assert row["levels"] == nx.dag_longest_path_length(graph.subgraph(reached), weight=None) + 1
        # Edges, 3x3 kernel and BatchNorm per node and channel; source, sink and linear layers.
        assert row["parameters"] == graph.number_of_edges() + 24 * 2 * 11 + 2 * 10 + 2 * 3 + 10 * 3
    edges = [row["edges"] for row in match]
    assert ("edges" in match[1]["differs"]) == (abs(edges[1] - edges[0]) > 0.01 * edges[0])


def test_another_executor_is_recorded_and_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_settings(tmp_path, executor="levels")
    with monkeypatch.context() as patched:
        patched.setattr("elegans_pyg.studies.engines.run_shard", lambda *arguments: (_ for _ in ()).throw(OSError(28, "pretended")))
        with pytest.raises(OSError, match="pretended"):
            run_study(PLAIN, config, tmp_path / "run", quiet=True)
    recorded = json.loads((tmp_path / "run" / "identity.json").read_text())["machine"]
    assert (recorded["executor"], recorded["device"]) == ("levels", "cpu")
    capfd.readouterr()
    run_study(PLAIN, config.model_copy(update={"executor": "fused"}), tmp_path / "run", resume=True, quiet=True)
    assert "executor levels -> fused" in capfd.readouterr().err


def test_the_same_settings_give_the_same_numbers_whatever_the_shards(tmp_path: Path) -> None:
    config = tiny_settings(tmp_path)
    run_study(PLAIN, config, tmp_path / "a", quiet=True)
    run_study(PLAIN, load_run(tmp_path / "a").settings, tmp_path / "b", quiet=True)
    run_study(PLAIN, config, tmp_path / "c", quiet=True, shards=3)
    for name in ("metrics.csv", "results.csv", "config.yaml", "wirings/00000.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    whole, parts = (pd.read_csv(tmp_path / name / "results.csv") for name in ("a", "c"))
    pd.testing.assert_frame_equal(whole, parts)
    metrics = [pd.read_csv(tmp_path / name / "metrics.csv").sort_values(["variant", "split", "iteration"]) for name in ("a", "c")]
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in metrics), rtol=1e-5)


def test_resuming_ends_like_an_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_settings(tmp_path)
    run_study(PLAIN, config, tmp_path / "straight", quiet=True)

    def cut_short(model: object, images: object, training: FitSettings, **options: Any) -> object:
        done = fit(model, images, training.model_copy(update={"iterations": 2}), **options)  # type: ignore[arg-type]
        return replace(done, interrupted=True, signal=signal.SIGINT, test_predictions=None)

    monkeypatch.setattr(fitting_module, "fit", cut_short)
    with pytest.raises(Interrupted):
        run_study(PLAIN, config, tmp_path / "halves", quiet=True)
    assert not (tmp_path / "halves" / "results.csv").exists()
    monkeypatch.undo()
    run_study(PLAIN, load_run(tmp_path / "halves").settings, tmp_path / "halves", resume=True, quiet=True)
    for name in ("metrics.csv", "results.csv"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_a_wiring_file_changed_after_the_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_settings(tmp_path)

    def stopped(*_: object, **__: object) -> object:
        raise Interrupted

    monkeypatch.setattr(fitting_module, "fit", stopped)
    with pytest.raises(Interrupted):
        run_study(PLAIN, config, tmp_path / "out", quiet=True)
    wiring = tmp_path / "small.csv"
    wiring.write_text("\n".join(wiring.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match="resume: the "):
        run_study(PLAIN, config, tmp_path / "out", resume=True, quiet=True)


@st.composite
def configs(draw: st.DrawFn) -> EnsembleSettings:
    families = draw(st.lists(st.sampled_from(["ws", "er", "ba", "rewired", "random_dag"]), unique=True, min_size=1))
    return EnsembleSettings(
        connectome=draw(st.text("abcé:# -'\"", min_size=1)),
        neurons=draw(st.none() | st.just("a b.csv")),
        families=tuple(families),
        seeds=draw(st.integers(0, 5)),
        seed=draw(st.integers(0, 2**40)),
        match=draw(st.sampled_from([None, "dag"])),
        family_options={"ws": {"p": draw(st.floats(0, 1))}} if "ws" in families else {},
        training=FitSettings(learning_rate=draw(st.floats(1e-9, 10)), iterations=draw(st.integers(1, 10**6))),
    )


@settings(max_examples=30, deadline=None)
@given(configs())
def test_yaml_gives_back_the_same_settings(tmp_path_factory: pytest.TempPathFactory, config: EnsembleSettings) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert EnsembleSettings(**read_yaml(path)) == config


def test_what_a_file_leaves_out_comes_from_the_study(tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text("families: [ba]\ntraining:\n  iterations: 7\n")
    made = ENSEMBLE.make(config=path)
    assert (made.families, made.training.iterations, made.channels, made.training.batch_size) == (("ba",), 7, 24, 50)
    # Only what the file does not fix keeps its proportion to the run's length; options override the file.
    path.write_text("training: {eval_every: 7}")
    made = ENSEMBLE.make({"iterations": 60, "seed": 3}, config=path)
    assert (made.training.iterations, made.training.lr_decay_every, made.training.eval_every) == (60, 40, 7)
    assert (made.seed, made.training.data_seed) == (3, 3)
    # A run's own file names every setting, also those that follow from others.
    path.write_text(ENSEMBLE.make({"channels": 3, "eval_every": 7}).to_yaml())
    made = ENSEMBLE.make({"iterations": 60, "seed": 3}, config=path)
    assert (made.training.iterations, made.training.lr_decay_every, made.training.eval_every) == (60, 40, 7)
    assert (made.seed, made.training.data_seed, made.channels) == (3, 3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chanels: 4", "unknown key 'chanels'; choose from .*channels"),
        ("training: {iteration: 4}", "unknown key 'iteration'; choose from .*iterations"),
        ("training: 4", "unknown key 'training'"),
        ("channels: many", "channels: expected a whole number, got 'many'"),
        ("channels: true", "channels: expected a whole number"),
        ("channels: 0", "channels: expected at least 1, got 0"),
        ("variants: 0", "variants: expected at least 1"),
        ("families: ws", r"families: expected a list such as \[a, b\], got 'ws'"),
        ("families: [ws, ws]", "families: expected each value once"),
        ("families: [connectome]", "the connectome itself is always included"),
        ("{families: [], seeds: 0}", "seeds: expected at least 1"),
        ("dag: dense", "dag: unknown choice 'dense'; choose from constrained, random"),
        ("match: edges", "match: unknown choice 'edges'; choose from dag"),
        ("connectome: 3", "connectome: expected a name, got 3"),
        ("family_options: {random_dag: {p: 1}}", "'random_dag' is not among the families of this run"),
        ("training: {learning_rate: fast}", "learning_rate: expected a number"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML at line 1"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        ENSEMBLE.make(config=path)
    assert "\n" not in str(error.value)


def test_the_schedule_has_the_published_proportions() -> None:
    published = FitSettings()
    names = ("lr_decay_every", "eval_every", "checkpoint_every")
    assert schedule_for(15_000) == {name: getattr(published, name) for name in names}
    assert min(schedule_for(1).values()) == 1


def test_files_are_named_in_full_and_known_names_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("worm.csv", "digits", "cook2019-male"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    config = EnsembleSettings(connectome="worm.csv", beside=("cook2019-male",), dataset="digits").with_absolute_paths()
    assert (config.connectome, config.beside, config.dataset) == (str(tmp_path / "worm.csv"), ("cook2019-male",), "digits")


def test_train_has_one_wiring() -> None:
    assert (TRAIN.make().as_ensemble().families, TRAIN.make({"seeds": 4}).as_ensemble().seeds) == ((), 4)
    random = TrainSettings(family="random_dag", seeds=2).as_ensemble()
    assert (random.families, random.seeds, random.variants, random.repeats) == (("random_dag",), 0, 1, 2)
    with pytest.raises(ValueError, match="unknown choice 'lattice'"):
        TrainSettings(family="lattice")


def test_published_numbers_stand_beside_the_papers_networks_only() -> None:
    made = PARK_KIM.make()
    assert networks(made) == {"connectome": CONSTRAINED, "cook2019-male": CONSTRAINED_MALE, "random_dag": RANDOM}
    assert networks(made.with_flat({"dag": "random"})) == {"connectome": RANDOM, "random_dag": RANDOM, "ws": RANDOM_WS}
    assert networks(made.with_flat({"connectome": "witvliet2021-8"})) == {"cook2019-male": CONSTRAINED_MALE}
    male = made.with_flat({"connectome": "cook2019-male", "beside": []})
    assert networks(male)["connectome"] == CONSTRAINED_MALE
    assert networks(male.with_flat({"dag": "random"})) == {"ws": RANDOM_WS}
    assert networks(made.with_flat({"synapses": "both"})) == {}


def test_park_kim_has_the_published_settings() -> None:
    made = PARK_KIM.make({"dataset": "mnist"})
    assert (made.channels, made.training.iterations, made.training.learning_rate, made.training.batch_size) == (78, 15_000, 0.004, 100)
    assert (made.training.lr_decay_every, made.beside, made.families) == (10_000, ("cook2019-male",), ("random_dag",))
    assert PARK_KIM.make().channels == 24
    assert json.loads(json.dumps(made.fixed()))["training"]["iterations"] == 15_000


def test_families_alone_are_compared_with_the_first(tmp_path: Path) -> None:
    result = run_study(ENSEMBLE, tiny_settings(tmp_path, seeds=0), tmp_path / "out", quiet=True)
    assert result.comparison.reference == "er"
    (tmp_path / "out" / "shards" / "00001" / "predictions.safetensors").write_bytes(save({"other": torch.zeros(1)}))
    with pytest.raises(ValueError, match=r"run: .*00001.predictions.safetensors is missing or damaged"):
        load_run(tmp_path / "out").redraw()
    assert {"families", "accuracy"} <= {figure.name for figure in result.figures}


def test_one_evaluation_is_no_curve() -> None:
    rows = pd.DataFrame({"variant": [0, 1], "family": ["connectome", "er"], "wiring_seed": 0, "seed": [0, 1], "accuracy": [0.5, 0.6]})
    once = rows.assign(iteration=10, split="validation")
    assert set(accuracy_figures(rows, once)) == {"families"}
    assert set(accuracy_figures(rows, pd.concat([once, once.assign(iteration=20)]))) == {"families", "accuracy"}
