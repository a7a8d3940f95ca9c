"""How much of the variance of runs is due to the wiring, and how much to the seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from elegans_pyg.analysis.inference import TIE, Values


class Components(NamedTuple):
    """Result of :func:`variance_components`: variance ``between`` groups (wirings) and ``within`` them (seeds), whether the former was
    truncated at 0, and the groups' ``means`` and ``sizes``."""

    between: float
    within: float
    truncated: bool
    means: Values
    sizes: npt.NDArray[np.int64]

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

        .. math:: F(\theta) = \frac{\sum_i u_i (\bar y_i - \bar y_u)^2}{(k - 1)\,MSW}, \qquad u_i = \frac{n_i}{1 + n_i \theta}, \quad
            \bar y_u = \sum_i u_i \bar y_i \big/ \sum_i u_i

        which has the F distribution with :math:`k - 1` and :math:`N - k` degrees of freedom, equals its quantiles, truncated at 0: "A Note
        on the Analysis of Variance with Unequal Class Frequencies" (Wald 1940, Annals of Mathematical Statistics 11, 96-100). For groups of
        equal size it is the interval of ICC(1, 1) of Shrout & Fleiss (1979, doi:10.1037/0033-2909.86.2.420). ``nan`` if the components do
        not exist.
        """
        k, freedom = len(self.means), int(self.sizes.sum()) - len(self.means)
        if math.isnan(self.between) or not self.within > 0:
            return math.nan, math.nan

        def ratio(theta: float) -> float:
            weights = self.sizes / (1 + self.sizes * theta)
            centre = weights @ self.means / weights.sum()
            return float(weights @ (self.means - centre) ** 2 / ((k - 1) * self.within))

        ends = []
        for level in ((1 + confidence) / 2, (1 - confidence) / 2):
            quantile = float(stats.f.ppf(level, k - 1, freedom))
            # F falls as theta grows, and its limit is 0.
            high = 1.0
            while ratio(high) > quantile:
                high *= 4
            theta = 0.0 if ratio(0.0) <= quantile else float(optimize.brentq(lambda theta, q=quantile: ratio(theta) - q, 0.0, high))
            ends.append(theta / (1 + theta))
        return ends[0], ends[1]


def variance_components(values: Values, groups: Sequence[int] | npt.NDArray[np.int64]) -> Components:
    r"""Estimate one-way random-effects variances by the analysis-of-variance method for groups of any size.

    From Searle, Casella & McCulloch (1992), "Variance Components", doi:10.1002/9780470316856, section 3.6:

    .. math:: \hat\sigma^2_{within} = MSW, \qquad \hat\sigma^2_{between} = (MSB - MSW) / n_0, \qquad
        n_0 = \Big(N - \sum_i n_i^2 / N\Big) / (k - 1)

    for :math:`N` values in :math:`k` groups of sizes :math:`n_i`. A negative estimate between groups is truncated at 0 and marked. With one
    group the variance between is ``nan``; if no group has two or more values, the two cannot be separated, and both are ``nan``.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(group)
    total, k = len(values), len(sizes)
    means = np.bincount(group, weights=values) / sizes
    if total - k < 1:
        return Components(math.nan, math.nan, False, means, sizes)
    within = float(np.sum((values - means[group]) ** 2) / (total - k))
    if k == 1:
        return Components(math.nan, within, False, means, sizes)
    between_square = float(np.sum(sizes * (means - values.mean()) ** 2) / (k - 1))
    typical_size = (total - np.sum(sizes**2) / total) / (k - 1)
    between = (between_square - within) / typical_size
    return Components(max(between, 0.0), within, bool(between < -TIE), means, sizes)


def icc_of_mean(icc: float, seeds: float) -> float:
    r"""Intraclass correlation of a mean of ``seeds`` runs, :math:`k \rho / (1 + (k - 1) \rho)`, also for the ends of an interval (Spearman
    1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910, doi:10.1111/j.2044-8295.1910.tb00207.x)."""
    return seeds * icc / (1 + (seeds - 1) * icc)
