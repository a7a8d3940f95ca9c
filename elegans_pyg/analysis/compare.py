"""Does the connectome's wiring matter? Families of wirings against a reference, as a table with its caveats."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg.analysis import inference
from elegans_pyg.analysis.inference import Values

_OF_ARM = ("family", "runs", "stopped", "unit", "n", "pairs", "mean", "sd", "low", "high")
_DIFFERENCE = ("difference", "difference_low", "difference_high", "p", "p_holm", "p_smallest", "p_method", "delta")
_NEEDED = ("wiring_variance", "seed_variance", "needed_observed", "needed_small")
MIN_UNITS = 3
ALPHA, POWER = 0.05, 0.8
SMALL_DIFFERENCE, SMALL_SHARE = 0.001, 0.01
"""The difference users care about: 0.1 percentage points, and for values that are no shares, a share of the reference's mean."""
SINGLE_WIRING = "connectome"
"""The family whose variants all share one wiring, whatever their wiring seeds."""


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare`; :mod:`elegans_pyg.studies.tables` shows it.

    Attributes:
        table: one row a family, the reference first. Accuracies are shares (0 to 1); what does not exist is missing. Columns: ``family``,
            ``runs`` (finished), ``stopped`` (left out), ``unit`` (``"run"`` or ``"wiring"``), ``n`` (units), ``pairs`` (with the
            reference; missing where the arms are independent), ``mean``, ``sd``, ``low`` and ``high`` (of the units), ``difference``
            (from the reference), ``difference_low``, ``difference_high``, ``p``, ``p_holm``, ``p_smallest`` (attainable), ``p_method``
            (``"exact"`` or ``"monte carlo"``), ``delta`` (Cliff), ``wiring_variance``, ``seed_variance``, ``needed_observed`` and
            ``needed_small`` (units an arm, or pairs, that would detect the observed difference, and 0.1 percentage points).
        notes: what a reader has to know to read the table, one sentence or two each.
        reference, confidence, value, share: as they were given to :func:`compare`.
    """

    table: pd.DataFrame
    notes: list[str]
    reference: str
    confidence: float
    value: str = "accuracy"
    share: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content: plain numbers, ``None`` for what is missing."""
        families = plain_rows(self.table)
        return {"reference": self.reference, "confidence": self.confidence, "families": families, "notes": list(self.notes)}

    @property
    def small(self) -> str:
        """The difference that users care about, in words."""
        return "0.1 pp" if self.share else f"{SMALL_SHARE:.0%}"


def compare(
    results: pd.DataFrame,
    reference: str = "connectome",
    value: str = "accuracy",
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
    share: bool = True,
) -> Comparison:
    """Compare the accuracy of every family of wirings with that of a reference family.

    The *unit* of the statistics is the wiring where a family has several: the seeds that share a wiring are not independent draws from
    the family, so they are averaged first, and resampling and permutation act on the means. A family with a single wiring (the connectome,
    whose variants differ in their seed alone) has its runs as units: its spread is training noise only, and what is said about it holds
    for that one wiring. Where the runs of such a family have the very seeds of the reference's runs, such as those of a frozen connectome,
    they are compared in pairs: interval, p value (by flipping the signs of the differences) and the units needed are those of the
    differences within pairs. Runs without a value (``nan``: variants that were stopped) are left out and counted.

    Statistics: bias-corrected bootstrap intervals, two-sided permutation tests on the difference of means (exact up to 200,000 splits, none
    for fewer than 3 units in an arm), Holm's correction over the families, one-way random-effects variances, and the units needed for 80 %
    power at level 0.05 before Holm's correction, with the pooled standard deviation. :mod:`elegans_pyg.analysis.inference` has their
    equations and sources.

    Args:
        results: one row a variant: ``variant`` (int, unique), ``family`` (str), ``wiring_seed`` (int), ``seed`` (int) and the value column.
        reference: family that the others are compared with.
        value: column of accuracies, as shares between 0 and 1, or of other values (see ``share``).
        seed: of the bootstrap and the random permutations; a family's numbers do not depend on the others (but for Holm's correction).
        resamples: bootstrap resamples, and random splits where they are too many to enumerate; at least 100.
        confidence: coverage of the intervals, between 0 and 1.
        share: ``False`` for values in units of their own, such as a memory capacity or an error: they may lie anywhere, and the small
            difference is one of 1 % of the reference's mean.

    Raises:
        ValueError: for a missing column, no rows, fewer than two families, an unknown reference, a repeated variant or run, an accuracy
            outside 0 to 1, or ``resamples`` or ``confidence`` out of range.
        TypeError: when ``results`` is not a DataFrame, or the values are not numbers.
    """
    check_results(results, value, share)
    families = family_names("results", results, reference)
    if len(families) < 2:
        raise ValueError(f"results must hold at least two families, got only {reference!r}; add a control family such as 'rewired'")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}; the default is 10,000")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}; give a share, such as 0.95")

    arms = {name: _Arm(results[results["family"] == name], name, value) for name in families}
    rows: list[dict[str, Any]] = []
    for name, arm in arms.items():
        resampling = {"resamples": resamples, "seed": family_seed(seed, name)}
        rows.append({"family": name, **arm.summary(confidence, resampling)})
        if name != reference:
            rows[-1] |= arm.against(arms[reference], confidence, resampling, share)

    table = pd.DataFrame(rows, columns=[*_OF_ARM, *_DIFFERENCE, *_NEEDED])
    table["p_holm"] = inference.holm(table["p"].to_numpy(dtype=np.float64))
    table = table.astype({"pairs": "Int64", "needed_observed": "Int64", "needed_small": "Int64", "p_method": object})
    return Comparison(table, _notes(table, arms, resamples, confidence, share), reference, confidence, value, share)


def check_results(results: pd.DataFrame, value: str = "accuracy", share: bool = True) -> None:
    """Check a table of one row a variant, as :func:`compare` describes it; raises what it says there about the table alone."""
    if not isinstance(results, pd.DataFrame):
        got = type(results).__name__
        raise TypeError(f"results must be a pandas DataFrame with one row a variant, got {got}; use pandas.DataFrame(rows)")
    check_columns("results", results, ("variant", "family", "wiring_seed", "seed", value))
    for column in ("variant", "family", "wiring_seed", "seed"):
        if missing := int(results[column].isna().sum()):
            raise ValueError(f"results column {column!r} must be complete, got {missing} missing; fill it in")
    check_once("results", results, ("variant",), "number the variants of several runs anew")
    check_once("results", results, ("family", "wiring_seed", "seed"), "drop the copy or use another seed: runs must be independent")
    if not pd.api.types.is_numeric_dtype(results[value]):
        raise TypeError(f"results column {value!r} must hold numbers, got {results[value].dtype}; convert it with pandas.to_numeric")
    outside = results.loc[(results[value] < 0) | (results[value] > 1), value]
    if share and len(outside):
        raise ValueError(f"results column {value!r} must lie between 0 and 1, got {outside.iloc[0]}; divide percentages by 100")


def check_columns(argument: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table that lacks one of the columns, or has no rows."""
    for column in columns:
        if column not in table.columns:
            raise ValueError(f"{argument} must have a column {column!r}, got {', '.join(map(str, table.columns)) or 'none'}; add it")
    if table.empty:
        raise ValueError(f"{argument} must hold at least one row, got none; give the table of a run")


def check_once(argument: str, table: pd.DataFrame, columns: Sequence[str], remedy: str) -> None:
    """Refuse a table with two rows that agree in all these columns."""
    repeated = table[table.duplicated(list(columns))]
    if len(repeated):
        found = ", ".join(f"{column} {repeated[column].iloc[0]}" for column in columns)
        raise ValueError(f"{argument} must differ in {', '.join(columns)} from row to row, got {found} twice; {remedy}")


def family_names(argument: str, table: pd.DataFrame, reference: str | None) -> list[str]:
    """The families of a table, the reference (if there is to be one) first and the others as they come."""
    families = [str(name) for name in table["family"].unique()]
    if reference is not None and reference not in families:
        raise ValueError(f"reference must be one of the families in {argument}, got {reference!r}; choose from {', '.join(families)}")
    return sorted(families, key=lambda name: name != reference)


class _Arm:
    """One family's runs, and the units (wirings or runs) that its statistics are made of."""

    def __init__(self, rows: pd.DataFrame, name: str, value: str) -> None:
        finished = rows[rows[value].notna()]
        runs = finished[value].to_numpy(dtype=np.float64)
        self.runs, self.stopped = len(finished), len(rows) - len(finished)
        single = name == SINGLE_WIRING or rows["wiring_seed"].nunique() == 1
        self.unit = "run" if single else "wiring"
        wirings = np.zeros(self.runs, dtype=np.int64) if single else finished["wiring_seed"].to_numpy()
        self.components = inference.variance_components(runs, wirings)
        _, group, sizes = np.unique(wirings, return_inverse=True, return_counts=True)
        self.units: Values = runs if single else np.bincount(group, weights=runs) / sizes
        self.averaged, self.uneven = len(self.units) < self.runs, len(np.unique(sizes)) > 1
        self.by_seed = rows.set_index("seed")[value].astype(np.float64)

    def summary(self, confidence: float, resampling: dict[str, Any]) -> dict[str, Any]:
        """Counts, mean and spread of the units, variances of the runs."""
        low, high = inference.bootstrap_interval(self.units, confidence=confidence, **resampling)
        mean = float(self.units.mean()) if self.runs else math.nan
        sd = float(self.units.std(ddof=1)) if len(self.units) > 1 else math.nan
        counts = {"runs": self.runs, "stopped": self.stopped, "unit": self.unit, "n": len(self.units)}
        variances = {"wiring_variance": self.components.between, "seed_variance": self.components.within}
        return {**counts, "mean": mean, "sd": sd, "low": low, "high": high, **variances}

    def against(self, base: _Arm, confidence: float, resampling: dict[str, Any], share: bool) -> dict[str, Any]:
        """Difference from ``base``, its interval and test, and the units needed; in pairs where the two arms are pairs."""
        row: dict[str, Any] = {}
        samples = [self.units, base.units]
        seeds, others = self.by_seed.index, base.by_seed.index
        same_seeds = seeds.is_unique and others.is_unique and set(seeds) == set(others)
        paired = {self.unit, base.unit} == {"run"} and same_seeds
        if paired:
            samples = [(self.by_seed.loc[others] - base.by_seed).dropna().to_numpy()]
            row["pairs"] = len(samples[0])
        fewest = min(map(len, samples))
        if not fewest:
            return row
        difference = float(samples[0].mean()) if paired else float(self.units.mean() - base.units.mean())
        row |= {"difference": difference, "delta": inference.cliffs_delta(self.units, base.units)}
        row["difference_low"], row["difference_high"] = inference.bootstrap_interval(*samples, confidence=confidence, **resampling)
        off = np.concatenate([sample - sample.mean() for sample in samples])
        freedom = len(off) - len(samples)
        sd = math.sqrt(float(off @ off) / freedom) if freedom > 0 else math.nan
        small = SMALL_DIFFERENCE if share else SMALL_SHARE * abs(float(base.units.mean()))
        for name, size in (("needed_observed", difference), ("needed_small", small)):
            row[name] = inference.runs_needed(size, sd, power=POWER, alpha=ALPHA, paired=paired)
        if fewest >= MIN_UNITS:
            test = (inference.sign_flip_test if paired else inference.permutation_test)(*samples, **resampling)
            row |= {"p": test.p, "p_smallest": test.smallest, "p_method": "exact" if test.exact else "monte carlo"}
        return row

    def __str__(self) -> str:
        return f"{len(self.units)} {self.unit}{'' if len(self.units) == 1 else 's'}"


def family_seed(seed: int, family: str) -> tuple[int, int]:
    """The random stream that :func:`compare` gives a family: the same whichever other families there are."""
    return seed, zlib.crc32(family.encode())


def units_by_family(results: pd.DataFrame, value: str = "accuracy") -> dict[str, Values]:
    """The units of :func:`compare`, by family: wirings' means, or the runs of a family with a single wiring."""
    return {str(name): _Arm(results[results["family"] == name], str(name), value).units for name in results["family"].unique()}


def _notes(table: pd.DataFrame, arms: dict[str, _Arm], resamples: int, confidence: float, share: bool) -> list[str]:
    reference = next(iter(arms))
    rows = table.set_index("family")
    unit, small = (" in percentage points (pp)", "0.1 pp") if share else ("", f"{SMALL_SHARE:.0%} of {reference}'s mean")
    notes = [f"Intervals: {100 * confidence:g} % BCa bootstrap. Differences: family minus {reference}{',' if unit else ''}{unit}."]
    if (table["n"] < 10).any():
        notes.append("Bootstrap intervals from fewer than 10 units come out too narrow: read them as a lower bound on the uncertainty.")
    notes += _unit_notes(arms, reference, share)
    pairs = rows["pairs"].dropna()
    if len(pairs):
        counts = ", ".join(f"{name} {count}" for name, count in pairs.items())
        notes.append(
            f"Compared with {reference} in pairs of runs with the same seed: {counts} pairs. Difference, interval, p and the units"
            " needed are those of the differences within pairs."
        )
    if stopped := ", ".join(f"{name} {arm.stopped} of {arm.stopped + arm.runs}" for name, arm in arms.items() if arm.stopped):
        notes.append(f"Left out, as they were stopped before they had an accuracy: {stopped}. The means describe the runs that finished.")

    tested = rows[rows["p"].notna()]
    exact, drawn = (tested[tested["p_method"] == method] for method in ("exact", "monte carlo"))
    if len(exact):
        smallest = "; ".join(f"{name} {p:.2g}" for name, p in exact["p_smallest"].items())
        signs = " (of pairs, all signs of the differences)" if exact["pairs"].notna().any() else ""
        notes.append(f"p by exact permutation of the units, all splits enumerated{signs}; the smallest attainable p: {smallest}.")
    if len(drawn):
        how = f"{resamples:,} random permutations ({', '.join(drawn.index)})"
        notes.append(f"p by {how}, counting the observed split too; the smallest attainable p: {1 / (resamples + 1):.2g}.")
    # With k families Holm multiplies the smallest p value by k, so the level to reach is that much lower.
    hopeless = tested[tested["p_smallest"] * len(tested) > ALPHA]
    if len(hopeless):
        kinds = sorted(set(hopeless["pairs"].notna()))
        fewest = " and ".join(f"{inference.smallest_testable(ALPHA / len(tested), kind)} {'pairs' if kind else 'an arm'}" for kind in kinds)
        notes.append(
            f"Too few units for any difference to be significant on its own at {ALPHA:g} after Holm's correction:"
            f" {', '.join(hopeless.index)}. At least {fewest} are needed for that."
        )
    for name, row in rows.drop(index=[reference, *tested.index]).iterrows():
        paired, needed = not pd.isna(row["pairs"]), row["needed_small"]
        each = "pairs" if paired else "an arm"
        more = "the spread is not known yet" if pd.isna(needed) else f"about {needed} {each} to detect {small}"
        notes.append(
            f"No p value for {name}: {arms[str(name)]} against {arms[reference]} of {reference}; at least {MIN_UNITS} {each} are needed "
            f"({inference.smallest_testable(ALPHA, paired)} to reach {ALPHA:g}), and {more}."
        )
    needed = rows["needed_observed"].dropna()
    if len(needed):
        counts = ", ".join(f"{name} {count:,}" for name, count in needed.items())
        notes.append(
            f"Units an arm that would detect the observed difference ({100 * POWER:g} % power, level {ALPHA:g} before Holm's correction, "
            f"normal approximation with the standard deviation, pooled or of the differences within pairs): {counts}. "
            f"The last column is the same for {small}."
        )
    return notes


def _unit_notes(arms: dict[str, _Arm], reference: str, share: bool) -> list[str]:
    scale, unit = (100, ", in pp") if share else (1, "")
    averaged, notes = {name: arm for name, arm in arms.items() if arm.averaged}, []
    if single := ", ".join(name for name, arm in arms.items() if arm.unit == "run"):
        notes.append(
            f"One wiring each: {single}. The units are runs that differ in seed alone, so the spread is training noise and the result holds"
            " for that wiring."
        )
    if averaged:
        counts = ", ".join(f"{name} {len(arm.units)}" for name, arm in averaged.items())
        notes.append(f"Several seeds share a wiring, so the units are the wirings' means, and these are permuted: {counts} wirings.")
        spread = "; ".join(
            f"{name} {scale * math.sqrt(arm.components.between):.2f} and {scale * math.sqrt(arm.components.within):.2f}"
            + (" (the former estimated below 0, set to 0)" if arm.components.truncated else "")
            for name, arm in averaged.items()
            if not math.isnan(arm.components.between)
        )
        if spread:
            notes.append(f"Standard deviation between wirings and between seeds of a wiring{unit}: {spread}.")
        if uneven := ", ".join(name for name, arm in averaged.items() if arm.uneven):
            notes.append(f"The wirings' means rest on unequal numbers of seeds, and count the same: {uneven}.")
        if arms[reference].unit == "run":
            notes.append(
                f"A mean over seeds varies less by training noise than one run of {reference} does;"
                " the permutation takes them as exchangeable."
            )
    if plain := ", ".join(name for name, arm in arms.items() if arm.unit == "wiring" and not arm.averaged):
        notes.append(f"One seed a wiring: {plain}. Their spread mixes graph and seed, which several seeds a wiring would tell apart.")
    return notes


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON takes them: plain numbers, ``None`` for what is missing."""
    return [{name: None if pd.isna(cell) else cell for name, cell in row.items()} for row in table.astype(object).to_dict("records")]
