"""How structure relates to learning: measures of wirings against the accuracies of the networks built from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg._arguments import check_seed
from elegans_pyg.analysis.arms import check_columns, plain_rows
from elegans_pyg.analysis.grouped_models import cross_validate
from elegans_pyg.analysis.inference import TIE, holm
from elegans_pyg.analysis.power import ALPHA, POWER
from elegans_pyg.analysis.rank_correlation import RankTest, fewest_pairs, pairs_needed, rank_correlations, rho_interval, smallest_rho

FOLDS, REPEATS = 5, 5
MEDIUM = 0.5
"""The correlation that a run should be able to find; with too few wirings for it, the notes say how many are needed."""


@dataclass(frozen=True)
class Relation:
    """Result of :func:`relate`; :mod:`elegans_pyg.studies.tables` shows it.

    Attributes:
        table: one row per measure, the strongest correlation first. Columns: ``measure``; ``n`` (wirings), ``rho`` (Spearman, over the
            wirings), ``low`` and ``high`` (95 %), ``p``, ``p_holm``, ``p_smallest`` (attainable), ``needed`` (wirings needed to find this
            ``rho``); the same within families: ``n_within``, ``rho_within``, ``p_within``, ``p_within_holm``, ``p_within_smallest``; and
            ``ridge`` and ``forest``, the weights and importance of :class:`~elegans_pyg.analysis.grouped_models.ModelScores`.
        models: its ``models``. Without rows, and ``ridge`` and ``forest`` are missing, if there are too few wirings.
        notes: what is needed to read the tables, one or two sentences each.
        value: name of the column that was related to the measures.
    """

    table: pd.DataFrame
    models: pd.DataFrame
    notes: list[str]
    value: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content: plain numbers, ``None`` for what is missing."""
        measures, models = plain_rows(self.table), plain_rows(self.models)
        return {"value": self.value, "measures": measures, "models": models, "notes": list(self.notes)}


def relate(
    variants: pd.DataFrame, measures: Sequence[str], value: str = "accuracy", *, seed: int = 0, resamples: int = 10_000, quiet: bool = True
) -> Relation:
    """Relate the measures of wirings to what the networks built from them achieve.

    The unit of the correlations is the wiring: the runs that share one have the same measures, so they are averaged first. Spearman's
    correlation and its permutation p are given over all wirings, and within families, where differences between families do not contribute
    (:func:`~elegans_pyg.analysis.rank_correlation.rank_correlations`); Holm's correction is over the measures. With 10 wirings or more, a
    ridge regression and a random forest predict the value of each run from all measures together; they are tested on wirings that they have
    not seen, against the mean of the family alone (:func:`~elegans_pyg.analysis.grouped_models.cross_validate`).

    Measures that are the same for all wirings, or missing for some, are left out and named in the notes. Runs without a value are left out.
    With too few wirings to find a correlation of 0.5 (at level 0.05, Holm's correction included, with 80 % power), the notes say how many
    are needed; with fewer than 5 there is no p value.

    Args:
        variants: one row per run: ``wiring`` (identifies the wiring, equal for its runs), ``family``, the value, the measures.
        measures: columns that hold the measures.
        value: column of what was achieved, in any unit.
        seed, resamples: of the permutations, folds and forests; random permutations if there are too many to enumerate, at least 100.
        quiet: show no progress on standard error.

    Raises:
        ValueError: for a missing column, no rows, no measures, a wiring whose runs differ in a measure, or ``resamples`` or ``seed`` out of
            range.
        TypeError: if a measure or the value is not a number.
    """
    _check(variants, measures, value, resamples)
    check_seed(seed)
    finished = variants[variants[value].notna()]
    units = finished.groupby(["wiring", "family"], sort=False, as_index=False).agg({value: "mean", **dict.fromkeys(measures, "first")})
    notes = [_count_note(variants, finished, units, value)]
    incomplete = [name for name in measures if units[name].isna().any()]
    # Measures that are equal can differ in the last bits, since sums are in the order of the wiring's edges.
    spread, size = units[[*measures]].agg(np.ptp), units[[*measures]].abs().max().clip(lower=1.0)
    constant = [name for name in measures if name not in incomplete and spread[name] <= TIE * size[name]]
    used = [name for name in measures if name not in incomplete and name not in constant]
    left_out = ((incomplete, "missing for some wirings"), (constant, "the same for all wirings"))
    notes += [f"Measures left out, as they are {why}: {', '.join(names)}." for names, why in left_out if names]

    columns, values = units[used].to_numpy(dtype=np.float64), units[value].to_numpy(dtype=np.float64)
    families = pd.factorize(units["family"])[0].astype(np.int64)
    overall = rank_correlations(columns, values, resamples=resamples, seed=[seed, 0])
    within = rank_correlations(columns, values, families, resamples=resamples, seed=[seed, 1])
    in_groups = int(units["family"].map(units["family"].value_counts()).gt(1).sum())
    table = pd.DataFrame({"measure": used, "n": len(units)})
    table["rho"] = overall.rho
    table[["low", "high"]] = [rho_interval(rho, len(units)) for rho in overall.rho] if used else np.empty((0, 2))
    _add_p(table, overall, "p", len(units))
    table["needed"] = pd.array([pairs_needed(rho, power=POWER, alpha=ALPHA / len(used)) for rho in overall.rho], dtype="Int64")
    table["n_within"] = in_groups
    # Two wirings of a family can only agree or disagree, so a few of them tell nothing.
    table["rho_within"] = within.rho if in_groups >= fewest_pairs(ALPHA) else math.nan
    _add_p(table, within, "p_within", in_groups)
    table["ridge"], table["forest"] = math.nan, math.nan

    models = pd.DataFrame(columns=["model", "q2", "q2_sd", "rank", "error"])
    wirings = finished["wiring"].nunique()
    if wirings >= 2 * FOLDS and used and np.ptp(finished[value]) > TIE:
        arrays = (finished[names].to_numpy(dtype=np.float64) for names in (used, value))
        groups = (pd.factorize(finished[name])[0].astype(np.int64) for name in ("wiring", "family"))
        scores = cross_validate(*arrays, *groups, folds=FOLDS, repeats=REPEATS, seed=seed, quiet=quiet)
        table["ridge"], table["forest"] = scores.weights, scores.importance
        models = scores.models
        notes.append(
            f"Models: {REPEATS} times {FOLDS}-fold cross-validation with all runs of a wiring in one fold; Q² is the share of the variance"
            " between runs that is predicted; SD over the repeats. Measures say more than the family only if ridge or forest beat it."
        )
    table = table.iloc[np.argsort(-table["rho"].abs().fillna(0).to_numpy(), kind="stable")].reset_index(drop=True)
    several = families.max(initial=0) > 0 and in_groups >= fewest_pairs(ALPHA)
    notes += [*_test_notes(overall, within, several), *_power_notes(units, wirings, used, models)]
    return Relation(table, models, notes, value)


def _add_p(table: pd.DataFrame, test: RankTest, name: str, units: int) -> None:
    enough = units >= fewest_pairs(ALPHA)
    table[name] = test.p if enough else math.nan
    table[f"{name}_holm"] = holm(table[name].to_numpy(dtype=np.float64))
    table[f"{name}_smallest"] = test.smallest if enough else math.nan


def _check(variants: pd.DataFrame, measures: Sequence[str], value: str, resamples: int) -> None:
    if not measures or isinstance(measures, str):
        raise ValueError(f"measures: expected the names of at least one column, got {measures!r}; give a list")
    check_columns("variants", variants, ("wiring", "family", value, *measures))
    for column in (value, *measures):
        if not pd.api.types.is_numeric_dtype(variants[column]):
            got = variants[column].dtype
            raise TypeError(f"variants column {column!r} must hold numbers, got {got}; convert it with pandas.to_numeric")
    if not variants[value].notna().any():
        raise ValueError(f"variants column {value!r} must hold at least one number, got none; give runs that finished")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}; the default is 10,000")
    spread = variants.groupby("wiring")[list(measures)].agg(np.ptp)
    scale = variants[list(measures)].abs().max().clip(lower=1.0)
    off = (spread > 1e-9 * scale).any()
    if off.any():
        name = off[off].index[0]
        wiring = (spread[name] > 1e-9 * scale[name]).idxmax()
        got = f"{name!r} of wiring {wiring} differing"
        raise ValueError(f"variants must give a wiring's runs the same measures, got {got}; measure it once")


def _count_note(variants: pd.DataFrame, finished: pd.DataFrame, units: pd.DataFrame, value: str) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in units["family"].value_counts(sort=False).items())
    stopped = len(variants) - len(finished)
    left_out = f"; {stopped} more left out, because they stopped before they had one" if stopped else ""
    units_are = f"The units are the {len(units)} wirings ({counts})"
    return f"{len(finished)} runs with {value}{left_out}. {units_are}: the runs of a wiring have the same measures and are averaged."


def _test_notes(overall: RankTest, within: RankTest, several: bool) -> list[str]:
    def how(test: RankTest) -> str:
        orders = f"{test.orders:,}"
        return f"all {orders} orders enumerated" if test.exact else f"{orders} random orders, smallest p {1 / (test.orders + 1):.1g}"

    notes = [f"rho: Spearman's correlation over wirings; two-sided permutation p ({how(overall)})."]
    if several:
        notes.append(
            f"rho within families: ranks within each family, permuted within it ({how(within)}). Families differ in many measures at once,"
            " so a correlation that vanishes within families may be due to any of these."
        )
    return [*notes, "p (Holm) is corrected for the number of measures. Correlation is not causation: measures are correlated."]


def _power_notes(units: pd.DataFrame, wirings: int, used: list[str], models: pd.DataFrame) -> list[str]:
    if not used:
        return ["No measure differs between these wirings, so there is nothing to relate: train several families, or more of one."]
    level = ALPHA / len(used)
    needed = pairs_needed(MEDIUM, power=POWER, alpha=level)
    where = f"α = {ALPHA:g}/{len(used)} measures, power {POWER:.0%}; Bonett & Wright 2000"
    formula = f"n = 3 + (1 + ρ²/2)((z(1-α/2) + z(power))/artanh ρ)², {where}"
    found = smallest_rho(len(units), power=POWER, alpha=level)
    notes = [f"{len(units)} wirings find a correlation of {found:.2f} or more after Holm's correction ({formula})."]
    if needed is not None and len(units) < needed:
        finds = "" if math.isnan(found) else f"; {len(units)} find one of {found:.2f} or more"
        few = f"Too few wirings: {len(units)}, and {needed} are needed to find a correlation of {MEDIUM:g}"
        notes = [f"{few} after Holm's correction{finds} ({formula})."]
    if len(units) < fewest_pairs(ALPHA):
        notes.append(f"No p values: {len(units)} wirings, and at least {fewest_pairs(ALPHA)} are needed to reach {ALPHA:g} at all.")
    if not len(models) and wirings < 2 * FOLDS:
        notes.append(f"No models: {wirings} wirings, and at least {2 * FOLDS} are needed, two in each of {FOLDS} folds.")
    elif not len(models):
        notes.append("No models: all runs have the same value.")
    return notes
