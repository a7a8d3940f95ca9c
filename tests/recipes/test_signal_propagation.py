"""The study on signals: planted wirings are found, nulls are not, and tables follow from the wirings' scores. Nothing here is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch_geometric.data import Data

from elegans_pyg.analysis import noise_ceilings, rank_test
from elegans_pyg.datasets import Connectome, SignalPropagation
from elegans_pyg.models import LinearPropagation, linear_propagation
from elegans_pyg.recipes import signal_propagation, signals
from elegans_pyg.recipes.signal_propagation import (
    SIGNAL_PROPAGATION,
    PropagationSettings,
    load_atlas,
    load_base,
    measure,
    propagation_units,
    with_kinds,
)
from elegans_pyg.studies import Shard, load_run, run_study, unit_seed
from elegans_pyg.studies.tables import to_text
from elegans_pyg.transforms import NamesShuffled, Rewired
from tests.commands import refused
from tests.recipes.undrawn import undrawn

STAGE = "witvliet2021-1"
SMALL = PropagationSettings(
    connectome=STAGE, families=("rewired",), nulls=19, fitted_nulls=4, pair_nulls=2, folds=3, synapses=("both", "chemical")
)
STAGES = (("global", 0.0, 12), ("class", 0.1, 6), ("edge", 0.1, 6))
Planted = Callable[[Data], None]


def planted_atlas(origin: Data, strain: str, noise: float = 1.0) -> Data:
    """What would be measured if signals went along the edges of ``origin``, in trials with noise; every third neuron is not stimulated."""
    nodes, rng = int(origin.num_nodes or 0), np.random.default_rng([7, len(strain)])
    with torch.no_grad():
        response = LinearPropagation([origin]).responses(torch.arange(nodes))[0, 0].T.numpy()
    signal = response / response[~np.eye(nodes, dtype=bool)].std()
    odd, even = (signal + noise * rng.normal(size=signal.shape) for _ in range(2))
    dff = (odd + even) / 2
    tested = ~np.eye(nodes, dtype=bool) & (np.arange(nodes) % 3 > 0)[:, None] & (rng.random(signal.shape) < 0.8)
    q = np.where(dff > np.quantile(dff[tested], 0.95), 0.01, 0.5)
    matrices = {"dff": dff, "dff_odd": odd, "dff_even": even, "q": q}
    seen = {name: torch.from_numpy(np.where(tested, values, np.nan)).float() for name, values in matrices.items()}
    return Data(**seen, count=torch.full((nodes, nodes), 2), pair_mask=torch.from_numpy(tested), num_nodes=nodes)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    def from_(origin: Data) -> None:
        load_atlas.cache_clear()
        monkeypatch.setattr(signals, "seen", lambda strain, wiring, at_least: planted_atlas(origin, strain))

    monkeypatch.setattr(signal_propagation, "STAGES", STAGES)
    with undrawn():
        yield from_
    load_atlas.cache_clear()


def test_a_planted_wiring_is_found(plant: Planted, tmp_path: Path) -> None:
    plant(with_kinds(load_base(SMALL), (0, 1)))
    done = run_study(SIGNAL_PROPAGATION, SMALL, tmp_path / "run", workers=1, quiet=True)
    tests = pd.read_csv(tmp_path / "run" / "tests.csv")
    main = tests[(tests["strain"] == "wild-type") & tests["value"].isin(["auc", "r"]) & (tests["arm"] == "both")]
    assert {*main["freedom"]} == {"none", "global", "class", "edge"}
    assert (main["rank"] == 1).all()
    assert (main["effect"] > 2).all()
    assert main.loc[main["freedom"] == "none", "p"].to_numpy() == pytest.approx(1 / 20)
    assert main.loc[main["freedom"] == "edge"].groupby("holdout")["p"].max().to_dict() == pytest.approx({"neurons": 1 / 5, "pairs": 1 / 3})
    # Rows are the means of the folds, and these what scikit-learn says of the pairs held out.
    atlas, response = load_atlas(SMALL), LinearPropagation([with_kinds(load_base(SMALL), (0, 1))])
    own, score = atlas.measured["wild-type"], response.pairs(atlas.measured["wild-type"])[0, 0].detach().numpy()
    folds = [(atlas.tested["wild-type"] & (atlas.fold["neurons"] == fold)).numpy() for fold in range(3)]
    expected = np.mean([roc_auc_score(own.responds.numpy()[here], score[here]) for here in folds])
    rows = done.results
    row = rows[(rows["family"] == "connectome") & (rows["freedom"] == "none") & (rows["arm"] == "both")].iloc[0]
    assert row["auc"] == pytest.approx(expected, abs=1e-6)
    for part in done.report.tables:
        assert max(map(len, to_text(part).splitlines())) <= 80
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["tests"][0]["rank"] == 1
    assert load_run(tmp_path / "run").results.equals(rows)


def test_where_a_null_is_planted_nothing_is_found(plant: Planted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wiring in question is itself a draw from the family, and the signals went along another one: p is uniform."""
    base, ps = with_kinds(load_base(SMALL), (0,)), []
    options = {"freedoms": ("none",), "synapses": ("chemical",), "families": ("rewired",)}
    for seed in range(20):
        plant(Rewired(10**6 + seed)(base))
        monkeypatch.setattr(signal_propagation, "load_base", lambda settings, seed=seed: Rewired(10**7 + seed)(base))
        settings = SMALL.model_copy(update={**options, "seed": seed})
        units = propagation_units(settings)
        rows = measure(settings, Shard(tmp_path, units.table, []))
        ps.append(rank_test(rows[rows["strain"] == "wild-type"], value="auc", alternative="greater")["p"].item())
    assert stats.kstest(ps, "uniform").pvalue > 0.05
    assert 0.3 < np.mean(ps) < 0.7


@pytest.mark.parametrize("holdout", signals.HOLDOUTS)
def test_nothing_is_fitted_or_chosen_by_what_is_held_out(plant: Planted, monkeypatch: pytest.MonkeyPatch, holdout: str) -> None:
    base, given = with_kinds(load_base(SMALL), (0, 1)), []
    plant(base)
    fit = linear_propagation.fit
    monkeypatch.setattr(linear_propagation, "fit", lambda *arguments: given.append(arguments) or fit(*arguments))
    monkeypatch.setattr(signal_propagation, "STAGES", (("global", 0.0, 1),))
    settings = SMALL.model_copy(update={"freedoms": ("global",)})
    signal_propagation._fitted(settings, [base], holdout)
    ((_, measured, train, validation, _),) = given
    atlas = load_atlas(settings)
    assert measured is atlas.measured["wild-type"]
    for fold in range(SMALL.folds):
        held = (atlas.fold[holdout] == fold) & atlas.tested["wild-type"]
        parts = torch.stack([train[fold], validation[fold], held])
        assert bool((parts.sum(0) == atlas.tested["wild-type"]).all())
        assert bool(parts.any(1).all())
        if holdout == "neurons":
            assert all(len(parts[:, measured.row == row].any(1).nonzero()) <= 1 for row in range(len(measured.stimulated)))


def test_a_unit_does_not_depend_on_its_shard(plant: Planted) -> None:
    plant(with_kinds(load_base(SMALL), (0, 1)))
    few = SMALL.model_copy(update={"nulls": 2, "fitted_nulls": 2, "pair_nulls": 0})
    whole, split = (run_study(SIGNAL_PROPAGATION, few, workers=1, shards=shards, quiet=True).results for shards in (None, 5))
    pd.testing.assert_frame_equal(whole, split, rtol=2e-3, atol=2e-3)


def test_units_and_what_nulls_are_drawn_from() -> None:
    units = propagation_units(SMALL)
    assert units.table.groupby(["held", "family"], sort=False).size().tolist() == [1, 19, 1, 4, 1, 2]
    seeds = units.table[units.table["family"] == "rewired"]
    assert seeds.loc[seeds["held"] == "neurons", "wiring_seed"].tolist() == [unit_seed(0, "rewired", number) for number in range(4)]
    assert len(units.wirings) == 1
    # A null of one kind of synapses is that part of the null of all kinds.
    base = load_base(PropagationSettings())
    assert base.edge_type.bincount().tolist()[:2] == Connectome(synapses="both")[0].edge_type.bincount().tolist()
    for family in (Rewired, NamesShuffled):
        part = family(3)(with_kinds(base, (0, 1)))
        for kinds in ((0,), (1,)):
            assert torch.equal(with_kinds(part, kinds).edge_index, family(3)(with_kinds(base, kinds)).edge_index)


def test_layers_join_by_name_and_pairs_keep_what_was_decided() -> None:
    settings = PropagationSettings()
    base, atlas = load_base(settings), load_atlas(settings)
    layers = [Connectome(name)[0] for name in settings.layers]
    wanted: dict[tuple[str, str], float] = {}
    for layer in layers:
        for (source, target), weight in zip(layer.edge_index.T.tolist(), layer.edge_weight.tolist(), strict=True):
            pair = layer.neuron_name[source], layer.neuron_name[target]
            if all(name in base.neuron_name for name in pair):
                wanted[pair] = wanted.get(pair, 0) + weight
    extra = with_kinds(base, (2,))
    found = {
        (base.neuron_name[a], base.neuron_name[b]): w
        for (a, b), w in zip(extra.edge_index.T.tolist(), extra.edge_weight.tolist(), strict=True)
    }
    assert found == wanted
    seen = SignalPropagation().align(base)
    names = [base.neuron_name[node] for node in atlas.measured["wild-type"].stimulated]
    own, tested = atlas.measured["wild-type"], atlas.tested["wild-type"]
    assert not any(name.startswith("AWC") for name in names)
    left = torch.tensor([not name.startswith("AWC") for name in base.neuron_name])
    assert int(tested.sum()) == int((seen.pair_mask & left[:, None] & left[None, :]).sum())
    assert int(own.responds.sum()) == int(((seen.q < 0.05) & seen.pair_mask & left[:, None] & left[None, :]).sum())
    # No stimulated neuron is in two folds.
    for row in range(len(names)):
        assert len(atlas.fold["neurons"][own.row == row].unique()) == 1


def measured_pairs(rng: np.random.Generator) -> linear_propagation.Measured:
    """Forty pairs of three neurons that are stimulated, with random responses."""
    amplitude = torch.from_numpy(rng.normal(size=40))
    row, neuron = torch.arange(40) % 3, torch.arange(40) % 4
    return linear_propagation.Measured(torch.tensor([0, 1, 3]), row, neuron, amplitude > 0.5, amplitude, torch.ones(40))


def test_steps_lead_from_the_stimulated_neuron_to_the_other() -> None:
    pairs = measured_pairs(np.random.default_rng(0))
    atlas = signals.Atlas({"wild-type": pairs}, {}, {}, (pairs.amplitude, pairs.amplitude))
    steps = signals.path_steps(atlas, Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]), num_nodes=4, neuron_name=list("abcd")))
    source = pairs.stimulated[pairs.row]
    assert steps.tolist() == [b - a if b >= a else math.inf for a, b in zip(source.tolist(), pairs.neuron.tolist(), strict=True)]


def test_the_ceiling_of_other_animals_is_what_unc_31_says_of_the_wild_type() -> None:
    rng = np.random.default_rng(1)
    own, other = measured_pairs(rng), measured_pairs(rng)
    tested = {"wild-type": torch.arange(40) > 1, "unc-31": torch.arange(40) % 5 > 0}
    halves = torch.from_numpy(rng.normal(size=(2, 40)))
    found = signals.ceilings(signals.Atlas({"wild-type": own, "unc-31": other}, tested, {}, (halves[0], halves[1])))
    there = np.where(tested["unc-31"], other.amplitude, np.nan)[2:]
    expected = noise_ceilings(own.responds[2:].numpy(), own.amplitude[2:].numpy(), (halves[0, 2:].numpy(), halves[1, 2:].numpy()), there)
    pd.testing.assert_frame_equal(found, expected)


def test_the_real_wiring_has_to_exceed_its_nulls() -> None:
    """Below all of them it is as unusual as above, but p is one-sided."""
    rows = [("connectome", 0, 0.4), *(("er", number, 0.5 + number / 100) for number in range(1, 20))]
    table = pd.DataFrame(rows, columns=["family", "seed", "auc"]).assign(freedom="none", arm="both", holdout="neurons", strain="wild-type")
    table = table.assign(variant=table["seed"], wiring_seed=table["seed"])
    table[["ap", "r", "r_significant", "auc_1", "auc_2", "auc_3"]] = math.nan
    found = signals.arm_tests(table, pd.concat([table.assign(fold=fold) for fold in range(3)]))
    assert found[["value", "rank", "p"]].to_numpy().tolist() == [["auc", 20, 1.0]]


def test_refusals(tmp_path: Path) -> None:
    command = ("reproduce", "signal-propagation")
    assert "synapses: unknown choice 'all'; choose from chemical, electrical, both, extrasynaptic" in refused(*command, "--synapses", "all")
    assert "expected one of cook2019-hermaphrodite" in refused(*command, "--connectome", "nobody", "--out", tmp_path / "out")
    message = "without: expected neurons of the wiring, or classes such as "
    assert message in refused(*command, "--without", "AWC,AVAL,nobody", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "pair_nulls: expected 0, or at least 2 to rank the real wiring among, got 1" in refused(*command, "--pair-nulls", 1)
    assert "layers: expected at least one for extrasynaptic synapses, got none" in refused(*command, "--layers", "")
    assert "families: expected at least 1 values" in refused(*command, "--families", "")


def test_the_sentence_says_what_the_ranks_show_and_no_more() -> None:
    rows = [("none", "rewired", 0.6, 0.5, 99, 0.02), ("none", "er", 0.6, 0.58, 99, 0.4), ("edge", "rewired", 0.7, 0.69, 19, 0.3)]
    rows += [("class", "rewired", 0.7, 0.6, 19, 0.1), ("class", "er", 0.7, 0.6, 19, 0.1)]
    tests = pd.DataFrame(rows, columns=["freedom", "family", "real", "mean", "wirings", "p_holm"]).assign(rank=1)
    tests["p_smallest"] = 1 / (1 + tests["wirings"])
    words = {"none": "With nothing fitted", "edge": "With edges fitted", "class": "With classes fitted"}
    mixed, nothing, hopeless = signals.rank_answers(tests, "freedom", words)
    assert mixed == (
        "With nothing fitted, the worm's wiring predicts its signals (AUC 0.600) better than its nulls: 99 rewired (0.500); each p ≤ 0.020"
        " after Holm's correction. This was not shown for 99 er (0.580)."
    )
    assert nothing == (
        "With edges fitted, the worm's wiring was not shown to predict its signals (AUC 0.700) better than its nulls: 19 rewired (0.690)."
    )
    assert hopeless.endswith("19 er (0.600); it ranks 1 of 20, 1 of 20, and so few nulls allow no p below 0.10 after Holm's correction.")
