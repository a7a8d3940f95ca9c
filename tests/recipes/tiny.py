"""Runs small enough for tests: a wiring of 24 neurons in a file, a few iterations, plain executor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from elegans_pyg.recipes.ensemble import EnsembleSettings
from elegans_pyg.training.settings import FitSettings

TYPES = ("sensory", "inter", "motor")


def write_wiring(folder: Path) -> tuple[Path, Path]:
    """An edge list and its neuron table: 24 neurons, 96 edges, six of them sensory."""
    rng = np.random.default_rng(5)
    edges = sorted({(int(a), int(b)) for a, b in rng.integers(0, 24, (400, 2)) if a != b})
    chosen = [edges[i] for i in sorted(rng.choice(len(edges), 96, replace=False))]
    wiring, neurons = folder / "small.csv", folder / "neurons.csv"
    lines = [f"N{a:02},N{b:02},{int(rng.integers(1, 30))},chemical" for a, b in chosen]
    wiring.write_text("\n".join(["pre,post,weight,synapse", *lines]) + "\n")
    names = [f"N{n:02},{TYPES[0 if n < 6 else 1 + n % 2]}" for n in range(24)]
    neurons.write_text("\n".join(["name,type", *names]) + "\n")
    return wiring, neurons


def tiny_settings(folder: Path, **changes: Any) -> EnsembleSettings:
    wiring, neurons = write_wiring(folder)
    training = FitSettings(iterations=4, batch_size=20, eval_every=2, checkpoint_every=2, lr_decay_every=3, device="cpu")
    base = EnsembleSettings(
        connectome=str(wiring),
        neurons=str(neurons),
        families=("er", "rewired"),
        seeds=2,
        variants=1,
        channels=2,
        executor="levels",
        training=training,
    )
    return base.model_copy(update=changes)


def learning_settings(folder: Path, **changes: Any) -> EnsembleSettings:
    """The same, with as many iterations as it takes to do better than to name one class for every image."""
    settings = tiny_settings(folder, **changes)
    schedule = {"iterations": 40, "learning_rate": 0.02, "eval_every": 20, "lr_decay_every": 40}
    return settings.model_copy(update={"training": settings.training.model_copy(update=schedule)})


def tensor_settings(kind: type[Any], folder: Path, training: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    """The same for M1 and M2."""
    wiring, neurons = write_wiring(folder)
    short = {"iterations": 3, "batch_size": 20, "eval_every": 2, "validation_fraction": 0.1, "device": "cpu"}
    few = {"width": 8, "seeds": 1, "variants": 1, "families": ("er",), "dataset": "digits"}
    fit = FitSettings(**short | dict(training or {}))
    return kind(connectome=str(wiring), neurons=str(neurons), training=fit, **few | changes)
