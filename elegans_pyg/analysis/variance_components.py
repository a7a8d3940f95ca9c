"""How much of the variance of runs is due to the wiring, and how much to the seed."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from elegans_pyg.analysis.inference import TIE, Values


class Components(NamedTuple):
    """Result of :func:`variance_components`: variance ``between`` groups (wirings) and ``within`` them (seeds), whether the former was
    truncated at 0, and the groups' ``means``, ``sizes`` and ``strata``, numbered from 0."""

    between: float
    within: float
    truncated: bool
    means: Values
    sizes: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]

    @property
    def both(self) -> float:
        """Variance of one run of a random group."""
        return self.between + self.within

    @property
    def icc(self) -> float:
        """Intraclass correlation of one run: the share of the variance that lies between groups."""
        return self.between / self.both if self.both > 0 else math.nan

    def icc_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        r"""Interval of :attr:`icc`, exact for normal values in groups of any sizes.

        Its ends are the :math:`\theta = \sigma_b^2 / \sigma_w^2`, turned into :math:`\theta / (1 + \theta)`, at which

        .. math:: F(\theta) = \frac{\sum_i u_i (\bar y_i - \bar y_u)^2}{(k - s)\,MSW}, \qquad u_i = \frac{n_i}{1 + n_i \theta}, \quad
            \bar y_u = \sum_i u_i \bar y_i \big/ \sum_i u_i

        with means :math:`\bar y_u` over the groups of a stratum, which has the F distribution with :math:`k - s` and :math:`N - k` degrees
        of freedom, equals its quantiles, truncated at 0: "A Note on the Analysis of Variance with Unequal Class Frequencies" (Wald 1940,
        Annals of Mathematical Statistics 11, 96-100), here for :math:`s` strata. For one stratum of groups of equal size it is the interval
        of ICC(1, 1) of Shrout & Fleiss (1979, doi:10.1037/0033-2909.86.2.420). ``nan`` if the components do not exist.
        """
        if math.isnan(self.between) or not self.within > 0:
            return math.nan, math.nan
        k = len(self.means)
        freedom = k - int(self.strata.max()) - 1, int(self.sizes.sum()) - k

        def ratio(theta: float) -> float:
            weights = self.sizes / (1 + self.sizes * theta)
            centre = np.bincount(self.strata, weights * self.means) / np.bincount(self.strata, weights)
            return float(weights @ (self.means - centre[self.strata]) ** 2 / (freedom[0] * self.within))

        ends = []
        for level in ((1 + confidence) / 2, (1 - confidence) / 2):
            quantile = float(stats.f.ppf(level, *freedom))
            # F falls as theta grows, and its limit is 0.
            high = 1.0
            while ratio(high) > quantile:
                high *= 4
            theta = 0.0 if ratio(0.0) <= quantile else float(optimize.brentq(lambda theta, q=quantile: ratio(theta) - q, 0.0, high))
            ends.append(theta / (1 + theta))
        return ends[0], ends[1]


def variance_components(values: Values, groups: npt.ArrayLike, strata: npt.ArrayLike | None = None) -> Components:
    r"""Estimate random-effects variances by the analysis-of-variance method for groups of any size.

    From Searle, Casella & McCulloch (1992), "Variance Components", doi:10.1002/9780470316856, section 3.6, summed over strata, whose means
    are fixed:

    .. math:: \hat\sigma^2_{within} = MSW, \qquad \hat\sigma^2_{between} = (MSB - MSW) / n_0, \qquad
        n_0 = \Big(N - \sum_h \sum_{i \in h} n_i^2 / N_h\Big) / (k - s)

    for :math:`N` values in :math:`k` groups of sizes :math:`n_i`, and :math:`N_h` of them in each of :math:`s` strata; MSB, with
    :math:`k - s` degrees of freedom, is around the means of the strata. A negative estimate between groups is truncated at 0 and marked. If
    no stratum has two groups, the variance between is ``nan``; if no group has two values, the two cannot be separated, and both are
    ``nan``.

    Args:
        values ``(N,)``: one per run.
        groups ``(N,)``: which runs belong together, such as those of one wiring.
        strata ``(N,)``: which groups do, such as the wirings of one family; by default all.
    """
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    stratum = np.unique(np.zeros(len(values)) if strata is None else np.asarray(strata), return_inverse=True)[1]
    if not np.array_equal(stratum, stratum[first][group]):
        raise ValueError("strata: expected one stratum for all values of a group, got two; number the groups of all strata apart")
    sizes, stratum, total = np.bincount(group), stratum[first], len(values)
    k, s = len(sizes), int(stratum.max(initial=-1)) + 1
    means, in_stratum = np.bincount(group, weights=values) / sizes, np.bincount(stratum, weights=sizes)
    if total - k < 1:
        return Components(math.nan, math.nan, False, means, sizes, stratum)
    within = float(np.sum((values - means[group]) ** 2) / (total - k))
    if k == s:
        return Components(math.nan, within, False, means, sizes, stratum)
    centre = (np.bincount(stratum, weights=sizes * means) / in_stratum)[stratum]
    between_square = float(np.sum(sizes * (means - centre) ** 2) / (k - s))
    typical_size = float(total - np.sum(sizes**2 / in_stratum[stratum])) / (k - s)
    between = (between_square - within) / typical_size
    return Components(max(between, 0.0), within, bool(between < -TIE), means, sizes, stratum)


def icc_of_mean(icc: float, seeds: float) -> float:
    r"""Intraclass correlation of a mean of ``seeds`` runs, :math:`k \rho / (1 + (k - 1) \rho)`, also for the ends of an interval (Spearman
    1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910, doi:10.1111/j.2044-8295.1910.tb00207.x)."""
    return seeds * icc / (1 + (seeds - 1) * icc)
