"""One family against the reference: the difference, whether it is one, whether it is within a margin, and the units that would decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from elegans_pyg.analysis import inference
from elegans_pyg.analysis.arms import Arm
from elegans_pyg.analysis.equivalence import equivalence_test
from elegans_pyg.analysis.inference import Values
from elegans_pyg.analysis.power import ALPHA, runs_needed

MIN_UNITS = 3
SMALL_DIFFERENCE, SMALL_SHARE = 0.001, 0.01
"""The difference users care about: 0.1 percentage points, and for values that are no shares, a share of the reference's mean."""


@dataclass(frozen=True)
class Contrast:
    """What the tests of a family see: the units of both arms (``samples``), or the differences within pairs alone."""

    samples: list[Values]

    @classmethod
    def of(cls, arm: Arm, base: Arm) -> Contrast:
        """In pairs where the two arms are pairs."""
        pairs = arm.paired_differences(base)
        return cls([arm.units, base.units] if pairs is None else [pairs])

    @property
    def paired(self) -> bool:
        return len(self.samples) == 1

    @property
    def fewest(self) -> int:
        """Units of the smaller arm, or pairs."""
        return min(map(len, self.samples))

    @property
    def size(self) -> float:
        """Units of each of two equal arms that would tell as much: the harmonic mean; or pairs."""
        return len(self.samples) / sum(1 / len(sample) for sample in self.samples) if self.fewest else 0.0

    @property
    def difference(self) -> float:
        return float(self.samples[0].mean() - (0 if self.paired else self.samples[1].mean()))

    @property
    def sd(self) -> float:
        """Standard deviation inside the arms, pooled, or of the differences within pairs; ``nan`` if there is none yet."""
        off = np.concatenate([sample - sample.mean() for sample in self.samples])
        freedom = len(off) - len(self.samples)
        return math.sqrt(float(off @ off) / freedom) if freedom > 0 else math.nan

    def row(self, small: float, margin: float | None, confidence: float, resampling: dict[str, Any]) -> dict[str, Any]:
        """Difference, interval, tests, and the units needed, for the table of :func:`~elegans_pyg.analysis.compare`."""
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
        """Further units of each arm, or pairs, that would decide with the usual power if the observed difference and spread are the true
        ones: that find the difference, or show it to be within the margin, whichever takes fewer. ``None`` if that is not known."""
        found = [runs_needed(self.difference, self.sd, margin=goal, alpha=alpha, paired=self.paired) for goal in {None, margin}]
        known = [units for units in found if units is not None]
        return max(1, math.ceil(min(known) - self.size)) if known else None
