"""Notes that are needed to read a comparison, one or two sentences each."""

from __future__ import annotations

import math

import pandas as pd

from elegans_pyg.analysis import power
from elegans_pyg.analysis.arms import Arm
from elegans_pyg.analysis.contrast import INTERVAL_UNITS, SMALL_SHARE
from elegans_pyg.analysis.power import ALPHA, POWER


def powerless(table: pd.DataFrame) -> pd.Series:
    """Whether a family has too few units for any difference to be significant after Holm's correction, the other families' p being as they
    are, for every row of a comparison's table."""
    tested = table["p_holm"] > ALPHA
    # With k families left Holm multiplies the smallest p value by k, so the level to reach is that much lower.
    return tested & (table["p_smallest"] * tested.sum() > ALPHA)


def comparison_notes(
    table: pd.DataFrame, arms: dict[str, Arm], resamples: int, confidence: float, share: bool, margin: float | None
) -> list[str]:
    """The notes of :func:`~elegans_pyg.analysis.compare`: verdicts, units, pairs, tests, what is missing, the units needed."""
    reference = next(iter(arms))
    rows = table.set_index("family")
    unit, small = (" in percentage points (pp)", "0.1 pp") if share else ("", f"{SMALL_SHARE:.0%} of {reference}'s mean")
    notes = [f"Intervals: {100 * confidence:g} % BCa bootstrap. Differences: family minus {reference}{',' if unit else ''}{unit}."]
    notes += _verdict_notes(table, reference, share, margin)
    if (table["n"] < INTERVAL_UNITS).any():
        few = f"Bootstrap intervals from fewer than {INTERVAL_UNITS} units come out too narrow"
        notes.append(f"{few}: read them as a lower bound on the uncertainty.")
    notes += _unit_notes(arms, rows, confidence, share)
    pairs = rows["pairs"].dropna()
    if len(pairs):
        counts = ", ".join(f"{name} {count}" for name, count in pairs.items())
        notes.append(
            f"Compared with {reference} in pairs of runs with the same seed (averaged by wiring, where there are several): {counts} pairs."
            " Difference, interval, p and the units needed are those of the differences within pairs."
        )
    if stopped := ", ".join(f"{name} {arm.stopped} of {arm.stopped + arm.runs}" for name, arm in arms.items() if arm.stopped):
        notes.append(f"Left out, because they stopped before they had a value: {stopped}. The means describe the runs that finished.")

    tested = rows[rows["p"].notna()]
    exact, drawn = (tested[tested["p_method"] == method] for method in ("exact", "monte carlo"))
    if len(exact):
        smallest = "; ".join(f"{name} {p:.2g}" for name, p in exact["p_smallest"].items())
        signs = " (of pairs, all signs of the differences)" if exact["pairs"].notna().any() else ""
        notes.append(f"p by exact permutation of the units, all splits enumerated{signs}; the smallest attainable p: {smallest}.")
    if len(drawn):
        how = f"{resamples:,} random permutations ({', '.join(drawn.index)})"
        notes.append(f"p by {how}, including the observed split; the smallest attainable p: {1 / (resamples + 1):.2g}.")
    hopeless = rows[powerless(rows)]
    if len(hopeless):
        kinds, left = sorted(set(hopeless["pairs"].notna())), int((rows["p_holm"] > ALPHA).sum())
        fewest = " and ".join(f"{power.smallest_testable(ALPHA / left, kind)} {'pairs' if kind else 'per arm'}" for kind in kinds)
        notes.append(
            f"Too few units for any difference to be significant at {ALPHA:g} after Holm's correction:"
            f" {', '.join(hopeless.index)}. At least {fewest} are needed for that."
        )
    holm = " after Holm's correction" if len(rows) > 2 else ""
    for name, row in rows[rows["verdict"] == "not tested"].iterrows():
        units = "of each" if pd.isna(row["pairs"]) else "pairs"
        few = f"{arms[str(name)]} against {arms[reference]} of {reference}"
        notes.append(f"Not tested: {name}, {few}. With {row['more']} more {units}, p can reach {ALPHA:g}{holm}.")
    needed = rows["needed_observed"].dropna()
    if len(needed):
        counts = ", ".join(f"{name} {count:,}" for name, count in needed.items())
        notes.append(
            f"Units per arm needed to detect the observed difference ({100 * POWER:g} % power, level {ALPHA:g} before Holm's correction, "
            f"t test with the mean of the arms' variances, or that of the differences within pairs): {counts}. "
            f"The column 'n for' gives the same for {'the margin' if margin else small}."
        )
    return notes


def _verdict_notes(table: pd.DataFrame, reference: str, share: bool, margin: float | None) -> list[str]:
    how = (
        f"'more': further units per arm (or pairs) needed to decide with {100 * POWER:g} % power if the observed difference and spread are"
        " the true ones."
    )
    if margin is None:
        notes = [f"Different: p (Holm) up to {ALPHA:g}. Without a margin, set before the runs, nothing is called equal; {how}"]
    else:
        size = f"{100 * margin:g} pp" if share else f"{margin:g}"
        notes = [
            f"Different: p (Holm) up to {ALPHA:g}. Equal: two one-sided t tests (Schuirmann 1987) reject any difference of {size} or more,"
            f" p (Holm) up to {ALPHA:g}, which takes a 90 % interval (t) within the margin; the margin counts only if it was set before the"
            f" runs. Undecided: neither; {how}"
        ]
        if both := ", ".join(table.loc[table["verdict"] == "different within margin", "family"]):
            notes.append(f"Different, but by less than the margin: {both}.")
    if len(ranked := table[table["rank"].notna()]):
        smallest = ", ".join(f"{row.family} {row.p_rank_smallest:.2g}" for row in ranked.itertuples())
        notes.append(
            f"'Different' compares the mean of a family with {reference}'s one wiring; wirings of the family may differ from that mean as"
            f" much. The rank asks whether {reference} is unusual among them: exact p of its mean among the wirings' means, smallest"
            f" attainable p {smallest}; effect: {reference} minus their mean, in their standard deviations, interval for normal means."
        )
    return notes


def _unit_notes(arms: dict[str, Arm], rows: pd.DataFrame, confidence: float, share: bool) -> list[str]:
    reference, (scale, unit) = next(iter(arms)), (100, ", in pp") if share else (1, "")
    averaged, notes = {name: arm for name, arm in arms.items() if arm.averaged}, []
    if single := ", ".join(name for name, arm in arms.items() if arm.unit == "run"):
        notes.append(
            f"One wiring each: {single}. The units are runs that differ only in their seed, so the spread is training noise and the result"
            " holds for that wiring."
        )
    if averaged:
        counts = ", ".join(f"{name} {len(arm.units)}" for name, arm in averaged.items())
        notes.append(f"Several seeds share a wiring, so the units are the wirings' means, and these are permuted: {counts} wirings.")
        spread = "; ".join(
            f"{name} {scale * math.sqrt(arm.components.between):.2f} and {scale * math.sqrt(arm.components.within):.2f}"
            + (" (the former was estimated below 0 and set to 0)" if arm.components.truncated else "")
            + ", {:.2f} ({:.2f} to {:.2f})".format(*rows.loc[name, ["icc", "icc_low", "icc_high"]])
            for name, arm in averaged.items()
            if not math.isnan(arm.components.between)
        )
        if spread:
            notes.append(
                f"Standard deviation between wirings and between seeds of a wiring{unit}, and the share of a run's variance that is due to"
                f" the wiring (intraclass correlation, with its {100 * confidence:g} % interval): {spread}."
            )
        if uneven := ", ".join(name for name, arm in averaged.items() if arm.uneven):
            notes.append(f"The wirings' means are of unequal numbers of seeds, and have equal weights: {uneven}.")
        if arms[reference].unit == "run":
            notes.append(
                f"A mean over seeds varies less by training noise than one run of {reference} does;"
                " the test allows for different variances."
            )
    if plain := ", ".join(name for name, arm in arms.items() if arm.unit == "wiring" and not arm.averaged):
        notes.append(f"One seed per wiring: {plain}. Their spread mixes graph and seed; several seeds per wiring would separate them.")
    return notes
