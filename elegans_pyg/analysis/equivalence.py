"""Equivalence within a margin: two one-sided tests."""

import math
from typing import NamedTuple

from scipy import stats

from elegans_pyg.analysis.inference import Values
from elegans_pyg.analysis.power import ALPHA, welch


class Equivalence(NamedTuple):
    """Result of :func:`equivalence_test`: the difference of means, the ends of its interval with coverage 1 - 2 alpha (which lies within
    the margin exactly if ``p`` is below alpha), the p value (the larger of the two tests'), the standard error and its degrees of
    freedom."""

    difference: float
    low: float
    high: float
    p: float
    error: float
    freedom: float


def equivalence_test(sample: Values, other: Values | None = None, *, margin: float, alpha: float = ALPHA) -> Equivalence:
    r"""Test by two one-sided t tests whether a difference of means lies within a margin.

    From Schuirmann (1987), "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing the Equivalence of
    Average Bioavailability", doi:10.1007/BF01068419:

    .. math:: p = \max\Big(P\big(T_\nu > \tfrac{d + \Delta}{s}\big),\ P\big(T_\nu < \tfrac{d - \Delta}{s}\big)\Big)

    The null hypothesis is that the means differ by the margin :math:`\Delta` or more, so a small p says that they do not. With ``other``,
    the arms are independent, and :math:`s` and :math:`\nu` are Welch's (:func:`~elegans_pyg.analysis.power.welch`): their variances may
    differ. Without it, ``sample`` holds the differences within pairs.

    Args:
        sample: values of one arm, or differences within pairs; at least two.
        other: values of the other arm, at least two; ``None`` for pairs.
        margin: largest difference that would not matter, in the unit of the values, above 0. It is meaningful only if it was fixed before
            the values were seen.
        alpha: level of each of the two tests.

    Raises:
        ValueError: for fewer than two values in an arm, or a margin that is not above 0.
    """
    samples = [sample] if other is None else [sample, other]
    if min(map(len, samples)) < 2:
        raise ValueError(f"sample, other: expected at least two values each, got {', '.join(map(str, map(len, samples)))}; run more")
    check_margin(margin)
    difference = float(sample.mean() - (0 if other is None else other.mean()))
    error, freedom = welch([float(values.var(ddof=1)) for values in samples], [len(values) for values in samples])
    if error == 0:  # constant arms: there is nothing left to estimate
        return Equivalence(difference, difference, difference, float(abs(difference) >= margin), error, freedom)
    p = max(stats.t.sf((difference + margin) / error, freedom), stats.t.cdf((difference - margin) / error, freedom))
    half = float(stats.t.ppf(1 - alpha, freedom)) * error
    return Equivalence(difference, difference - half, difference + half, float(p), error, freedom)


def check_margin(margin: float) -> None:
    """Refuse a margin that is not above 0."""
    if not 0 < margin < math.inf:
        raise ValueError(f"margin: expected a difference above 0, got {margin:g}; give the smallest difference that would matter")
