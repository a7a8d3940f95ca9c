"""The figures of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from torch import Tensor
from torch_geometric.data import Batch, Data

from elegans_pyg import plots
from elegans_pyg.datasets.images import ImageData
from elegans_pyg.recipes.run_folder import RunFolder


def draw_figures(
    folder: RunFolder, images: ImageData, wirings: dict[str, Data], metrics: pd.DataFrame, results: pd.DataFrame, predictions: Tensor
) -> list[Path]:
    """Draw all figures of a finished run into ``figures/``, as PNG and SVG.

    The examples and the confusion matrix are those of the first variant
    that came to the end, which is a run of the connectome where there is one: not the best one, and not chosen by its accuracy.

    Args:
        folder: the run folder.
        images: the images trained on.
        wirings: the DAGs to draw, by family, see :func:`first_wirings`.
        metrics: rows of ``metrics.csv``.
        results: one row a variant.
        predictions: ``(V, n_test)``.

    Returns:
        the files, without their suffixes.
    """
    folder.figures.mkdir(parents=True, exist_ok=True)
    reference = str(results["family"].iloc[0])
    figures = {"families": plots.family_accuracies(results)}
    if (metrics["split"] == "validation").any():
        figures["accuracy"] = plots.accuracy_curves(metrics, reference=reference)
    for family, wiring in wirings.items():
        figures[f"dag-{family}"] = plots.layered_dag(wiring)
    finished = results.loc[results["accuracy"].notna(), "variant"]
    if len(finished):
        predicted = predictions[int(finished.iloc[0])]
        for name, correct in (("examples-right", True), ("examples-wrong", False)):
            if bool((predicted == images.test_labels).eq(correct).any()):
                figures[name] = plots.examples(images.test_images, images.test_labels, predicted, images.classes, correct=correct)
        figures["confusion"] = plots.confusion_matrix(images.test_labels, predicted, images.classes)
    for name, figure in figures.items():
        plots.save(figure, folder.figures / name)
    return [folder.figures / name for name in figures]


def first_wirings(batch: Batch, variants: pd.DataFrame) -> dict[str, Data]:
    """The first DAG of every family: ``variants`` has one row each, with ``variant`` and ``family``."""
    first = variants.drop_duplicates("family")
    return {str(family): batch.get_example(int(variant)) for family, variant in zip(first["family"], first["variant"], strict=True)}
