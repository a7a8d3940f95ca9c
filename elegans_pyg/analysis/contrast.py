"""One family against the reference: the difference, its tests, and the units needed to decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from elegans_pyg.analysis import inference
from elegans_pyg.analysis.arms import Arm
from elegans_pyg.analysis.equivalence import equivalence_test
from elegans_pyg.analysis.inference import Values
from elegans_pyg.analysis.power import ALPHA, POWER, contrast_power, fewest_units, out_of_reach, runs_needed, smallest_testable

MIN_UNITS, INTERVAL_UNITS = 3, 10
"""Fewest units in an arm, or pairs, for a test, and for a bootstrap interval that is not too narrow."""
SMALL_DIFFERENCE, SMALL_SHARE = 0.001, 0.01
"""The small difference: 0.1 percentage points, and for values that are not shares, a share of the reference's mean."""


@dataclass(frozen=True)
class Contrast:
    """The data that a family's tests use: the units of both arms (``samples``), or only the differences within pairs."""

    samples: list[Values]

    @classmethod
    def of(cls, arm: Arm, base: Arm) -> Contrast:
        """In pairs if the runs of the two arms can be paired."""
        pairs = arm.paired_differences(base)
        return cls([arm.units, base.units] if pairs is None else [pairs])

    @property
    def paired(self) -> bool:
        return len(self.samples) == 1

    @property
    def fewest(self) -> int:
        """Number of units of the smaller arm, or of pairs."""
        return min(map(len, self.samples))

    @property
    def difference(self) -> float:
        return float(self.samples[0].mean() - (0 if self.paired else self.samples[1].mean()))

    @property
    def variances(self) -> list[float]:
        """Of each arm, or of the differences within pairs. An arm of one unit takes the other arm's; ``nan`` if neither has one."""
        found = [float(sample.var(ddof=1)) if len(sample) > 1 else math.nan for sample in self.samples]
        return [found[-1 - place] if math.isnan(variance) else variance for place, variance in enumerate(found)]

    @property
    def sd(self) -> float:
        """Standard deviation of the differences within pairs, or root of the arms' mean variance, with which two new arms of equal size
        have the standard error of the arms' own variances. ``nan`` if there is none yet."""
        return math.sqrt(float(np.mean(self.variances)))

    def row(self, small: float, margin: float | None, confidence: float, resampling: dict[str, Any]) -> dict[str, Any]:
        """Difference, interval, tests, and the units needed, as columns of :func:`~elegans_pyg.analysis.compare`'s table."""
        low, high = inference.bootstrap_interval(*self.samples, confidence=confidence, **resampling)
        row: dict[str, Any] = {"difference": self.difference, "difference_low": low, "difference_high": high}
        for name, size in (("needed_observed", self.difference), ("needed_small", small)):
            row[name] = runs_needed(size, self.sd, paired=self.paired)
        if self.fewest >= MIN_UNITS:
            test = (inference.sign_flip_test if self.paired else inference.permutation_test)(*self.samples, **resampling)
            row |= {"p": test.p, "p_smallest": test.smallest, "p_method": "exact" if test.exact else "monte carlo"}
            if margin is not None:
                equal = equivalence_test(*self.samples, margin=margin)
                row |= {"equal_low": equal.low, "equal_high": equal.high, "p_equal": equal.p}
        return row

    def more_needed(self, margin: float | None, alpha: float = ALPHA) -> int | None:
        """Further units per arm, or pairs, that would decide with the usual power if the observed difference and spread are the true ones:
        to find the difference, or to show that it lies within the margin, whichever takes fewer. ``None`` if that is unknown."""
        if not self.sd > 0:
            return None

        def power_with(more: int, goal: float | None) -> float:
            return contrast_power(self.difference, self.variances, [len(sample) + more for sample in self.samples], goal, alpha)

        found = []
        for goal in {None, margin}:
            least = max(1, smallest_testable(alpha, self.paired) - self.fewest) if goal is None else 1
            if not out_of_reach(self.difference, goal):
                found.append(fewest_units(partial(power_with, goal=goal), POWER, least))
        return min((units for units in found if units is not None), default=None)
