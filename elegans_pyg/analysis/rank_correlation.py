"""Rank correlations of many measures with one value: permutation tests, intervals, power."""

import math
from collections.abc import Sequence
from itertools import chain, count, permutations, product
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from elegans_pyg.analysis.inference import EXACT_SPLITS, TIE, Values, blocks
from elegans_pyg.analysis.simple_graph import Ints

_BLOCK = 2_000_000


class RankTest(NamedTuple):
    """Result of :func:`rank_correlations`: correlation, p value and smallest attainable p value per column, and how p was computed."""

    rho: Values
    p: Values
    smallest: Values
    exact: bool
    orders: int


def rank_correlations(
    columns: Values, values: Values, groups: Ints | None = None, *, resamples: int = 10_000, seed: int | Sequence[int] = 0
) -> RankTest:
    r"""Spearman's rank correlation of each column with ``values``, and its two-sided permutation p value.

    Without groups: Spearman (1904), "The Proof and Measurement of Association between Two Things", doi:10.2307/1412159; ties get their
    mean rank. With groups, the correlation is *within* groups: both are ranked within each group of :math:`n_g`, the ranks divided by
    :math:`n_g + 1` (van Elteren's weights, Lehmann 1975, "Nonparametrics", section 3.3) and centred, so that differences between groups do
    not contribute to

    .. math:: \rho = \frac{\sum_g \sum_{i \in g} x_i y_i}{\sqrt{\sum x_i^2 \sum y_i^2}}

    The p value is the share of the reorderings of ``values`` (within groups, if there are any) whose :math:`|\rho|` is at least the
    observed one. Up to 200,000 reorderings are all enumerated; beyond that, ``resamples`` random ones give :math:`(b+1)/(B+1)` (Phipson &
    Smyth 2010, doi:10.2202/1544-6115.1585). The reorderings are the same for all columns.

    For ``columns (n, m)``, ``rho``, ``p`` and ``smallest`` are ``(m,)``; ``nan`` if a column (or ``values``) is constant in every group.
    Groups of one are ignored. Raises ``ValueError`` if the lengths differ, or a number is not finite.
    """
    if columns.ndim != 2 or len(columns) != len(values) or (groups is not None and len(groups) != len(values)):
        raise ValueError(f"columns: expected one row for each of the {len(values)} values, got shape {columns.shape}; give one per value")
    if not (np.isfinite(columns).all() and np.isfinite(values).all()):
        raise ValueError("columns: expected finite numbers, got some that are not; leave out those rows or columns")
    _, group = np.unique(np.zeros(len(values)) if groups is None else groups, return_inverse=True)
    strata = [rows for number in range(int(group.max(initial=-1)) + 1) if len(rows := np.flatnonzero(group == number)) > 1]
    sizes = [len(stratum) for stratum in strata]
    both = np.column_stack([columns, values])
    ranks = np.concatenate([np.empty((0, both.shape[1])), *(_centred_ranks(both[rows]) for rows in strata)])
    ranked, target = ranks[:, :-1], ranks[:, -1]
    length = np.sqrt((ranked**2).sum(axis=0) * (target**2).sum())
    varies = length > TIE
    rho, p, smallest = (np.full(columns.shape[1], math.nan) for _ in range(3))
    ranked = ranked[:, varies] / length[varies]
    rho[varies] = target @ ranked
    orders = math.prod(map(math.factorial, sizes))
    exact = orders <= EXACT_SPLITS
    if not varies.any():
        return RankTest(rho, p, smallest, exact, orders if exact else resamples)
    places = np.split(np.arange(len(target)), np.cumsum(sizes)[:-1])
    observed = np.abs(rho[varies]) - TIE
    if exact:
        found = np.abs(target[_all_orders(places, orders)] @ ranked)
        p[varies] = np.count_nonzero(found >= observed, axis=0) / orders
        smallest[varies] = np.count_nonzero(found >= found.max(axis=0) - TIE, axis=0) / orders
        return RankTest(rho, p, smallest, exact, orders)
    generator = np.random.default_rng(seed)
    reached = np.zeros(len(observed), dtype=np.int64)
    for size in blocks(resamples, _BLOCK // max(columns.shape)):
        drawn = [generator.permuted(np.broadcast_to(part, (size, len(part))), axis=1) for part in places]
        reached += np.count_nonzero(np.abs(target[np.concatenate(drawn, axis=1)] @ ranked) >= observed, axis=0)
    p[varies], smallest[varies] = (reached + 1) / (resamples + 1), 1 / (resamples + 1)
    return RankTest(rho, p, smallest, exact, resamples)


def rho_interval(rho: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Approximate interval of Spearman's correlation of ``count`` pairs; ``nan`` for fewer than 4.

    By Fisher's transform with the standard error :math:`\sqrt{(1 + \rho^2/2)/(n - 3)}` of Bonett & Wright (2000), "Sample Size
    Requirements for Estimating Pearson, Kendall and Spearman Correlations", doi:10.1007/BF02294183.
    """
    if count < 4 or math.isnan(rho):
        return math.nan, math.nan
    if abs(rho) > 1 - TIE:
        return rho, rho
    centre = math.atanh(rho)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return math.tanh(centre - half), math.tanh(centre + half)


def pairs_needed(rho: float, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    r"""Pairs with which a two-sided test of level ``alpha`` finds a rank correlation ``rho`` with probability ``power``.

    :math:`n = 3 + (1 + \rho^2/2)\,\big((z_{1-\alpha/2} + z_{power}) / \mathrm{artanh}\,\rho\big)^2`, from the standard error in
    :func:`rho_interval`, and never fewer than a permutation test needs to reach ``alpha`` at all (5 for 0.05: :math:`2/5! < 0.05`).
    ``None`` for no correlation.
    """
    if math.isnan(rho) or abs(rho) < 1e-6:
        return None
    return max(fewest_pairs(alpha), math.ceil(_pairs(rho, power, alpha)) if abs(rho) <= 1 - TIE else 0)


def smallest_rho(count: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest correlation that ``count`` pairs find with probability ``power``, by the formula of :func:`pairs_needed`; ``nan`` for fewer
    than a permutation test needs to reach ``alpha``."""
    if count < max(4, fewest_pairs(alpha)):
        return math.nan
    return float(optimize.brentq(lambda rho: _pairs(rho, power, alpha) - count, 1e-6, 1 - 1e-12))


def _pairs(rho: float, power: float, alpha: float) -> float:
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return 3 + (1 + rho**2 / 2) * (z / math.atanh(rho)) ** 2


def fewest_pairs(alpha: float) -> int:
    """Fewest pairs, without ties, with which the exact two-sided permutation test of a rank correlation can reach ``alpha``."""
    return next(pairs for pairs in count(2) if 2 / math.factorial(pairs) <= alpha)


def _centred_ranks(columns: Values) -> Values:
    return np.asarray(stats.rankdata(columns, axis=0) - (len(columns) + 1) / 2, dtype=np.float64) / (len(columns) + 1)


def _all_orders(places: list[Ints], orders: int) -> Ints:
    """Every order of rows that moves them within their groups only; ``(orders, n)``."""
    rows = sum(map(len, places))
    every = chain.from_iterable(chain.from_iterable(parts) for parts in product(*(list(permutations(part.tolist())) for part in places)))
    return np.fromiter(every, dtype=np.int64, count=orders * rows).reshape(orders, rows)
