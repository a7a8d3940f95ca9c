"""Numbers of units that comparisons need: to find a difference, to show that none exceeds a margin, and in nested designs."""

import math
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import pandas as pd
from scipy import stats

from elegans_pyg.analysis.inference import TIE

ALPHA, POWER = 0.05, 0.8
MOST = 10**9
"""Largest number of units that is considered."""
_NODES = (np.arange(1000) + 0.5) / 1000


def difference_power(difference: float, error: float, freedom: float, alpha: float = ALPHA) -> float:
    r"""Power of the two-sided t test, :math:`P(|T| > t_{1-\alpha/2, \nu})`.

    :math:`T` is noncentral t with :math:`\nu` degrees of ``freedom`` and noncentrality ``difference`` / ``error``, the standard error
    (Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", doi:10.4324/9780203771587, chapter 2).
    """
    shift, critical = abs(difference) / error, float(stats.t.ppf(1 - alpha / 2, freedom))
    if shift > 30 + critical:  # where it is 1, and SciPy's noncentral t is not accurate
        return 1.0
    return float(stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift))


def equivalence_power(difference: float, margin: float, error: float, freedom: float, alpha: float = ALPHA) -> float:
    r"""Power of the two one-sided t tests to show that a true ``difference`` :math:`\delta` lies within the ``margin`` :math:`\Delta`:

    .. math:: E_s \max\Big(0,\ \Phi\frac{\Delta - t\,s - \delta}{e} - \Phi\frac{-\Delta + t\,s - \delta}{e}\Big), \qquad
        t = t_{1-\alpha, \nu}, \quad \nu s^2 / e^2 \sim \chi^2_\nu

    with the standard error :math:`e` and its estimate :math:`s`; from "Power of the Two One-Sided Tests Procedure in Bioequivalence"
    (Phillips 1990, doi:10.1007/BF01063556).
    """
    estimate = error * np.sqrt(stats.chi2.ppf(_NODES, freedom) / freedom)
    room = margin - float(stats.t.ppf(1 - alpha, freedom)) * estimate
    return float(np.mean(np.maximum(stats.norm.cdf((room - difference) / error) - stats.norm.cdf((-room - difference) / error), 0)))


def welch(variances: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    r"""Standard error of a difference of two means (or of one mean), and its degrees of freedom, for arms of different ``variances``:

    .. math:: s^2 = \sum_i v_i / n_i, \qquad \nu = s^4 \Big/ \sum_i \frac{(v_i / n_i)^2}{n_i - 1}

    from "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved" (Welch 1947,
    doi:10.1093/biomet/34.1-2.28). 0 and infinity for constant arms.
    """
    parts = [variance / size for variance, size in zip(variances, sizes, strict=True)]
    if not any(parts):
        return 0.0, math.inf
    return math.sqrt(sum(parts)), sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))


def contrast_power(difference: float, variances: Sequence[float], sizes: Sequence[int], margin: float | None, alpha: float) -> float:
    """Power to find a ``difference`` between two arms (or within pairs: one), or with a ``margin``, to show that it lies within."""
    error, freedom = welch(variances, sizes)
    if margin is None:
        return difference_power(difference, error, freedom, alpha)
    return equivalence_power(difference, margin, error, freedom, alpha)


def out_of_reach(difference: float, margin: float | None) -> bool:
    """Whether no number of units is enough: there is no ``difference`` to find, or it does not lie within the ``margin``."""
    return abs(difference) <= TIE if margin is None else abs(difference) >= margin - TIE


def runs_needed(
    difference: float, sd: float, *, margin: float | None = None, power: float = POWER, alpha: float = ALPHA, paired: bool = False
) -> int | None:
    r"""Fewest units per arm, or pairs, that decide with probability ``power`` at level ``alpha``.

    Without a ``margin``: to detect ``difference`` in a two-sided t test, and never fewer than an exact permutation test needs to reach
    ``alpha`` at all (4 per arm for 0.05, since 3 against 3 have only 20 splits; 6 pairs). With a margin: to show that a true ``difference``
    lies within it, by two one-sided tests. ``sd`` is the standard deviation within an arm, or of the differences within pairs. ``None`` if
    the number does not exist (no difference, or one that is not within the margin), is above 10⁹, or is unknown (``sd`` is 0 or ``nan``).
    """
    if not sd > 0 or out_of_reach(difference, margin):
        return None
    arms, least = 1 if paired else 2, smallest_testable(alpha, paired) if margin is None else 2
    return fewest_units(lambda units: contrast_power(difference, [sd**2] * arms, [units] * arms, margin, alpha), power, least)


def smallest_testable(alpha: float, paired: bool = False) -> int:
    """Fewest runs per arm, or pairs, with which the exact two-sided permutation test of equal arms, or of pairs, can reach ``alpha``."""
    return next(runs for runs in count(2) if 2 / (2**runs if paired else math.comb(2 * runs, runs)) <= alpha)


def nested_designs(
    difference: float,
    between: float,
    within: float,
    *,
    seeds: Sequence[int] = (1, 2, 4, 8),
    single: bool = False,
    margin: float | None = None,
    power: float = POWER,
    alpha: float = ALPHA,
) -> pd.DataFrame:
    r"""Number of wirings needed with a given number of seeds each, for given variances ``between`` wirings and ``within`` them.

    A wiring's mean over :math:`k` seeds has the variance :math:`\sigma_b^2 + \sigma_w^2 / k`, so that :math:`W` wirings are worth
    :math:`Wk / (1 + (k - 1)\rho)` independent runs, with the intraclass correlation :math:`\rho` ("Randomization by Cluster: Sample Size
    Requirements and Analysis", Donner, Birkett & Buck 1981, doi:10.1093/oxfordjournals.aje.a113261). The test is Welch's on these means.

    Args:
        difference: true difference of the two families' means.
        between, within: variances, such as those of :func:`~elegans_pyg.analysis.variance_components.variance_components`.
        seeds: numbers of seeds per wiring, one row each.
        single: whether the reference is one wiring with as many runs as the family has, instead of a family with as many wirings.
        margin: show that the difference lies within it, instead of finding the difference.
        power, alpha: of the test, two-sided, or of each of two one-sided ones.

    Returns:
        one row per number of ``seeds``: ``wirings`` (fewest, per family), ``runs`` (of the family, ``wirings * seeds``), ``power``.

    Raises:
        ValueError: if no number of wirings is enough (no difference to find, or one that is not within the margin), or no variance.
    """
    if not between + within > 0 or min(between, within) < 0:
        raise ValueError(f"between, within: expected variances, not both 0, got {between:g} and {within:g}; take those of a pilot study")
    rows = []
    for repeats in seeds:
        family = between + within / repeats
        variances, each = ([family, within], repeats) if single else ([family, family], 1)

        def power_with(wirings: int, variances: list[float] = variances, each: int = each) -> float:
            return contrast_power(difference, variances, [wirings, wirings * each], margin, alpha)

        wirings = None if out_of_reach(difference, margin) else fewest_units(power_with, power, 2)
        if wirings is None:
            goal = "other than 0" if margin is None else f"smaller than the margin of {margin:g}"
            raise ValueError(f"difference: expected one {goal}, got {difference:g}; no number of wirings is enough for that")
        rows.append({"seeds": repeats, "wirings": wirings, "runs": wirings * repeats, "power": power_with(wirings)})
    return pd.DataFrame(rows)


def fewest_units(power_with: Callable[[int], float], power: float, least: int) -> int | None:
    """The fewest units, at least ``least``, with which the power, an increasing function of them, reaches ``power``; ``None`` if 10⁹ do
    not."""
    most = least
    while power_with(most) < power:
        if most >= MOST:
            return None
        least, most = most + 1, min(2 * most, MOST)
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if power_with(middle) >= power else (middle + 1, most)
    return most
