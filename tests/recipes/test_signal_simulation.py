"""Simulated signals: a planted wiring is found, nulls are redrawn, and conductances are fitted. Nothing here is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg.dynamics import Worm, simulate
from elegans_pyg.models.linear_propagation import Measured
from elegans_pyg.recipes import signal_simulation, signals
from elegans_pyg.recipes.signal_simulation import SIGNAL_SIMULATION, SimulationSettings, fit_conductances, load_atlas, stimulate
from elegans_pyg.studies import run_study
from tests.recipes.undrawn import undrawn

SMALL = SimulationSettings(
    membranes=("kunert",), families=("rewired",), nulls=2, fit_steps=1, fit_stimuli=4, on=4.0, duration=16.0, fit_duration=8.0, folds=3
)
STIMULATED = 9


def planted_atlas(worm: Worm, wiring: Data) -> Data:
    """What would be measured if ``worm`` were the animal; nine neurons are stimulated."""
    nodes = len(wiring.neuron_name)
    chosen = torch.arange(0, nodes, nodes // STIMULATED)[:STIMULATED]
    with torch.no_grad():
        dff = torch.full((nodes, nodes), torch.nan).index_copy(
            0, chosen, stimulate(worm, chosen, SMALL.current, (SMALL.on, SMALL.duration, SMALL.dt_ms))
        )
    tested = torch.zeros(nodes, nodes, dtype=torch.bool).index_fill(0, chosen, True) & ~torch.eye(nodes, dtype=torch.bool)
    q = torch.where(dff.abs() > dff[tested].abs().quantile(0.9), 0.01, 0.5).where(tested, torch.nan)
    matrices = {"dff": dff, "dff_odd": dff, "dff_even": dff, "q": q}
    return Data(**matrices, count=torch.full((nodes, nodes), 2), pair_mask=tested, num_nodes=nodes)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    load_atlas.cache_clear()
    monkeypatch.setattr(signals, "seen", lambda strain, wiring, at_least: planted_atlas(Worm("kunert"), wiring))
    with undrawn():
        yield
    load_atlas.cache_clear()


def test_a_planted_worm_is_found(planted: None, tmp_path: Path) -> None:
    run_study(SIGNAL_SIMULATION, SMALL, tmp_path / "run", workers=1, quiet=True)
    tests = pd.read_csv(tmp_path / "run" / "tests.csv")
    main = tests[(tests["value"] == "auc") & (tests["strain"] == "wild-type")]
    assert main["freedom"].tolist() == ["none", "conductances"]
    assert (main["rank"] == 1).all()
    assert main["real"].iloc[0] == pytest.approx(1)


def test_a_response_is_the_difference_from_the_unstimulated_worm() -> None:
    worm = Worm("kunert")
    (name, *_), node = worm.neuron_name, torch.tensor([0])
    moved = stimulate(worm, node, SMALL.current, (SMALL.on, 16.0, 0.05))[0]
    current = torch.zeros(2, 320, 1)
    current[0, 80:] = SMALL.current
    with_it, without = simulate(worm, current, [name], 0.05, 16.0)[1]
    torch.testing.assert_close(moved, (with_it - without)[200:].mean(0), rtol=1e-3, atol=1e-3)


def test_a_fit_does_not_use_the_fold_that_it_is_scored_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[int] = set()

    def respond(worm: Worm, neurons: torch.Tensor, *_: object) -> torch.Tensor:
        asked.update(neurons.tolist())
        return torch.rand(len(neurons), 279, generator=torch.Generator().manual_seed(0)) * worm.data.leak_nS

    monkeypatch.setattr(signal_simulation, "stimulate", respond)
    row, ones = torch.arange(40) % 8, torch.ones(40)
    pairs = Measured(torch.arange(8), row, torch.arange(100, 140), torch.arange(40) % 3 == 0, ones, ones)
    atlas = signals.Atlas({"wild-type": pairs}, {"wild-type": ones > 0}, {"neurons": row % 4}, (ones, ones))
    fit_conductances(SMALL.model_copy(update={"fit_stimuli": 8}), Worm("kunert"), atlas, seed=0)
    assert asked == {1, 2, 3, 5, 6, 7}


@pytest.mark.slow
def test_a_fit_finds_back_what_was_scaled(planted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.ones((), dtype=torch.float64)
    other = Worm("kunert").scaled(one, one, 6 * one, one)
    atlas = load_atlas(SMALL, "kunert")

    def error(worm: Worm) -> float:
        response = stimulate(worm, atlas.measured["wild-type"].stimulated, SMALL.current, (SMALL.on, SMALL.fit_duration, SMALL.fit_dt_ms))
        moved = torch.log(response[atlas.measured["wild-type"].row, atlas.measured["wild-type"].neuron].abs() + 1e-3)
        return -float(torch.corrcoef(torch.stack([moved, atlas.measured["wild-type"].responds.float()]))[0, 1])

    settings = SMALL.model_copy(update={"fit_steps": 4, "fit_stimuli": 6})
    fitted = fit_conductances(settings, other, atlas, seed=0)
    assert error(fitted) < error(other)
    again = fit_conductances(settings, other, atlas, seed=0)
    assert torch.equal(fitted.data.conductance_nS, again.data.conductance_nS)
    assert np.isfinite(fitted.data.threshold_mV.numpy()).all()


@pytest.mark.parametrize(("pharynx", "of_c302"), [(False, "14,058"), (True, "18,559")])
def test_pairs_of_the_pharynx_which_only_c302_s_wiring_has_are_left_out(pharynx: bool, of_c302: str) -> None:
    settings = SimulationSettings(pharynx=pharynx)
    notes = signals.pair_notes(settings, {name: load_atlas(settings, name) for name in settings.membranes})
    assert notes[0].startswith("kunert: 14,058 pairs of the wild type")
    assert notes[1].startswith(f"c302-C1: {of_c302} pairs of the wild type")


def test_refuses_currents_that_never_flow() -> None:
    with pytest.raises(ValueError, match=r"on: expected a time before fit_duration \(100 ms\), got 100"):
        SimulationSettings(on=100.0)
    with pytest.raises(ValueError, match=r"on: expected a time before duration \(220 ms\), got 220"):
        SimulationSettings(on=220.0, fit_steps=0)
    assert SimulationSettings(on=120.0, fit_steps=0).on == 120.0
