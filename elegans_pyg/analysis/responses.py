"""How well predicted responses agree with measured ones, and how well they could, given how well repeated measurements agree."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from elegans_pyg.analysis.inference import Values

Mask = npt.NDArray[np.bool_]
SCORES = ("auc", "ap", "r", "r_significant")
FEWEST = 3
"""Number of pairs that respond, and of pairs that do not, that a score needs at least."""


def ranking_scores(score: Values, responds: Mask) -> tuple[Values, Values]:
    r"""Area under the receiver operating characteristic, and average precision, of each row of scores.

    .. math::
        \mathrm{AUC} = \frac{1}{n_1 n_0} \sum_{i, j} [s_i > s_j] + \tfrac12 [s_i = s_j], \qquad
        \mathrm{AP} = \frac{1}{n_1} \sum_i \frac{\#\{k \text{ responds} : s_k \ge s_i\}}{\#\{k : s_k \ge s_i\}}

    with sums over the :math:`n_1` pairs :math:`i` that respond and the :math:`n_0` pairs :math:`j` that do not; ties count as they do in
    scikit-learn's ``roc_auc_score`` and ``average_precision_score``.

    Args:
        score: ``(V, P)``.
        responds: ``(P,)``.

    Returns:
        two arrays ``(V,)``, NaN if fewer than three pairs respond, or fewer than three do not.
    """
    positives = int(responds.sum())
    if min(positives, len(responds) - positives) < FEWEST:
        return np.full(len(score), math.nan), np.full(len(score), math.nan)
    every, own = np.sort(score, axis=1), np.sort(score[:, responds], axis=1)
    found = []
    for ordered, mine in zip(every, own, strict=True):
        below, upto = np.searchsorted(ordered, mine), np.searchsorted(ordered, mine, side="right")
        first = np.searchsorted(mine, mine)
        wins = (below + upto).sum() / 2 - positives**2 / 2
        precision = (positives - first) / (len(ordered) - below)
        found.append((wins / (positives * (len(ordered) - positives)), precision.mean()))
    areas, precisions = np.array(found).T
    return areas, precisions


def correlations(predicted: Values, measured: Values) -> Values:
    """Pearson's r of each row of predictions ``(V, P)`` with the measurements ``(P,)``; NaN for fewer than three pairs, or a constant
    row."""
    if len(measured) < FEWEST:
        return np.full(len(predicted), math.nan)
    one, other = predicted - predicted.mean(axis=1, keepdims=True), measured - measured.mean()
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum())
    return np.divide(one @ other, size, out=np.full(len(predicted), math.nan), where=size > 1e-12)


def response_scores(score: Values, amplitude: Values, responds: Mask, measured: Values, steps: Values, most: int = 3) -> pd.DataFrame:
    """Score each row of predictions.

    Args:
        score: ``(V, P)``, larger if a response is more likely.
        amplitude: ``(V, P)``, the predicted response.
        responds, measured: ``(P,)``, whether the pair responds, and the measured response.
        steps: ``(P,)``, number of synapses on the shortest path.
        most: largest number of steps that has an AUC of its own.

    Returns:
        one row per prediction: ``auc``, ``ap``, ``r`` (over all pairs), ``r_significant`` (over those that respond), and ``auc_1`` to
        ``auc_<most>`` (over pairs that many steps apart).
    """
    area, precision = ranking_scores(score, responds)
    table = {"auc": area, "ap": precision, "r": correlations(amplitude, measured)}
    table["r_significant"] = correlations(amplitude[:, responds], measured[responds])
    for number in range(1, most + 1):
        here = steps == number
        table[f"auc_{number}"] = ranking_scores(score[:, here], responds[here])[0]
    return pd.DataFrame(table)


def noise_ceilings(responds: Mask, measured: Values, halves: tuple[Values, Values], other: Values) -> pd.DataFrame:
    r"""Ceilings of the scores: how well the measurements predict themselves.

    The correlation :math:`r_{12}` between the means of two halves of the trials gives the reliability of the mean of all trials,
    :math:`2 r_{12} / (1 + r_{12})` (Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910,
    doi:10.1111/j.2044-8295.1910.tb00207.x); the correlation of an error-free prediction with that mean is the root of it.

    Args:
        responds: ``(P,)``.
        measured: ``(P,)``, mean over all trials.
        halves: the means over two halves of the trials ``(P,)``, NaN for pairs seen once.
        other: ``(P,)``, measured in other animals, for example of another strain; NaN for pairs not tested there.

    Returns:
        one row for each of ``by`` (``"halves"``, ``"half"``, ``"other"``), with ``pairs`` and :data:`SCORES`. ``halves`` has the highest r
        of an error-free prediction, and no AUC, because only all trials together say whether a pair responds. ``half`` takes the amplitude
        in one half of the trials as the prediction, which is part of what it predicts, so its scores are too high. ``other`` takes that of
        the other animals, which is independent but differs: a lower bound.
    """
    one, two = halves
    both = np.isfinite(one) & np.isfinite(two)
    rows = []
    agree = [float(correlations(one[None, kept], two[kept])[0]) for kept in (both, both & responds)]
    highest = [math.sqrt(max(2 * r / (1 + r), 0.0)) if r > -1 else math.nan for r in agree]
    rows.append({"by": "halves", "pairs": int(both.sum()), "auc": math.nan, "ap": math.nan, "r": highest[0], "r_significant": highest[1]})
    for name, predicted in (("half", one), ("other", other)):
        kept = np.isfinite(predicted)
        own, none = predicted[None, kept], np.zeros(int(kept.sum()))
        table = response_scores(np.abs(own), own, responds[kept], measured[kept], none, most=0)
        rows.append({"by": name, "pairs": int(kept.sum()), **table.iloc[0].to_dict()})
    return pd.DataFrame(rows)


def effects_by_fold(folds: pd.DataFrame, value: str, reference: str = "connectome", confidence: float = 0.95) -> pd.DataFrame:
    r"""How far the reference is above the wirings of each family, in their standard deviations, with an interval over folds.

    In every fold :math:`d_f = (x_f - \bar y_f) / s`, with :math:`s` the standard deviation of the wirings' means over the folds, so that
    the mean of the :math:`d_f` is the effect of the means; the interval is Student's. Folds share training data, so it tends to be too
    narrow if something was fitted.

    Args:
        folds: one row per wiring and fold: ``family``, ``wiring_seed``, ``fold`` and the value; folds without a value are left out.
        value, reference: the column of values, and the family that is compared with the others.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        one row per family: ``family``, ``folds``, ``fold_low``, ``fold_high``.
    """
    real = folds[folds["family"] == reference].set_index("fold")[value]
    rows = []
    for family, own in folds[folds["family"] != reference].groupby("family", sort=False):
        spread = own.groupby("wiring_seed")[value].mean().std(ddof=1)
        effect = ((real - own.groupby("fold")[value].mean()) / spread).dropna().to_numpy(dtype=np.float64)
        low = high = math.nan
        if len(effect) > 1:
            error = effect.std(ddof=1) / math.sqrt(len(effect))
            low, high = (float(end) for end in stats.t.interval(confidence, len(effect) - 1, effect.mean(), error))
        rows.append({"family": family, "folds": len(effect), "fold_low": low, "fold_high": high})
    return pd.DataFrame(rows)
