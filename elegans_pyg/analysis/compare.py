"""Does the connectome's wiring matter? Families of wirings against a reference, as a table with its caveats."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from elegans_pyg.analysis.inference import (
    Permutation,
    Values,
    bootstrap_interval,
    cliffs_delta,
    holm,
    permutation_test,
    runs_needed,
    smallest_testable,
    variance_components,
)

MIN_UNITS = 3
ALPHA, POWER = 0.05, 0.8
SMALL_DIFFERENCE = 0.001
"""The difference users care about: 0.1 percentage points."""

SINGLE_WIRING = "connectome"
"""The family whose variants all share one wiring, whatever their wiring seeds."""

HEADINGS = ("family", "runs", "accuracy %", "interval %", "diff.\npp", "interval pp", "p", "p (Holm)", "Cliff δ", "n for\n0.1 pp")
SMALL_SHARE = 0.01
"""For values that are no shares: the difference users care about, as a share of the reference's mean."""


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare`: prints through rich, and turns into text, Markdown or JSON.

    Attributes:
        table: one row a family, the reference first. Accuracies are shares (0 to 1); what does not exist is missing. Columns: ``family``,
            ``runs`` (finished), ``stopped`` (left out), ``unit`` (``"run"`` or ``"wiring"``), ``n`` (units), ``mean``, ``sd``, ``low`` and
            ``high`` (of the units), ``difference`` (from the reference), ``difference_low``, ``difference_high``, ``p``, ``p_holm``,
            ``p_smallest`` (attainable), ``p_method`` (``"exact"`` or ``"monte carlo"``), ``delta`` (Cliff), ``wiring_variance``,
            ``seed_variance``, ``needed_observed`` and ``needed_small`` (units an arm that would detect the observed difference, and 0.1
            percentage points).
        notes: what a reader has to know to read the table, one sentence or two each.
        reference: family that the others are compared with.
        confidence: coverage of the intervals.
        value: what was compared.
        share: whether it is a share (0 to 1), shown in percent.
    """

    table: pd.DataFrame
    notes: list[str]
    reference: str
    confidence: float
    value: str = "accuracy"
    share: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe content: plain numbers, ``None`` for what is missing."""
        columns = {name: [_plain(value) for value in self.table[name]] for name in self.table.columns}
        families = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"reference": self.reference, "confidence": self.confidence, "families": families, "notes": list(self.notes)}

    def to_markdown(self) -> str:
        """A GitHub table, and the notes as a list."""
        lines = ["| " + " | ".join(self._headings()).replace("\n", " ") + " |", "| --- |" + " ---: |" * (len(HEADINGS) - 1)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self._rows()]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def to_text(self, width: int = 120) -> str:
        """The table and the notes as plain text, ``width`` columns wide."""
        buffer = StringIO()
        Console(file=buffer, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(self)
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"

    def __rich__(self) -> Group:
        table = Table(
            title=f"{self.value[:1].upper()}{self.value[1:]} by family, compared with {self.reference}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1),
        )
        for heading in self._headings():
            table.add_column(Text(heading), justify="left" if heading == "family" else "right", overflow="fold")
        for row in self._rows():
            table.add_row(*map(Text, row))
        notes = Table.grid(padding=(0, 1), pad_edge=False, collapse_padding=True)
        for note in self.notes:
            notes.add_row(Text("•"), Text(note))
        return Group(table, notes)

    def _headings(self) -> tuple[str, ...]:
        if self.share:
            return (*HEADINGS[:2], f"{self.value} %", *HEADINGS[3:])
        return (*HEADINGS[:2], self.value, "interval", "diff.", "interval", *HEADINGS[6:9], f"n for\n{SMALL_SHARE:.0%}")

    def _rows(self) -> list[tuple[str, ...]]:
        scale, digits = (100, 2) if self.share else (1, 3)
        rows: list[tuple[str, ...]] = []
        for row in self.to_dict()["families"]:
            spread = "" if row["sd"] is None else f" ± {scale * row['sd']:.{digits}f}"
            rows.append(
                (
                    row["family"],
                    str(row["runs"]),
                    _scaled(row["mean"], scale, digits) + spread,
                    _range(row["low"], row["high"], scale, digits),
                    _scaled(row["difference"], scale, digits, "+"),
                    _range(row["difference_low"], row["difference_high"], scale, digits, "+"),
                    _p_value(row["p"]),
                    _p_value(row["p_holm"]),
                    "–" if row["delta"] is None else f"{row['delta']:+.2f}",
                    "–" if row["needed_small"] is None else str(row["needed_small"]),
                )
            )
        return rows


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
    for that one wiring. Runs without a value (``nan``: variants that were stopped) are left out and counted.

    Per family: mean and standard deviation (n - 1) of the units, BCa bootstrap intervals (Efron 1987), a two-sided permutation test on the
    difference of means (exact up to 200,000 splits), Holm's correction over the families, Cliff's delta, one-way random-effects variance of
    wiring and seed, and the units an arm that would detect the observed difference and one of 0.1 percentage points (80 % power, level
    0.05 before Holm's correction, normal approximation with the pooled standard deviation). Fewer than 3 units in an arm get no p value.
    See :mod:`elegans_pyg.analysis.inference` for each method, its equation and its source.

    Args:
        results: one row a variant: ``variant`` (int, unique), ``family`` (str), ``wiring_seed`` (int), ``seed`` (int) and the value column.
        reference: family that the others are compared with.
        value: column of accuracies, as shares between 0 and 1, or of other values (see ``share``).
        seed: of the bootstrap and of the random permutations; a family's numbers do not depend on which other families are present
            (but for Holm's correction).
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
    families = [str(name) for name in results["family"].unique()]
    if reference not in families:
        raise ValueError(f"reference must be one of the families in results, got {reference!r}; choose from {', '.join(families)}")
    if len(families) < 2:
        raise ValueError(f"results must hold at least two families, got only {reference!r}; add a control family such as 'rewired'")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}; the default is 10,000")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}; give a share, such as 0.95")

    families.sort(key=lambda name: name != reference)  # stable: the reference first, the others as they came
    arms = {name: _Arm(results[results["family"] == name], name, value) for name in families}
    base = arms[reference]
    rows: list[dict[str, Any]] = []
    tests: dict[str, Permutation] = {}
    for name, arm in arms.items():
        key = family_seed(seed, name)
        low, high = bootstrap_interval(arm.units, confidence=confidence, resamples=resamples, seed=key)
        row = {
            "family": name,
            "runs": arm.runs,
            "stopped": arm.stopped,
            "unit": arm.unit,
            "n": len(arm.units),
            "mean": float(arm.units.mean()) if arm.runs else math.nan,
            "sd": float(arm.units.std(ddof=1)) if len(arm.units) > 1 else math.nan,
            "low": low,
            "high": high,
        }
        if name != reference:
            row |= _against(arm, base, confidence, resamples, key, share)
            if min(len(arm.units), len(base.units)) >= MIN_UNITS:
                test = tests[name] = permutation_test(arm.units, base.units, resamples=resamples, seed=key)
                row |= {"p": test.p, "p_smallest": test.smallest, "p_method": "exact" if test.exact else "monte carlo"}
        rows.append(row | {"wiring_variance": arm.components.between, "seed_variance": arm.components.within})

    columns = [
        "family",
        "runs",
        "stopped",
        "unit",
        "n",
        "mean",
        "sd",
        "low",
        "high",
        "difference",
        "difference_low",
        "difference_high",
        "p",
    ]
    columns += ["p_holm", "p_smallest", "p_method", "delta", "wiring_variance", "seed_variance", "needed_observed", "needed_small"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=np.float64))
    table = table.astype({"needed_observed": "Int64", "needed_small": "Int64", "p_method": object})
    notes = _notes(table, arms, tests, reference, resamples, confidence, share)
    return Comparison(table, notes, reference, confidence, value, share)


def check_results(results: pd.DataFrame, value: str = "accuracy", share: bool = True) -> None:
    """Check a table of one row a variant, as :func:`compare` describes it; raises what it says there about the table alone."""
    if not isinstance(results, pd.DataFrame):
        raise TypeError(
            f"results must be a pandas DataFrame with one row a variant, got {type(results).__name__}; use pandas.DataFrame(rows)"
        )
    for column in ("variant", "family", "wiring_seed", "seed", value):
        if column not in results.columns:
            raise ValueError(f"results must have a column {column!r}, got {', '.join(map(str, results.columns)) or 'none'}; add it")
    if results.empty:
        raise ValueError("results must hold at least one row, got none; give the runs to compare")
    for column in ("variant", "family", "wiring_seed", "seed"):
        if results[column].isna().any():
            raise ValueError(f"results column {column!r} must be complete, got {int(results[column].isna().sum())} missing; fill it in")
    repeated = results.loc[results["variant"].duplicated(), "variant"]
    if len(repeated):
        raise ValueError(
            f"results must hold each variant once, got variant {repeated.iloc[0]} again; number the variants of several runs anew"
        )
    repeated = results[results.duplicated(["family", "wiring_seed", "seed"])]
    if len(repeated):
        run = repeated.iloc[0]
        raise ValueError(
            f"results must hold independent runs, got family {run['family']!r}, wiring_seed {run['wiring_seed']}, seed {run['seed']} "
            "twice; drop the copy or use another seed"
        )
    if not pd.api.types.is_numeric_dtype(results[value]):
        raise TypeError(f"results column {value!r} must hold numbers, got {results[value].dtype}; convert it with pandas.to_numeric")
    outside = results.loc[(results[value] < 0) | (results[value] > 1), value]
    if share and len(outside):
        raise ValueError(f"results column {value!r} must lie between 0 and 1, got {outside.iloc[0]}; divide percentages by 100")


class _Arm:
    """One family's runs, and the units (wirings or runs) that its statistics are made of."""

    def __init__(self, rows: pd.DataFrame, name: str, value: str) -> None:
        finished = rows[rows[value].notna()]
        runs = finished[value].to_numpy(dtype=np.float64)
        self.runs = len(finished)
        self.stopped = len(rows) - len(finished)
        single = name == SINGLE_WIRING or rows["wiring_seed"].nunique() == 1
        self.unit = "run" if single else "wiring"
        wirings = np.zeros(self.runs, dtype=np.int64) if single else finished["wiring_seed"].to_numpy()
        self.components = variance_components(runs, wirings)
        _, group, sizes = np.unique(wirings, return_inverse=True, return_counts=True)
        self.units: Values = runs if single else np.bincount(group, weights=runs) / sizes
        self.seeds: tuple[int, int] = (int(sizes.min()), int(sizes.max())) if not single and self.runs else (1, 1)


def family_seed(seed: int, family: str) -> tuple[int, int]:
    """The random stream that :func:`compare` gives a family: the same whichever other families there are."""
    return seed, zlib.crc32(family.encode())


def units_by_family(results: pd.DataFrame, value: str = "accuracy") -> dict[str, Values]:
    """The units that :func:`compare` reckons with, by family: wirings' means, or the runs of a family with a single wiring."""
    return {str(name): _Arm(results[results["family"] == name], str(name), value).units for name in results["family"].unique()}


def _against(arm: _Arm, base: _Arm, confidence: float, resamples: int, key: Sequence[int], share: bool) -> dict[str, Any]:
    if not (arm.runs and base.runs):
        return {}
    difference = float(arm.units.mean() - base.units.mean())
    small = SMALL_DIFFERENCE if share else SMALL_SHARE * abs(float(base.units.mean()))
    low, high = bootstrap_interval(arm.units, base.units, confidence=confidence, resamples=resamples, seed=key)
    freedom = len(arm.units) + len(base.units) - 2
    squares = sum(float(np.sum((units - units.mean()) ** 2)) for units in (arm.units, base.units))
    sd = math.sqrt(squares / freedom) if freedom else math.nan
    return {
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "delta": cliffs_delta(arm.units, base.units),
        "needed_observed": runs_needed(difference, sd, power=POWER, alpha=ALPHA),
        "needed_small": runs_needed(small, sd, power=POWER, alpha=ALPHA),
    }


def _notes(
    table: pd.DataFrame,
    arms: dict[str, _Arm],
    tests: dict[str, Permutation],
    reference: str,
    resamples: int,
    confidence: float,
    share: bool,
) -> list[str]:
    unit, small = (" in percentage points (pp)", "0.1 pp") if share else ("", f"{SMALL_SHARE:.0%} of {reference}'s mean")
    base = arms[reference]
    others = {name: arm for name, arm in arms.items() if name != reference}
    notes = [f"Intervals: {100 * confidence:g} % BCa bootstrap. Differences: family minus {reference}{',' if unit else ''}{unit}."]
    if any(len(arm.units) < 10 for arm in arms.values()):
        notes.append("Bootstrap intervals from fewer than 10 units come out too narrow: read them as a lower bound on the uncertainty.")
    notes += _unit_notes(arms, reference, share)
    stopped = {name: arm for name, arm in arms.items() if arm.stopped}
    if stopped:
        counts = ", ".join(f"{name} {arm.stopped} of {arm.stopped + arm.runs}" for name, arm in stopped.items())
        notes.append(f"Left out, as they were stopped before they had an accuracy: {counts}. The means describe the runs that finished.")

    exact = [name for name, test in tests.items() if test.exact]
    if exact:
        smallest = "; ".join(f"{name} {tests[name].smallest:.2g}" for name in exact)
        notes.append(f"p by exact permutation of the units, all splits enumerated; the smallest attainable p: {smallest}.")
    if len(exact) < len(tests):
        names = ", ".join(name for name in tests if name not in exact)
        smallest = f"{1 / (resamples + 1):.2g}"
        notes.append(
            f"p by {resamples:,} random permutations ({names}), counting the observed split too; the smallest attainable p: {smallest}."
        )
    # With k families Holm multiplies the smallest p value by k, so the level to reach is that much lower.
    hopeless = [name for name, test in tests.items() if test.smallest * len(tests) > ALPHA]
    if hopeless:
        fewest = smallest_testable(ALPHA / len(tests))
        notes.append(
            f"Too few units for any difference to be significant on its own at {ALPHA:g} after Holm's correction: {', '.join(hopeless)}. "
            f"At least {fewest} an arm are needed for that."
        )
    for name, arm in others.items():
        if name in tests:
            continue
        needed = table.loc[table["family"] == name, "needed_small"].iloc[0]
        more = "the spread is not known yet" if pd.isna(needed) else f"about {needed} an arm to detect {small}"
        notes.append(
            f"No p value for {name}: {_count(arm)} against {_count(base)} of {reference}; at least {MIN_UNITS} an arm are needed "
            f"({smallest_testable(ALPHA)} to reach {ALPHA:g}), and {more}."
        )
    observed = table.dropna(subset=["needed_observed"])
    if len(observed):
        counts = ", ".join(f"{name} {needed:,}" for name, needed in zip(observed["family"], observed["needed_observed"], strict=True))
        notes.append(
            f"Units an arm that would detect the observed difference ({100 * POWER:g} % power, level {ALPHA:g} before Holm's correction, "
            f"normal approximation with the pooled standard deviation): {counts}. The last column is the same for {small}."
        )
    return notes


def _unit_notes(arms: dict[str, _Arm], reference: str, share: bool) -> list[str]:
    scale, unit = (100, ", in pp") if share else (1, "")
    notes = []
    single = [name for name, arm in arms.items() if arm.unit == "run"]
    if single:
        notes.append(
            f"One wiring each: {', '.join(single)}. The units are runs that differ in seed alone, so the spread is training noise and "
            "the result holds for that wiring."
        )
    averaged = [name for name, arm in arms.items() if arm.seeds[1] > 1]
    plain = [name for name, arm in arms.items() if arm.unit == "wiring" and arm.seeds[1] == 1]
    if averaged:
        counts = ", ".join(f"{name} {len(arms[name].units)}" for name in averaged)
        notes.append(f"Several seeds share a wiring, so the units are the wirings' means, and these are permuted: {counts} wirings.")
        spread = "; ".join(
            f"{name} {scale * math.sqrt(arms[name].components.between):.2f} and {scale * math.sqrt(arms[name].components.within):.2f}"
            + (" (the former estimated below 0, set to 0)" if arms[name].components.truncated else "")
            for name in averaged
            if not math.isnan(arms[name].components.between)
        )
        if spread:
            notes.append(f"Standard deviation between wirings and between seeds of a wiring{unit}: {spread}.")
        uneven = [name for name in averaged if arms[name].seeds[0] != arms[name].seeds[1]]
        if uneven:
            notes.append(f"The wirings' means rest on unequal numbers of seeds, and count the same: {', '.join(uneven)}.")
        if arms[reference].unit == "run":
            notes.append(
                f"A mean over seeds varies less by training noise than one run of {reference} does; "
                "the permutation takes them as exchangeable."
            )
    if plain:
        notes.append(
            f"One seed a wiring: {', '.join(plain)}. Their spread mixes graph and seed, which several seeds a wiring would tell apart."
        )
    return notes


def _count(arm: _Arm) -> str:
    return f"{len(arm.units)} {arm.unit}{'' if len(arm.units) == 1 else 's'}"


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _scaled(value: float | None, scale: int, digits: int, sign: str = "") -> str:
    return "–" if value is None else f"{scale * value:{sign}.{digits}f}"


def _range(low: float | None, high: float | None, scale: int, digits: int, sign: str = "") -> str:
    return "–" if low is None else f"{_scaled(low, scale, digits, sign)}{', ' if sign else '–'}{_scaled(high, scale, digits, sign)}"


def _p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
