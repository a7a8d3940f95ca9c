"""Training the units of a shard: a unit that diverges, and a signal in the last stretch."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from elegans_pyg._settings import Count, Settings, Whole
from elegans_pyg.studies import Finished, Interrupted, Report, Shard, Study, Units, fit_shard, fitted_rows, run_study
from elegans_pyg.training import fit
from tests.training.double import Ensemble, make_images, settings


class FittingSettings(Settings):
    shard_size: Count = 1
    sick: Whole = 0


class Counted(Ensemble):
    def parameters_per_variant(self, trainable: bool = False) -> list[int]:
        return [43 * width + 3 for width in self.widths]


def units(chosen: FittingSettings) -> Units:
    return Units.build([{"family": "connectome", "wiring_seed": 0, "seed": seed} for seed in range(3)], [None] * 3)


def measure(chosen: FittingSettings, shard: Shard) -> pd.DataFrame:
    seeds = shard.units["seed"].tolist()
    model = Counted([4] * len(seeds), seeds)
    with torch.no_grad():
        model.bias[[seed < chosen.sick for seed in seeds]] = math.nan
    return fitted_rows(shard, fit_shard(shard, model, make_images(), settings()), model)


def report(done: Finished[FittingSettings]) -> Report:
    return Report(notes=[f"{(done.rows['stopped'] != '').sum()} stopped"])


FITTING: Study[FittingSettings] = Study("fitting", FittingSettings, units, measure, report, shard_size=lambda chosen: chosen.shard_size)


@pytest.mark.parametrize("sick", [1, 3])
def test_a_unit_that_diverges_is_the_same_row_in_any_shard(sick: int) -> None:
    alone, together = (run_study(FITTING, FittingSettings(shard_size=size, sick=sick), quiet=True) for size in (1, 3))
    assert alone.results["accuracy"].isna().tolist() == [seed < sick for seed in range(3)]
    assert alone.results["stopped"].tolist() == ["non-finite loss at iteration 1"] * sick + [""] * (3 - sick)
    pd.testing.assert_frame_equal(alone.results, together.results)
    assert alone.report.notes == [f"{sick} stopped"]


def test_a_signal_after_the_last_step_stops_the_study_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(model: Ensemble, *arguments: object, **options: object) -> object:
        calls: list[bool] = []

        def press(module: Ensemble, inputs: object) -> None:
            calls.append(module.training)
            # The last of two batches of the test, after two of the last validation.
            if calls[-4:] == [False] * 4:
                signal.raise_signal(signal.SIGTERM)

        with model.register_forward_pre_hook(press):
            return fit(model, *arguments, **options)

    monkeypatch.setattr("elegans_pyg.studies.fitting.fit", late)
    with pytest.raises(Interrupted) as stopped:
        run_study(FITTING, FittingSettings(shard_size=3), tmp_path / "run", quiet=True)
    assert stopped.value.signum == signal.SIGTERM
    monkeypatch.undo()
    monkeypatch.delattr("elegans_pyg.training.trainer.Trainer.step")
    resumed = run_study(FITTING, FittingSettings(shard_size=3), tmp_path / "run", resume=True, quiet=True)
    assert (resumed.results["stopped"] == "").all()
    assert resumed.results["accuracy"].notna().all()
