"""Small-sample statistics on accuracies: intervals, permutation tests, corrections, effect sizes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]

EXACT_SPLITS = 200_000
"""A permutation test enumerates all splits up to this many (10 runs against 10 have 184,756)."""

TIE = 1e-12
"""Differences of means closer than this count as equal: accuracies are counts over a test set, so real differences are far larger, while
sums of the same shares in another order differ in the last bits and would otherwise break ties at random."""


class Permutation(NamedTuple):
    """Result of a permutation test: the p value, the smallest one that these values allow, and whether all splits (or signs) were
    enumerated."""

    p: float
    smallest: float
    exact: bool


def bootstrap_interval(
    sample: Values, other: Values | None = None, *, confidence: float = 0.95, resamples: int = 10_000, seed: int | Sequence[int] = 0
) -> tuple[float, float]:
    r"""Bias-corrected and accelerated (BCa) bootstrap interval of a mean, or of the difference of two means.

    From Efron (1987), "Better Bootstrap Confidence Intervals", doi:10.1080/01621459.1987.10478410, by :func:`scipy.stats.bootstrap`. With
    ``other`` the interval is that of ``sample.mean() - other.mean()``. Both ends are the estimate if the values have no spread to resample,
    and ``nan`` for fewer than two values in a sample.
    """
    samples = (sample,) if other is None else (sample, other)
    if min(map(len, samples)) < 2:
        return math.nan, math.nan
    if all(np.ptp(values) < TIE for values in samples):
        estimate = float(sample.mean() if other is None else sample.mean() - other.mean())
        return estimate, estimate

    # The bias correction counts resamples below the estimate; rounding keeps it from counting those that differ in the last bits only.
    def difference(values: Values, *others: Values, axis: int) -> Values:
        return np.asarray(values.mean(axis=axis) - sum(other.mean(axis=axis) for other in others)).round(12)

    generator = np.random.default_rng(seed)
    found = stats.bootstrap(samples, difference, n_resamples=resamples, confidence_level=confidence, method="BCa", random_state=generator)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def permutation_test(sample: Values, other: Values, *, resamples: int = 10_000, seed: int | Sequence[int] = 0) -> Permutation:
    r"""Two-sided permutation test on the difference of means, in units of its standard error.

    The p value is the share of the :math:`\binom{m+n}{m}` ways to split the pooled values into arms of the observed sizes whose Welch
    statistic :math:`|\bar x - \bar y| / \sqrt{s_x^2/m + s_y^2/n}` is at least the observed one. Arms of equal size give the p value of the
    plain difference. For unequal arms, whose variances may differ, as those of one wiring's runs and of many wirings' means do, the plain
    difference would be significant too often or too rarely ("Exact and Asymptotically Robust Permutation Tests", Chung & Romano
    2013, doi:10.1214/13-AOS1090). An arm of one value has no variance; the statistic is then the plain difference.

    Up to ``EXACT_SPLITS`` splits are all enumerated. Beyond that :math:`B` = ``resamples`` random splits are drawn; if :math:`b` of them
    reach the observed value, p is :math:`(b+1)/(B+1)`, which is never 0 ("Permutation P-values Should Never Be Zero", Phipson & Smyth 2010,
    doi:10.2202/1544-6115.1585). Raises ``ValueError`` for an empty arm.
    """
    m, n = len(sample), len(other)
    if min(m, n) == 0:
        raise ValueError(f"sample and other must hold at least one value each, got {m} and {n}; leave out the empty arm")
    pooled = np.concatenate([sample, other])
    pooled = pooled - pooled.mean()
    # In units of the largest value, so that ties are recognised on any scale.
    pooled = pooled / np.abs(pooled).max() if np.ptp(pooled) > TIE else np.zeros(m + n)
    observed, splits = float(_welch(pooled[None, :m], pooled, m)[0]), math.comb(m + n, m)
    if splits <= EXACT_SPLITS:
        # The smaller arm determines the split: fewer values to gather.
        size = min(m, n)
        chosen = np.fromiter(chain.from_iterable(combinations(range(m + n), size)), dtype=np.intp, count=splits * size)
        return _exact(observed, _welch(pooled[chosen].reshape(splits, size), pooled, size))
    generator = np.random.default_rng(seed)
    shuffled = (generator.permuted(np.broadcast_to(pooled, (rows, m + n)), axis=1) for rows in blocks(resamples, 1_000_000 // (m + n)))
    return _drawn(observed, (_welch(rows[:, :m], pooled, m) for rows in shuffled))


def _welch(chosen: Values, pooled: Values, size: int) -> Values:
    """An increasing function of Welch's statistic, from 0 to 1, for each row of ``chosen`` against the rest of ``pooled``, of sum 0."""
    rest, sums, squares = len(pooled) - size, chosen.sum(axis=1), (chosen**2).sum(axis=1)
    total = float(pooled @ pooled)
    gap = (sums * (1 / size + 1 / rest)) ** 2
    if min(size, rest) == 1:
        error: Values = np.full(len(chosen), total)
    else:
        inside, outside = squares - sums**2 / size, total - squares - sums**2 / rest
        error = np.maximum(inside, 0) / (size * (size - 1)) + np.maximum(outside, 0) / (rest * (rest - 1))
    return np.divide(gap, gap + error, out=np.zeros(len(chosen)), where=gap + error > 0)


def sign_flip_test(differences: Values, *, resamples: int = 10_000, seed: int | Sequence[int] = 0) -> Permutation:
    r"""Two-sided permutation test on the mean of differences within pairs (Fisher 1935, "The Design of Experiments", section 21).

    If the two members of a pair are exchangeable, each difference could as well have the other sign. The p value is the share of the
    :math:`2^n` choices of signs whose absolute mean is at least the observed one. Up to ``EXACT_SPLITS`` choices are all enumerated; beyond
    that, random ones are drawn and counted as in :func:`permutation_test`. Raises ``ValueError`` if there is no pair.
    """
    pairs = len(differences)
    if pairs == 0:
        raise ValueError("differences must hold at least one value, got none; leave out the empty arm")
    # In thousandths of the largest, so that ties are recognised on any scale: small differences of shares have lost digits.
    differences = differences / (1000 * np.abs(differences).max() or 1.0)
    observed, splits = abs(float(differences.mean())), 2**pairs
    if splits <= EXACT_SPLITS:
        signs = 1 - 2 * (np.arange(splits)[:, None] >> np.arange(pairs) & 1)
        return _exact(observed, np.abs(signs @ differences) / pairs)
    generator = np.random.default_rng(seed)
    drawn = (generator.choice([-1.0, 1.0], (rows, pairs)) for rows in blocks(resamples, 1_000_000 // pairs))
    return _drawn(observed, (np.abs(signs @ differences) / pairs for signs in drawn))


def blocks(total: int, most: int) -> Iterator[int]:
    """Sizes that add up to ``total``, each at most ``most`` (and at least 1)."""
    size = max(1, most)
    return (min(size, total - start) for start in range(0, total, size))


def _exact(observed: float, found: Values) -> Permutation:
    """The result if ``found`` has the value of every split."""
    return Permutation(float(np.mean(found >= observed - TIE)), float(np.mean(found >= found.max() - TIE)), True)


def _drawn(observed: float, parts: Iterable[Values]) -> Permutation:
    """The result if ``parts`` have the values of random splits."""
    found = np.concatenate(list(parts))
    reached = int(np.count_nonzero(found >= observed - TIE))
    return Permutation((reached + 1) / (len(found) + 1), 1 / (len(found) + 1), False)


def holm(p_values: Values) -> Values:
    """Holm's step-down correction of p values for testing several hypotheses.

    From Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure", https://www.jstor.org/stable/4615733: the k-th smallest of
    m p values is multiplied by m - k + 1, kept monotone and at most 1. ``nan`` marks a hypothesis that was not tested: it stays ``nan`` and
    does not count.
    """
    adjusted = np.full(len(p_values), math.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted


def cliffs_delta(sample: Values, other: Values) -> float:
    r"""Cliff's delta, :math:`P(X > Y) - P(X < Y)`: from -1 (every value of ``sample`` is below every value of ``other``) to 1.

    From Cliff (1993), "Dominance Statistics", doi:10.1037/0033-2909.114.3.494. ``nan`` if an arm is empty.
    """
    if not (len(sample) and len(other)):
        return math.nan
    gaps = sample[:, None] - other[None, :]
    return float(np.mean(gaps > TIE) - np.mean(gaps < -TIE))
