"""Settings are checked where they are made."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import yaml

from elegans_pyg.training import FitSettings


def test_defaults_are_park_and_kims() -> None:
    config = FitSettings()
    assert (config.iterations, config.batch_size, config.learning_rate) == (15_000, 100, 0.004)
    rates = [config.learning_rate_at(iteration) for iteration in (0, 9_999, 10_000, 19_999, 20_000)]
    assert rates == pytest.approx([0.004, 0.004, 0.0004, 0.0004, 0.00004])


def test_the_learning_rate_rises_linearly_and_falls_by_half_a_cosine() -> None:
    config = FitSettings(iterations=100, learning_rate=0.2, schedule="cosine")
    assert [config.learning_rate_at(step) for step in (0, 25, 50, 75, 100)] == pytest.approx(
        [0.2, 0.1 * (1 + math.sqrt(0.5)), 0.1, 0.1 * (1 - math.sqrt(0.5)), 0], abs=1e-15
    )
    # Three steps of 12 rise, the first of which already moves.
    config = FitSettings(iterations=12, learning_rate=0.2, warmup=0.25)
    assert [config.learning_rate_at(step) for step in range(5)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2])


def test_round_trip_through_yaml() -> None:
    config = FitSettings(iterations=7, data_order="variant", eval_batch_size=50, validation_fraction=1 / 12)
    assert FitSettings(**yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("iterations", 0, "iterations: expected at least 1, got 0; change it"),
        ("iterations", 1.5, r"iterations: expected a whole number, got 1\.5"),
        ("batch_size", True, "batch_size: expected a whole number, got True"),
        ("learning_rate", "1e-3", "learning_rate: expected a number, got '1e-3'; change it"),
        ("learning_rate", float("nan"), "learning_rate: expected a (finite )?number.*, got nan"),
        ("learning_rate", -1, "learning_rate: expected a number above 0, got -1"),
        ("lr_decay", 1.1, "lr_decay: expected at most 1, got 1.1"),
        ("lr_decay", 0, "lr_decay: expected a number above 0, got 0"),
        ("lr_decay_every", 0, "lr_decay_every: expected at least 1"),
        ("warmup", 1, "warmup: expected a number below 1, got 1"),
        ("clip_norm", -0.1, "clip_norm: expected at least 0, got -0.1"),
        ("adam_eps", 0, "adam_eps: expected a number above 0, got 0"),
        ("eval_every", -2, "eval_every: expected at least 1"),
        ("eval_images", 0, "eval_images: expected at least 1"),
        ("checkpoint_every", 0, "checkpoint_every: expected at least 1"),
        ("validation_fraction", 1, "validation_fraction: expected a number below 1, got 1"),
        ("data_order", "own", "data_order: unknown choice 'own'; choose from shared, variant"),
        ("data_seed", -1, "data_seed: expected at least 0"),
        ("precision", "half", "precision: unknown choice 'half'; choose from float32, bfloat16, float64"),
        ("device", "gpu", "device: expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got 'gpu'"),
        ("device", 0, "device: expected a name, got 0"),
        ("eval_batch_size", 0, "eval_batch_size: expected at least 1"),
        ("tensorboard", "yes", "tensorboard: expected true or false, got 'yes'"),
    ],
)
def test_refusals(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitSettings(**{field: value})


def test_unknown_keys_are_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match="unknown key 'momentum'; choose from iterations, batch_size, learning_rate"):
        FitSettings(momentum=0.9, iterations=3)


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match=r"^select: 'best' needs validation images, and validation_fraction is 0"):
        FitSettings(select="best", validation_fraction=0)
    with pytest.raises(ValueError, match=r"^last_batch: 'keep' has one order for all variants"):
        FitSettings(last_batch="keep", data_order="variant")


def test_a_resumed_run_may_change_where_it_runs_and_what_it_keeps() -> None:
    free = set(FitSettings.model_fields) - set(FitSettings().fixed())
    assert free == {"device", "checkpoint_every", "tensorboard"}


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, info in FitSettings.model_fields.items() if not info.description] == []


def test_the_settings_can_be_read_without_pytorch() -> None:
    code = "import sys, elegans_pyg.training.settings; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
