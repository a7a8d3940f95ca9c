"""Settings are checked where they are made."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml

from elegans_pyg.training import FitConfig


def test_defaults_are_park_and_kims() -> None:
    config = FitConfig()
    assert (config.iterations, config.batch_size, config.learning_rate) == (15_000, 100, 0.004)
    rates = [config.learning_rate_at(iteration) for iteration in (0, 9_999, 10_000, 19_999, 20_000)]
    assert rates == pytest.approx([0.004, 0.004, 0.0004, 0.0004, 0.00004])


def test_round_trip_through_yaml() -> None:
    config = FitConfig(iterations=7, data_order="variant", eval_batch_size=50, validation_fraction=1 / 12)
    assert FitConfig.from_dict(yaml.safe_load(yaml.safe_dump(asdict(config)))) == config


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("iterations", 0, ValueError, "iterations: expected at least 1, got 0; raise it"),
        ("iterations", 1.5, TypeError, r"iterations: expected an integer, got 1\.5 \(float\)"),
        ("batch_size", True, TypeError, r"batch_size: expected an integer, got True \(bool\)"),
        ("learning_rate", "1e-3", TypeError, r"learning_rate: expected a number above 0, got '1e-3' \(str\); write it in digits"),
        ("learning_rate", float("nan"), ValueError, "learning_rate: expected a number above 0, got nan"),
        ("learning_rate", -1, ValueError, "learning_rate: expected a number above 0, got -1"),
        ("lr_decay", 1.1, ValueError, "lr_decay: expected a number above 0 and at most 1, got 1.1"),
        ("lr_decay_every", 0, ValueError, "lr_decay_every: expected at least 1"),
        ("eval_every", -2, ValueError, "eval_every: expected at least 1"),
        ("checkpoint_every", 0, ValueError, "checkpoint_every: expected at least 1"),
        ("validation_fraction", 1, ValueError, "validation_fraction: expected a number from 0 up to, not including, 1, got 1"),
        ("data_order", "own", ValueError, "data_order: unknown choice 'own'; choose from shared, variant"),
        ("data_seed", -1, ValueError, "data_seed: expected at least 0"),
        ("precision", "half", ValueError, "precision: unknown choice 'half'; choose from float32, bfloat16, float64"),
        ("device", "gpu", ValueError, "device: expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got 'gpu'"),
        ("device", 0, ValueError, "device: expected 'auto'"),
        ("eval_batch_size", 0, ValueError, "eval_batch_size: expected at least 1"),
        ("tensorboard", "yes", TypeError, "tensorboard: expected true or false, got 'yes'"),
    ],
)
def test_refusals(field: str, value: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FitConfig.from_dict({field: value})


def test_unknown_keys_are_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match="unknown key 'momentum'; choose from iterations, batch_size, learning_rate"):
        FitConfig.from_dict({"momentum": 0.9, "iterations": 3})
