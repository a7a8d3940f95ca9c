"""Identity of a run: checks of its inputs, and their comparison with those of a checkpoint."""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg.training.data import FitData
from elegans_pyg.training.objective import Objective, VariantModel
from elegans_pyg.training.settings import FitSettings

_INTEGERS = ("variant", "wiring_seed", "seed")


def variant_table(variants: pd.DataFrame | None, count: int) -> pd.DataFrame:
    """Return a checked copy of the columns ``variant``, ``family``, ``wiring_seed`` and ``seed``, or the default table.

    Raises ``ValueError`` if a column is missing or not of integers, or the variants are not 0 to ``count - 1`` in order.
    """
    if variants is None:
        return pd.DataFrame({"variant": range(count), "family": "unnamed", "wiring_seed": 0, "seed": range(count)})
    columns = ["variant", "family", "wiring_seed", "seed"]
    missing = [name for name in columns if name not in variants.columns]
    if missing:
        raise ValueError(f"variants: expected the columns {', '.join(columns)}, got none named {', '.join(missing)}; add them")
    for name in _INTEGERS:
        if not pd.api.types.is_integer_dtype(variants[name]):
            raise ValueError(f"variants: expected integers in column {name!r}, got {variants[name].dtype}; convert the column")
    if (got := variants["variant"].tolist()) != list(range(count)):
        raise ValueError(f"variants: expected the rows to be variants 0 to {count - 1} in order, got {got}; sort them")
    return variants[columns].reset_index(drop=True).astype({name: np.int64 for name in _INTEGERS})


def describe_run(model: VariantModel, data: FitData, settings: FitSettings, table: pd.DataFrame, objective: Objective) -> dict[str, Any]:
    """Return the description of a run's inputs that a checkpoint keeps, as plain JSON values."""
    digest = hashlib.sha256()
    for tensor in (part for pair in data.splits().values() for part in pair):
        digest.update(tensor.cpu().contiguous().numpy().data)
    entries, wiring = model.state_dict(), hashlib.sha256()
    # Graphs are integers that checkpoints do not keep. Under all names, since what shares memory differs from device to device.
    for name, tensor in model.named_buffers(remove_duplicate=False):
        if name not in entries and not tensor.is_floating_point():
            wiring.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.cpu().contiguous().numpy().tobytes())
    shapes = {name: list(pair[0].shape) for name, pair in data.splits().items()}
    return {
        "settings": settings.fixed(),
        "objective": repr(objective),
        "dataset": {"name": data.name, "shapes": shapes, "classes": list(data.classes), "sha256": digest.hexdigest()},
        "model": {name: f"{tuple(tensor.shape)} {tensor.dtype}" for name, tensor in entries.items()},
        "wiring": wiring.hexdigest(),
        "variants": {str(row["variant"]): row for row in json.loads(table.to_json(orient="records"))},
    }


def check_same_run(state: dict[str, Any], run: dict[str, Any]) -> None:
    """Check that a run may be resumed: compare the checkpoint's ``state`` with ``run``, the :func:`describe_run` of the present inputs.

    Raises ``ValueError`` naming the first input that differs, or if ``iterations`` is below the iterations done.
    """
    saved, given = state["run"], json.loads(json.dumps(run))
    done, wanted = state["iteration"], given["settings"]["iterations"]
    if wanted < done:
        raise ValueError(f"iterations: expected at least the {done} of the checkpoint, got {wanted}; raise it")
    before = FitSettings(**saved["settings"])
    if wanted != before.iterations and not before.extensible:
        raise ValueError(
            f"iterations: was {before.iterations} in the checkpoint and is {wanted} now, but a learning rate with schedule 'cosine' or"
            " warmup depends on it; give the run's own number, or start a new run"
        )
    given["settings"]["iterations"] = before.iterations
    for section in ("settings", "objective", "dataset", "variants", "model", "wiring"):
        # Checkpoints of earlier versions have no wiring.
        if section in saved:
            _check_same(section, saved[section], given[section])


def _check_same(name: str, saved: Any, given: Any) -> None:
    if isinstance(saved, dict) and isinstance(given, dict):
        for key in saved | given:
            _check_same(f"{name}.{key}", saved.get(key), given.get(key))
    elif saved != given:
        raise ValueError(
            f"resume: {name} was {saved!r} in the checkpoint and is {given!r} now; give the run's own inputs, or start a new run"
        )
