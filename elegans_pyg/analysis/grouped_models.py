"""Simple models of a value, judged on wirings that they have not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from elegans_pyg.analysis.inference import Values

Numbers = npt.NDArray[np.int64]
Splits = Iterator[tuple[Numbers, Numbers]]

TREES = 100
PENALTIES = tuple(float(penalty) for penalty in 10.0 ** np.arange(-1, 5.5, 0.5))
_INNER_FOLDS = 5
_SHUFFLES = 3


@dataclass(frozen=True)
class ModelScores:
    """What :func:`cross_validate` finds; every number is a mean over the repeats of the cross-validation.

    Attributes:
        q2: by model, the share of the value's variance that is predicted on unseen wirings.
        q2_sd: its standard deviation over the repeats.
        rank: by model, Spearman's correlation of predicted and true values; ``nan`` where the predictions are all the same.
        error: by model, the mean absolute error, in the unit of the values.
        weights: ridge's coefficient of each measure, for one standard deviation of it, in the unit of the values; ``(m,)``.
        importance: how much the forest's squared error on unseen wirings grows when a measure is shuffled among them, as a share of the
            variance; ``(m,)``.
    """

    q2: dict[str, float]
    q2_sd: dict[str, float]
    rank: dict[str, float]
    error: dict[str, float]
    weights: Values
    importance: Values


def cross_validate(
    measures: Values,
    values: Values,
    wirings: Numbers,
    families: Numbers,
    *,
    folds: int = 5,
    repeats: int = 5,
    seed: int = 0,
    step: Callable[[], None] | None = None,
) -> ModelScores:
    r"""Predict values from measures with a ridge regression and a random forest, and from the family alone.

    All runs of one wiring are in one fold, so that no model is tried on a wiring that it was fitted to; each fold has its share of every
    family. The score is

    .. math:: Q^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y_i)^2}

    where :math:`\hat y_i` and :math:`\bar y_i`, the mean, come from the other folds: at or below 0, the model predicts no better than the
    mean. ``family`` predicts the mean of the variant's family: what ridge and forest have to beat for the measures to say more than which
    family a wiring is from. Ridge (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634) has standardised measures, and its penalty
    chosen inside the other folds, grouped in the same way; the forest (Breiman 2001, doi:10.1023/A:1010933404324) has 100 trees.

    Args:
        measures: ``(n, m)``, one row a run.
        values: ``(n,)``.
        wirings: number of each run's wiring, ``(n,)``.
        families: number of each run's family, ``(n,)``.
        folds: number of folds; at most half the number of wirings.
        repeats: of the cross-validation, over other folds.
        seed: of the folds and the forest.
        step: called after every fold.

    Raises:
        ValueError: if there are fewer than two wirings a fold, fewer than 2 folds, or values without spread.
    """
    count = len(np.unique(wirings))
    if not 2 <= folds <= count // 2:
        raise ValueError(f"folds: expected at least 2, with two wirings each, got {folds} for {count} wirings; give another number")
    if np.ptp(values) == 0:
        raise ValueError(f"values: expected some that differ, got {values[0]:g} for all; there is nothing to predict")
    names = ("family", "ridge", "forest")
    q2: dict[str, list[float]] = {name: [] for name in names}
    rank: dict[str, list[float]] = {name: [] for name in names}
    error: dict[str, list[float]] = {name: [] for name in names}
    weights, importance = np.zeros(measures.shape[1]), np.zeros(measures.shape[1])
    for repeat in range(repeats):
        predicted = {name: np.empty(len(values)) for name in (*names, "mean")}
        for fold, (train, test) in enumerate(grouped_splits(wirings, families, folds, np.random.default_rng([seed, repeat]))):
            mean = values[train].mean()
            predicted["mean"][test] = mean
            predicted["family"][test] = [
                values[train][families[train] == family].mean() if (families[train] == family).any() else mean for family in families[test]
            ]
            centre, scale = measures[train].mean(axis=0), measures[train].std(axis=0)
            scale[scale == 0] = 1
            fitted, unseen = (measures[train] - centre) / scale, (measures[test] - centre) / scale
            generator = np.random.default_rng([seed, repeat, fold])
            penalty = _best_penalty(fitted, values[train], grouped_splits(wirings[train], families[train], _INNER_FOLDS, generator))
            slopes = _ridge(fitted, values[train], (penalty,))[0]
            predicted["ridge"][test] = mean + unseen @ slopes
            weights += slopes / (folds * repeats)
            forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=1 / 3, random_state=int(generator.integers(2**31)))
            forest.fit(fitted, values[train])
            predicted["forest"][test] = forest.predict(unseen)
            importance += _growth(forest, unseen, values[test], predicted["forest"][test], generator) / (len(values) * repeats)
            if step is not None:
                step()
        total = float(np.sum((values - predicted["mean"]) ** 2))
        for name in names:
            q2[name].append(1 - float(np.sum((values - predicted[name]) ** 2)) / total)
            error[name].append(float(np.abs(values - predicted[name]).mean()))
            flat = np.ptp(predicted[name]) == 0
            rank[name].append(math.nan if flat else float(stats.spearmanr(predicted[name], values).statistic))
    return ModelScores(
        {name: float(np.mean(q2[name])) for name in names},
        {name: float(np.std(q2[name])) for name in names},
        {name: float(np.mean(rank[name])) for name in names},
        {name: float(np.mean(error[name])) for name in names},
        weights,
        importance / float(values.var()),
    )


def grouped_splits(wirings: Numbers, families: Numbers, folds: int, generator: np.random.Generator) -> Splits:
    """Rows to fit to and rows to predict, fold by fold: no wiring is in both, and every family is spread evenly over the folds."""
    unique, first, row = np.unique(wirings, return_index=True, return_inverse=True)
    shuffled = generator.permutation(len(unique))
    shuffled = shuffled[np.argsort(families[first][shuffled], kind="stable")]
    fold_of = np.empty(len(unique), dtype=np.int64)
    fold_of[shuffled] = np.arange(len(unique)) % folds
    for fold in range(folds):
        yield np.flatnonzero(fold_of[row] != fold), np.flatnonzero(fold_of[row] == fold)


def _ridge(measures: Values, values: Values, penalties: Sequence[float]) -> Values:
    r"""Coefficients :math:`(X^\top X + \lambda I)^{-1} X^\top (y - \bar y)` of centred measures, for each penalty: ``(penalties, m)``."""
    left, singular, right = np.linalg.svd(measures, full_matrices=False)
    shrunk = singular / (singular**2 + np.asarray(penalties)[:, None])
    return np.asarray((shrunk * (left.T @ (values - values.mean()))) @ right, dtype=np.float64)


def _best_penalty(measures: Values, values: Values, splits: Splits) -> float:
    loss = np.zeros(len(PENALTIES))
    for train, test in splits:
        centre = measures[train].mean(axis=0)
        slopes = _ridge(measures[train] - centre, values[train], PENALTIES)
        predicted = values[train].mean() + (measures[test] - centre) @ slopes.T
        loss += ((values[test][:, None] - predicted) ** 2).sum(axis=0)
    return PENALTIES[int(loss.argmin())]


def _growth(forest: RandomForestRegressor, measures: Values, values: Values, predicted: Values, generator: np.random.Generator) -> Values:
    """How much each measure's shuffling adds to the sum of squared errors, mean of ``_SHUFFLES``."""
    rows, columns = measures.shape
    # All shufflings at once: a forest takes longer to be called than to predict.
    copies = np.broadcast_to(measures, (columns, _SHUFFLES, rows, columns)).copy()
    for column in range(columns):
        for shuffle in range(_SHUFFLES):
            copies[column, shuffle, :, column] = generator.permutation(measures[:, column])
    off = (forest.predict(copies.reshape(-1, columns)).reshape(columns, _SHUFFLES, rows) - values) ** 2
    return np.asarray(off.sum(axis=2).mean(axis=1) - ((predicted - values) ** 2).sum(), dtype=np.float64)
