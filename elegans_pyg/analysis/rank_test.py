"""Is the real wiring unusual among its nulls? Its rank among the wirings of a family, with an exact p value."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from elegans_pyg.analysis.arms import Arm, check_results, family_names
from elegans_pyg.analysis.inference import TIE, Values, holm
from elegans_pyg.analysis.null_model import against_null

Alternative = Literal["two-sided", "greater", "less"]


def rank_test(
    results: pd.DataFrame,
    reference: str = "connectome",
    value: str = "accuracy",
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    share: bool = True,
) -> pd.DataFrame:
    r"""Rank one wiring among the wirings of each family.

    The null hypothesis is that the reference's wiring is one more draw from the family. Then its mean over seeds and the means of the
    family's :math:`W` wirings are exchangeable, every rank is equally likely, and the p value is exact whatever their distribution
    (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585):

    .. math:: p = \frac{1 + \#\{i : |\bar y_i - m| \ge |\bar x - m|\}}{1 + W}

    with the mean :math:`m` of all :math:`W + 1`; one-sided, the count is of :math:`\bar y_i \ge \bar x` (``"greater"``) or
    :math:`\le` (``"less"``). It cannot be below :math:`1/(1 + W)`: 19 wirings are the fewest that reach 0.05.

    This is not the test of means in :func:`~elegans_pyg.analysis.compare`, which asks whether this wiring's expected value differs from the
    family's mean, as many of the family's own wirings do if wirings differ at all. This one asks whether it differs more than they do.

    Of each wiring of the family only the first runs are used, at most as many as the reference has, since a mean of fewer runs lies farther
    out by chance. If the reference has more runs than they have, its mean lies less far out, and p tends to be too large.

    Args:
        results, reference, value, share: as for :func:`~elegans_pyg.analysis.compare`; the reference has a single wiring.
        alternative: ``"greater"`` if it was written down beforehand that the reference is expected above its nulls, ``"less"`` if below.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        one row per family of several wirings: ``family``, ``wirings``, ``value`` (the reference's mean), ``mean`` and ``sd`` of the
        wirings' means, ``rank`` (1 for the highest), ``effect`` :math:`(\bar x - \bar y)/s_y` in standard deviations of the nulls, with the
        ends ``effect_low`` and ``effect_high`` of its interval, ``p``, ``p_holm`` and ``p_smallest`` (attainable). The interval assumes
        normal means: :math:`(\bar x - \bar y)/s_y` is then noncentral t up to a factor, with the variance :math:`1/W` of the nulls' mean
        (Crawford & Garthwaite 2002, doi:10.1016/S0028-3932(01)00224-X) plus that of the reference's mean over its runs.

    Raises:
        ValueError: as :func:`~elegans_pyg.analysis.compare`; a reference with several wirings, no family with two of them,
            or another ``alternative``.
        TypeError: as :func:`~elegans_pyg.analysis.compare`.
    """
    check_results(results, value, share)
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative: expected two-sided, greater or less, got {alternative!r}; choose one")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}; give a share, such as 0.95")
    arms = {name: Arm(results[results["family"] == name], value) for name in family_names("results", results, reference)}
    base = arms.pop(reference)
    if base.unit != "run" or not base.runs:
        got = f"{base.unit}s" if base.runs else "no finished run"
        raise ValueError(f"reference: expected a family with one wiring and at least one run, got {got} of {reference!r}; use compare")
    nulls = {name: arm for name, arm in arms.items() if len(arm.by_wiring) > 1 and arm.unit == "wiring"}
    if not nulls:
        raise ValueError(f"results must hold a family of at least two wirings to rank {reference!r} among, got none; add nulls")
    table = pd.DataFrame([{"family": name, **rank_among(base, arm, alternative, confidence)} for name, arm in nulls.items()])
    table.insert(table.columns.get_loc("p_smallest"), "p_holm", holm(table["p"].to_numpy(dtype=np.float64)))
    return table


def rank_among(base: Arm, arm: Arm, alternative: Alternative, confidence: float) -> dict[str, Any]:
    """The numbers of :func:`rank_test` for one family."""
    nulls = np.array([runs[: base.runs].mean() for runs in arm.by_wiring])
    value = float(base.units.mean())
    found = against_null(pd.Series({"": value}), pd.DataFrame({"": nulls})).iloc[0]
    above, below = int((nulls >= value - TIE).sum()), int((nulls <= value + TIE).sum())
    p = {"greater": (1 + above) / (1 + len(nulls)), "less": (1 + below) / (1 + len(nulls))}.get(alternative, found["p"])
    low, high = _effect_interval(float(found["z"]), base.units, nulls, confidence)
    row = {"wirings": len(nulls), "value": value, "mean": found["mean"], "sd": found["sd"], "rank": 1 + len(nulls) - below}
    # If all are equal, none is unusual.
    p = 1.0 if math.isnan(p) else float(p)
    return {**row, "effect": found["z"], "effect_low": low, "effect_high": high, "p": p, "p_smallest": 1 / (1 + len(nulls))}


def _effect_interval(effect: float, runs: Values, nulls: Values, confidence: float) -> tuple[float, float]:
    """Ends of the interval of :func:`rank_test` for an observed effect."""
    if math.isnan(effect):
        return math.nan, math.nan
    noise = float(runs.var(ddof=1)) / len(runs) / float(nulls.var(ddof=1)) if len(runs) > 1 else 0.0
    error, freedom = math.sqrt(1 / len(nulls) + noise), len(nulls) - 1
    spread = np.sqrt(stats.chi2.ppf((np.arange(300) + 0.5) / 300, freedom) / freedom)

    def below(true: float) -> float:
        """The probability of an effect up to the observed one."""
        return float(np.mean(stats.norm.cdf((effect * spread - true) / error)))

    reach = (abs(effect) + 10 * error) * float(spread[-1]) + 10 * error
    ends = [optimize.brentq(lambda true, q=level: below(true) - q, -reach, reach) for level in ((1 + confidence) / 2, (1 - confidence) / 2)]
    return float(ends[0]), float(ends[1])
