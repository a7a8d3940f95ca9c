"""Does the connectome's wiring matter? Families of wirings compared with a reference, as a table with notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg._arguments import check_seed
from elegans_pyg.analysis import inference
from elegans_pyg.analysis.arms import Arm, check_results, family_names, family_seed, plain_rows
from elegans_pyg.analysis.comparison_notes import comparison_notes
from elegans_pyg.analysis.contrast import MIN_UNITS, SMALL_DIFFERENCE, SMALL_SHARE, Contrast
from elegans_pyg.analysis.equivalence import check_margin
from elegans_pyg.analysis.power import ALPHA, smallest_testable
from elegans_pyg.analysis.rank_test import rank_among

_OF_ARM = ("family", "runs", "stopped", "unit", "n", "pairs", "mean", "sd", "low", "high")
_VERDICT = ("verdict", "more")
_DIFFERENCE = ("difference", "difference_low", "difference_high", "p", "p_holm", "p_smallest", "p_method", "delta")
_EQUAL = ("equal_low", "equal_high", "p_equal", "p_equal_holm")
_NEEDED = ("wiring_variance", "seed_variance", "icc", "icc_low", "icc_high", "needed_observed", "needed_small")
_RANK = ("rank", "effect", "effect_low", "effect_high", "p_rank", "p_rank_holm", "p_rank_smallest")
_WHOLE = ("pairs", "more", "needed_observed", "needed_small", "rank")
LARGEST_MARGIN = 0.1
"""Largest margin for shares. A larger one was meant in percentage points, and would call everything equal."""


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare`; :mod:`elegans_pyg.studies.tables` shows it.

    Attributes:
        table: one row per family, the reference first. Accuracies are shares (0 to 1); what does not exist is missing. Columns: ``family``,
            ``runs`` (finished), ``stopped`` (left out), ``unit`` (``"run"`` or ``"wiring"``), ``n`` (units), ``pairs`` (with the
            reference; missing if the arms are independent), ``mean``, ``sd``, ``low`` and ``high`` (of the units); ``verdict``
            (``"different"``, ``"equal"``, ``"different within margin"``, ``"undecided"``, or ``"not tested"`` with too few units),
            ``more`` (further units per arm, or pairs, needed to decide, or for a test that can reach 0.05); ``difference`` (from the
            reference), ``difference_low``, ``difference_high``, ``p``, ``p_holm``, ``p_smallest`` (attainable), ``p_method`` (``"exact"``
            or ``"monte carlo"``), ``delta`` (Cliff); with a margin ``equal_low`` and ``equal_high`` (the 90 % interval of the difference),
            ``p_equal``, ``p_equal_holm``; ``wiring_variance``, ``seed_variance``, the
            intraclass correlation of one run ``icc`` with ``icc_low`` and ``icc_high``, ``needed_observed`` and ``needed_small`` (units per
            arm, or pairs, needed to detect the observed difference, and the :attr:`small` one); for a reference with one wiring, those of
            :func:`~elegans_pyg.analysis.rank_test.rank_test`: ``rank``, ``effect``, ``effect_low``, ``effect_high``, ``p_rank``,
            ``p_rank_holm``, ``p_rank_smallest``.
        notes: what is needed to read the table, one or two sentences each.
        reference, confidence, value, share, margin: as given to :func:`compare`.
    """

    table: pd.DataFrame
    notes: list[str]
    reference: str
    confidence: float
    value: str = "accuracy"
    share: bool = True
    margin: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content: plain numbers, ``None`` for what is missing."""
        families = plain_rows(self.table)
        given = {"reference": self.reference, "confidence": self.confidence, "margin": self.margin}
        return {**given, "families": families, "notes": list(self.notes)}

    @property
    def small(self) -> str:
        """The small difference, in words: the margin, or without one 0.1 percentage points, or 1 % of the reference's mean."""
        if self.margin is not None:
            return f"{100 * self.margin:g} pp" if self.share else f"{self.margin:g}"
        return "0.1 pp" if self.share else f"{SMALL_SHARE:.0%}"


def compare(
    results: pd.DataFrame,
    reference: str = "connectome",
    value: str = "accuracy",
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
    share: bool = True,
    margin: float | None = None,
) -> Comparison:
    """Compare the accuracy of every family of wirings with that of a reference family: different, equal within a margin, or undecided.

    The *unit* of the statistics is the wiring if a family has several: runs that share a wiring are not independent draws from the family,
    so they are averaged first, and resampling and tests act on the means. A family with a single wiring (the connectome, unless every run
    has a random DAG of it) has its runs as units: its spread is only training noise, and what is found holds for that wiring alone. If
    every run has a partner in the reference with the same seed (and, with several wirings, the same wiring seed), as the runs of a frozen
    connectome have, the two families are compared in pairs: interval, p values and the units needed are those of the differences within
    pairs. Runs without a value (``nan``: variants that were stopped) are left out and counted.

    Statistics: bias-corrected bootstrap intervals, two-sided permutation tests on the difference of means (exact up to 200,000 splits, none
    for fewer than 3 units in an arm), two one-sided t tests against the margin
    (:func:`~elegans_pyg.analysis.equivalence.equivalence_test`), Holm's correction over the families for both tests, one-way random-effects
    variances, and the units needed for 80 % power at level 0.05 before Holm's correction, with the mean of the arms' variances. Whether the
    one wiring of the reference is unusual among the wirings of a family is another question, answered by its rank
    (:func:`~elegans_pyg.analysis.rank_test.rank_test`). :mod:`elegans_pyg.analysis.inference` has equations and sources.

    Args:
        results: one row per variant: ``variant`` (int, unique), ``family`` (str), ``wiring_seed`` (int), ``seed`` (int), and the values.
        reference: family that the others are compared with.
        value: column of accuracies, as shares between 0 and 1, or of other values (see ``share``).
        seed: of the bootstrap and random permutations; a family's numbers depend on other families only through Holm's correction.
        resamples: bootstrap resamples, and random splits if there are too many to enumerate; at least 100.
        confidence: coverage of the intervals, between 0 and 1.
        share: ``False`` for values that are not shares, such as a memory capacity or an error: any number is allowed, and the small
            difference is 1 % of the reference's mean instead of 0.1 percentage points.
        margin: largest difference that would not matter, in the unit of the values (0.003 is 0.3 percentage points), fixed before the
            runs; it is also the small difference. Without one nothing is called equal.

    Raises:
        ValueError: for a missing column, no rows, fewer than two families, an unknown reference, a repeated variant or run, an accuracy
            outside 0 to 1, ``resamples``, ``seed`` or ``confidence`` out of range, or a margin that is not above 0, or above 0.1 of a
            share.
        TypeError: when ``results`` is not a DataFrame, or the values are not numbers.
    """
    check_results(results, value, share)
    families = family_names("results", results, reference)
    if len(families) < 2:
        raise ValueError(f"results must hold at least two families, got only {reference!r}; add a family of nulls, such as 'rewired'")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}; the default is 10,000")
    check_seed(seed)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}; give a share, such as 0.95")
    if margin is not None:
        check_margin(margin)
        if share and margin > LARGEST_MARGIN:
            raise ValueError(f"margin: expected a share of at most {LARGEST_MARGIN}, got {margin:g}; 0.3 percentage points are 0.003")

    arms = {name: Arm(results[results["family"] == name], value) for name in families}
    contrasts = {name: Contrast.of(arm, arms[reference]) for name, arm in arms.items() if name != reference}
    rows: list[dict[str, Any]] = []
    for name, arm in arms.items():
        resampling = {"resamples": resamples, "seed": family_seed(seed, name)}
        rows.append({"family": name, **arm.summary(confidence, resampling)})
        if name in contrasts:
            rows[-1] |= _against(arm, arms[reference], contrasts[name], share, margin, confidence, resampling)

    table = pd.DataFrame(rows, columns=[*_OF_ARM, *_VERDICT, *_DIFFERENCE, *_EQUAL, *_NEEDED, *_RANK])
    for p in ("p", "p_equal", "p_rank"):
        table[f"{p}_holm"] = inference.holm(table[p].to_numpy(dtype=np.float64))
    _decide(table, contrasts, margin)
    table = table.astype({**dict.fromkeys(_WHOLE, "Int64"), "p_method": object})
    notes = comparison_notes(table, arms, resamples, confidence, share, margin)
    return Comparison(table, notes, reference, confidence, value, share, margin)


def _against(
    arm: Arm, base: Arm, contrast: Contrast, share: bool, margin: float | None, confidence: float, resampling: dict[str, Any]
) -> dict[str, Any]:
    """Columns that compare a family with the reference: the contrast of means, and the reference's rank among the family's wirings."""
    row: dict[str, Any] = {"pairs": contrast.fewest} if contrast.paired else {}
    if contrast.fewest:
        small = margin or (SMALL_DIFFERENCE if share else SMALL_SHARE * abs(float(base.units.mean())))
        row |= {"delta": inference.cliffs_delta(arm.units, base.units), **contrast.row(small, margin, confidence, resampling)}
    if base.unit == "run" and base.runs and arm.unit == "wiring" and len(arm.units) >= MIN_UNITS:
        found = rank_among(base, arm, "two-sided", confidence)
        row |= {column: found[column.replace("p_rank", "p")] for column in _RANK if column != "p_rank_holm"}
    return row


def _decide(table: pd.DataFrame, contrasts: dict[str, Contrast], margin: float | None) -> None:
    """Fill in the verdicts, and how many more units would decide what is undecided, or let a test of all families reach its level."""
    level = ALPHA / max(1, int(table["p"].notna().sum()))
    verdicts: list[str | None] = []
    more: list[int | None] = []
    for row in table.itertuples():
        contrast, verdict, needed = contrasts.get(row.family), None, None
        if contrast is not None and pd.isna(row.p):
            verdict, needed = "not tested", smallest_testable(ALPHA / len(contrasts), contrast.paired) - contrast.fewest
        elif contrast is not None:
            different, equal = row.p_holm <= ALPHA, row.p_equal_holm <= ALPHA
            verdict = "different within margin" if different and equal else "different" if different else "equal" if equal else "undecided"
            needed = contrast.more_needed(margin, level) if verdict == "undecided" else None
        verdicts.append(verdict)
        more.append(needed)
    table["verdict"], table["more"] = pd.array(verdicts, dtype=object), pd.array(more, dtype="Int64")
