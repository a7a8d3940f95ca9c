"""The figures of image classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from elegans_pyg import plots
from elegans_pyg.studies.study import Finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elegans_pyg.datasets.images import ImageData


def joined_predictions(done: Finished[Any]) -> tuple[Tensor, bytes]:
    """Predicted classes of the test images, ``(units, n)`` int64 with -1 for a stopped unit, and the same as a safetensors file.

    Raises:
        ValueError: if a shard's file is damaged.
    """
    parts = []
    for folder in done.shards:
        path = folder / "predictions.safetensors"
        try:
            parts.append(load(path.read_bytes())["predictions"])
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(f"run: {path} is missing or damaged; start anew in another folder") from error
    together = torch.cat(parts)
    return together.long(), save({"predictions": together})


def classifier_figures(done: Finished[Any], images: ImageData, metrics: pd.DataFrame, predictions: Tensor) -> dict[str, Figure]:
    """Accuracies by family and along the training, a DAG of each family, examples and the confusion matrix, by name.

    The examples and the confusion matrix are those of the first unit that came to the end, which is a run of the connectome where there is
    one: not the best one, and not chosen by its accuracy.

    Args:
        done: the finished study.
        images: the images trained on.
        metrics: rows of ``metrics.csv``.
        predictions: ``(units, n_test)``.
    """
    results = done.rows
    figures = {"families": plots.family_accuracies(results, reference=str(results["family"].iloc[0]))}
    if (metrics["split"] == "validation").any():
        figures["accuracy"] = plots.accuracy_curves(metrics, reference=str(results["family"].iloc[0]))
    figures |= {f"dag-{family}": plots.layered_dag(wiring) for family, wiring in done.units.first_of_families().items()}
    finished = results.loc[results["accuracy"].notna(), "variant"]
    if len(finished):
        predicted = predictions[int(finished.iloc[0])]
        for name, correct in (("examples-right", True), ("examples-wrong", False)):
            if bool((predicted == images.test_labels).eq(correct).any()):
                figures[name] = plots.examples(images.test_images, images.test_labels, predicted, images.classes, correct=correct)
        figures["confusion"] = plots.confusion_matrix(images.test_labels, predicted, images.classes)
    return figures
