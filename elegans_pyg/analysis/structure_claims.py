"""Tests of two claims of ElegansNet (2023) about the connectome's dyads under rewiring."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from elegans_pyg.analysis.dyads import dyad_columns
from elegans_pyg.analysis.inference import holm
from elegans_pyg.analysis.power import ALPHA

SLIGHT, GRADUAL = 0.05, 0.1
"""Shares of edges redrawn: slight rewiring, and the share at which more than half of an effect that fades gradually is left."""
FALLING = -0.9
"""Largest rank correlation of the effect's size with the share redrawn at which the effect counts as falling throughout."""
_EFFECT = ["measure", "length", "z", "p_holm", "falling", "half", "left_gradual", "lost", "unusual_slight"]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what was found.

    ``claim`` is ``"fade"`` or ``"multi-dyadic"``, ``text`` says it in words, and ``detail`` what was measured. Of the effects that the
    connectome has, the claim applies to ``tested``, and held for ``held``. ``family`` says how edges were redrawn.
    """

    connectome: str
    family: str
    claim: str
    text: str
    tested: int
    held: int
    detail: str

    @property
    def verdict(self) -> str:
        if not self.tested:
            return "no answer: no such effect"
        word = "" if self.held in (0, self.tested) else "only "
        return f"{'held' if self.held == self.tested else 'did not hold'} ({word}{self.held} of {self.tested})"


def dyad_effects(curves: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Find the type pairs whose dyadicity or heterophilicity in the connectome is not due to chance, and how each changes with rewiring.

    Args:
        curves: of one connectome and family: ``fraction``, ``measure``, ``left`` (share of the effect left), ``unusual`` (share of the
            graphs that are unusual on the connectome's side, see :func:`~elegans_pyg.analysis.null_model.share_unusual`).
        scores: the connectome against that null model, see :func:`~elegans_pyg.analysis.null_model.against_null`.

    Returns:
        one row per pair and length with an effect at level 0.05, corrected (Holm) over the 9 pairs for edges, and over the 18 of pairs and
        lengths for paths of 2 and 3: ``measure``, ``length``, ``z`` and ``p_holm`` of the connectome; ``falling`` (rank correlation of
        the effect's size with the fraction), ``half`` (fraction at which half is left), ``left_gradual`` (share left at the fraction
        nearest 0.1), ``lost`` (smallest fraction at which at most half of the graphs are unusual) and ``unusual_slight`` (share unusual at
        the fraction nearest 0.05).
    """
    scores = scores.set_index("measure")
    rows = []
    for lengths in ((1,), (2, 3)):
        family = [(name, length) for length in lengths for name in dyad_columns(length) if name in scores.index]
        corrected = holm(scores.loc[[name for name, _ in family], "p"].to_numpy(dtype=np.float64))
        for (name, length), p in zip(family, corrected, strict=True):
            if not p <= ALPHA:
                continue
            curve = curves[curves["measure"] == name].sort_values("fraction")
            fraction, left, unusual = (curve[column].to_numpy(dtype=np.float64) for column in ("fraction", "left", "unusual"))
            # An effect that has turned into its opposite is gone.
            left = np.maximum(left, 0)
            lost = fraction[unusual <= 0.5]
            falling = float(stats.spearmanr(fraction, left).statistic) if np.ptp(left) > 0 else 0.0
            gradual, slight = (np.abs(fraction - share).argmin() for share in (GRADUAL, SLIGHT))
            course = (falling, _crossing(fraction, left, 0.5), left[gradual], lost.min() if len(lost) else math.nan, unusual[slight])
            rows.append((name, length, float(scores.loc[name, "z"]), float(p), *map(float, course)))
    return pd.DataFrame(rows, columns=_EFFECT)


def check_claims(connectome: str, family: str, effects: pd.DataFrame) -> list[Claim]:
    """Check whether the two claims held, from the table of :func:`dyad_effects`."""
    direct, far = effects[effects["length"] == 1], effects[effects["length"] > 1]
    fading = direct[(direct["falling"] <= FALLING) & (direct["left_gradual"] > 0.5)]
    gone = far[far["unusual_slight"] <= 0.5]
    interactions = "interactions of sensory, inter- and motor neurons are not due to chance, and gradually lose significance with rewiring"
    half, lost = _range(direct["half"]), _range(direct["lost"])
    fades = f"half of the effect is left at {half} rewired, half of the graphs are still significant at {lost}"
    multi = f"the multi-dyadic effect along shortest paths of 2 and 3 edges is lost after slight rewiring ({SLIGHT:.0%})"
    stays = (
        f"at {SLIGHT:.0%} rewired, {_range(far['unusual_slight'])} of the graphs still have the effect (along edges"
        f" {_range(direct['unusual_slight'])}); half of it is left at {_range(far['half'])} rewired"
    )
    return [
        Claim(connectome, family, "fade", interactions, len(direct), len(fading), fades),
        Claim(connectome, family, "multi-dyadic", multi, len(far), len(gone), stays),
    ]


def _crossing(fraction: np.ndarray, share: np.ndarray, level: float) -> float:
    """Where a falling curve first reaches the level, by linear interpolation; ``nan`` if it does not."""
    below = np.flatnonzero(share <= level)
    if not len(below):
        return math.nan
    first = int(below[0])
    if first == 0:
        return float(fraction[0])
    x, y = fraction[first - 1 : first + 1], share[first - 1 : first + 1]
    return float(x[0] + (y[0] - level) / (y[0] - y[1]) * (x[1] - x[0]))


def _range(shares: pd.Series) -> str:
    found = shares.dropna()
    never = f", never for {len(shares) - len(found)}" if len(found) < len(shares) else ""
    if found.empty:
        return "no fraction" if len(shares) else "–"
    if found.max() - found.min() < 0.005:
        return f"{found.median():.0%}{never}"
    return f"{found.min():.0%} to {found.max():.0%} (median {found.median():.0%}){never}"
