"""Finished runs, taken up again from their folders: joined into one comparison, or drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd

from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.datasets import load_images
from elegans_pyg.recipes.config import RunConfig
from elegans_pyg.recipes.figures import draw_figures, first_wirings
from elegans_pyg.recipes.run import build_variants
from elegans_pyg.recipes.run_folder import RunFolder

# Settings that may differ between runs of one experiment: which wirings and seeds, how many, and where they were trained.
_FREE = ("families", "seeds", "variants", "repeats", "seed", "beside", "image_root", "executor")
_FREE_TRAINING = ("data_seed", "device", "eval_every", "checkpoint_every", "eval_batch_size", "tensorboard")


def join_runs(folders: Sequence[str | Path]) -> tuple[pd.DataFrame, list[str]]:
    """The results of several runs as one table.

    Runs with the same settings (but for wirings and seeds) add to each other's families. Otherwise a family is known as ``run/family``,
    after the run folder's name, and a note says which settings differ.

    Args:
        folders: run folders.

    Returns:
        one row a variant, numbered anew; and the notes.

    Raises:
        FileNotFoundError: if a folder is no run folder, or its run has no results yet.
        ValueError: if a folder is named twice, a file is damaged, or the runs were tested on different images.
    """
    runs = [RunFolder(folder) for folder in folders]
    paths = [run.path.resolve() for run in runs]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"run: {path} is named twice; name each run once")
    tables = [run.read_results() for run in runs]
    configs = [run.read_config() for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        if config.dataset != configs[0].dataset:
            both = f"{configs[0].dataset} in {runs[0].path} and {config.dataset} in {run.path}"
            raise ValueError(f"run: accuracies on different images cannot be compared ({both}); compare runs on the same data set")
    differing = sorted({name for config in configs[1:] for name in _differences(configs[0], config)})
    notes = []
    if differing:
        names = _short_names(paths)
        tables = [
            table.assign(family=[f"{name}/{family}" for family in table["family"]]) for name, table in zip(names, tables, strict=True)
        ]
        notes.append(f"The runs differ in {', '.join(differing)}; families are kept apart by run.")
    joined = pd.concat(tables, ignore_index=True)
    joined["variant"] = range(len(joined))
    return joined, notes


def compare_runs(folders: Sequence[str | Path], reference: str | None = None) -> Comparison:
    """Compare the families of several runs, see :func:`join_runs` and :func:`~elegans_pyg.analysis.compare`.

    Args:
        folders: run folders.
        reference: family to compare with (default: the first of the first run, its connectome).
    """
    results, notes = join_runs(folders)
    comparison = compare(results, reference=str(results["family"].iloc[0]) if reference is None else reference)
    comparison.notes[:0] = notes
    return comparison


def redraw(folder: str | Path) -> list[Path]:
    """Draw the figures of a finished run again, from its files.

    Returns:
        the figures' files, without their suffixes.

    Raises:
        FileNotFoundError: if the folder is no run folder, or its run has no results yet.
        ValueError: if a file is damaged.
    """
    run = RunFolder(folder)
    results, config = run.read_results(), run.read_config()
    metrics, predictions = run.read_metrics(), run.read_predictions()
    # A family's first wiring does not depend on how many there are.
    batch, variants = build_variants(replace(config, seeds=min(config.seeds, 1), variants=1, repeats=1))
    images = load_images(config.dataset, config.image_root)
    return draw_figures(run, images, first_wirings(batch, variants), metrics, results, predictions)


def _differences(first: RunConfig, other: RunConfig) -> list[str]:
    names = [item.name for item in fields(first) if item.name not in (*_FREE, "training", "family_options")]
    different = [name for name in names if getattr(first, name) != getattr(other, name)]
    shared = set(first.families) & set(other.families)
    if any(first.family_options.get(family) != other.family_options.get(family) for family in shared):
        different.append("family_options")
    training = [item.name for item in fields(first.training) if item.name not in _FREE_TRAINING]
    return different + [name for name in training if getattr(first.training, name) != getattr(other.training, name)]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of the folders above as it takes to tell them apart."""
    length = 1
    while len({path.parts[-length:] for path in paths}) < len(paths):
        length += 1
    return ["/".join(path.parts[-length:]) for path in paths]
