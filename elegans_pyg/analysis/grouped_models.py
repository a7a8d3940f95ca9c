"""Simple models that predict a value from measures, tested on wirings that they have not seen."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from elegans_pyg._progress import Progress
from elegans_pyg.analysis.inference import Values
from elegans_pyg.analysis.simple_graph import Ints

TREES = 100
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(-1, 5.5, 0.5))
_INNER_FOLDS = 5
_SHUFFLES = 3


@dataclass(frozen=True)
class ModelScores:
    """Result of :func:`cross_validate`; every number is a mean over the repeats of the cross-validation.

    Attributes:
        models: one row per model (``family``, ``ridge``, ``forest``): ``q2``, the share of the value's variance that is predicted on unseen
            wirings, ``q2_sd``, its standard deviation over the repeats, ``rank``, Spearman's correlation of predicted and true values
            (``nan`` if the predictions are all the same), and ``error``, the mean absolute error, in the unit of the values.
        weights: ridge's coefficient of each measure, per standard deviation of it, in the unit of the values; ``(m,)``.
        importance: increase of the forest's squared error on unseen wirings if a measure is shuffled, as a share of the variance; ``(m,)``.
    """

    models: pd.DataFrame
    weights: Values
    importance: Values


def cross_validate(
    measures: Values, values: Values, wirings: Ints, families: Ints, *, folds: int = 5, repeats: int = 5, seed: int = 0, quiet: bool = True
) -> ModelScores:
    r"""Predict values from measures with a ridge regression and a random forest, and from the family alone.

    All runs of one wiring are in one fold, so that no model is tested on a wiring that it was fitted to; every family is spread evenly over
    the folds. The score is

    .. math:: Q^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y_i)^2}

    where :math:`\hat y_i` and the mean :math:`\bar y_i` come from the other folds: at or below 0, the model predicts no better than the
    mean. ``family`` predicts the mean of the variant's family; measures say more than the family only if ridge or forest beat it. Ridge
    (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634) has standardised measures, and a penalty chosen within the other folds,
    grouped in the same way; the forest (Breiman 2001, doi:10.1023/A:1010933404324) has 100 trees.

    Args:
        measures, values: ``(n, m)`` and ``(n,)``, one row per run.
        wirings, families: ``(n,)``, the number of each run's wiring and family.

    Raises:
        ValueError: for fewer than two wirings per fold, fewer than 2 folds, or values that are all the same.
    """
    count = len(np.unique(wirings))
    if not 2 <= folds <= count // 2:
        raise ValueError(f"folds: expected at least 2, with two wirings each, got {folds} for {count} wirings; give another number")
    if np.ptp(values) == 0:
        raise ValueError(f"values: expected some that differ, got {values[0]:g} for all; there is nothing to predict")
    rows = []
    weights, importance = np.zeros(measures.shape[1]), np.zeros(measures.shape[1])
    with Progress("fitting models", folds * repeats, quiet=quiet) as progress:
        for repeat in range(repeats):
            predicted = {name: np.empty(len(values)) for name in ("family", "ridge", "forest", "mean")}
            for fold, (train, test) in enumerate(grouped_splits(wirings, families, folds, np.random.default_rng([seed, repeat]))):
                generator = np.random.default_rng([seed, repeat, fold])
                predicted["mean"][test] = values[train].mean()
                means = pd.Series(values[train]).groupby(families[train]).mean()
                predicted["family"][test] = means.reindex(families[test]).fillna(values[train].mean())
                inner_folds = min(_INNER_FOLDS, len(np.unique(wirings[train])))
                inner = list(grouped_splits(wirings[train], families[train], inner_folds, generator))
                ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, cv=inner, scoring=_score))
                predicted["ridge"][test] = ridge.fit(measures[train], values[train]).predict(measures[test])
                weights += ridge[-1].coef_ / (folds * repeats)
                trees = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=1 / 3, random_state=int(generator.integers(2**31)))
                forest = make_pipeline(StandardScaler(), trees)
                predicted["forest"][test] = forest.fit(measures[train], values[train]).predict(measures[test])
                growth = _growth(forest, measures[test], values[test], predicted["forest"][test], generator)
                importance += growth / (len(values) * repeats)
                progress.advance()
            mean = predicted.pop("mean")
            for name, found in predicted.items():
                q2 = 1 - np.sum((values - found) ** 2) / np.sum((values - mean) ** 2)
                rank = math.nan if np.ptp(found) == 0 else stats.spearmanr(found, values).statistic
                rows.append((name, q2, rank, np.abs(values - found).mean()))
    scores = pd.DataFrame(rows, columns=["model", "q2", "rank", "error"]).groupby("model", sort=False)
    models = scores.mean().assign(q2_sd=scores["q2"].std(ddof=0))[["q2", "q2_sd", "rank", "error"]]
    return ModelScores(models.reset_index(), weights, importance / float(values.var()))


def grouped_splits(wirings: Ints, families: Ints, folds: int, generator: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
    """Rows to fit to and rows to predict, fold by fold: no wiring is in both, and every family is spread evenly over the folds."""
    unique, first, row = np.unique(wirings, return_index=True, return_inverse=True)
    shuffled = generator.permutation(len(unique))
    shuffled = shuffled[np.argsort(families[first][shuffled], kind="stable")]
    fold_of = np.empty(len(unique), dtype=np.int64)
    fold_of[shuffled] = np.arange(len(unique)) % folds
    for fold in range(folds):
        yield np.flatnonzero(fold_of[row] != fold), np.flatnonzero(fold_of[row] == fold)


def _score(model: RidgeCV, measures: Values, values: Values) -> float:
    return -float(((model.predict(measures) - values) ** 2).sum())


def _growth(forest: Pipeline, measures: Values, values: Values, predicted: Values, generator: np.random.Generator) -> Values:
    """Increase of the sum of squared errors when each measure is shuffled, mean of ``_SHUFFLES``; ``(m,)``."""
    rows, columns = measures.shape
    # All shuffles in one call: scikit-learn's permutation_importance calls the forest for each, which takes longer than predicting.
    copies = np.broadcast_to(measures, (columns, _SHUFFLES, rows, columns)).copy()
    for column in range(columns):
        for shuffle in range(_SHUFFLES):
            copies[column, shuffle, :, column] = generator.permutation(measures[:, column])
    off = (forest.predict(copies.reshape(-1, columns)).reshape(columns, _SHUFFLES, rows) - values) ** 2
    return np.asarray(off.sum(axis=2).mean(axis=1) - ((predicted - values) ** 2).sum(), dtype=np.float64)
