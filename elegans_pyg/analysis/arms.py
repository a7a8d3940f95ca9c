"""Checks of tables of results, and arms: the runs of one family, and the units that its statistics are made of."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg._progress import counted
from elegans_pyg.analysis import inference
from elegans_pyg.analysis.inference import Values
from elegans_pyg.analysis.variance_components import variance_components


def check_results(results: pd.DataFrame, value: str = "accuracy", share: bool = True) -> None:
    """Check a table of one row per variant; raises as :func:`~elegans_pyg.analysis.compare` does for its table."""
    if not isinstance(results, pd.DataFrame):
        got = type(results).__name__
        raise TypeError(f"results must be a pandas DataFrame with one row per variant, got {got}; use pandas.DataFrame(rows)")
    check_columns("results", results, ("variant", "family", "wiring_seed", "seed", value))
    for column in ("variant", "family", "wiring_seed", "seed"):
        if missing := int(results[column].isna().sum()):
            raise ValueError(f"results column {column!r} must be complete, got {missing} missing; fill it in")
    check_once("results", results, ("variant",), "number the variants of several runs consecutively")
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
    """Families of a table, the reference (if there is to be one) first and the others in order of appearance."""
    families = [str(name) for name in table["family"].unique()]
    if reference is not None and reference not in families:
        raise ValueError(f"reference must be one of the families in {argument}, got {reference!r}; choose from {', '.join(families)}")
    return sorted(families, key=lambda name: name != reference)


class Arm:
    """The runs of one family, and the units (wirings or runs) that its statistics are made of.

    Attributes:
        runs, stopped: numbers of runs with a value and without one.
        unit: ``"wiring"``, or ``"run"`` for a family with a single wiring.
        units: the value of each: the mean over the seeds of a wiring, or the run's.
        by_wiring: the values of the runs of each wiring.
        components: variances of the runs, see :mod:`elegans_pyg.analysis.variance_components`.
        averaged, uneven: whether some wirings have several seeds, and whether they have different numbers of them.
    """

    def __init__(self, rows: pd.DataFrame, value: str) -> None:
        finished = rows[rows[value].notna()]
        runs = finished[value].to_numpy(dtype=np.float64)
        self.runs, self.stopped = len(finished), len(rows) - len(finished)
        single = rows["wiring_seed"].nunique() == 1
        self.unit = "run" if single else "wiring"
        wirings = np.zeros(self.runs, dtype=np.int64) if single else finished["wiring_seed"].to_numpy()
        self.components = variance_components(runs, wirings)
        _, group, sizes = np.unique(wirings, return_inverse=True, return_counts=True)
        self.units: Values = runs if single else np.bincount(group, weights=runs) / sizes
        self.by_wiring: list[Values] = [runs[group == number] for number in range(len(sizes))]
        self.averaged, self.uneven = len(self.units) < self.runs, len(np.unique(sizes)) > 1
        self._by_seed = rows.set_index(["seed"] if single else ["wiring_seed", "seed"])[value].astype(np.float64)

    def summary(self, confidence: float, resampling: dict[str, Any]) -> dict[str, Any]:
        """Counts, mean and spread of the units, variances of the runs."""
        low, high = inference.bootstrap_interval(self.units, confidence=confidence, **resampling)
        mean = float(self.units.mean()) if self.runs else math.nan
        sd = float(self.units.std(ddof=1)) if len(self.units) > 1 else math.nan
        counts = {"runs": self.runs, "stopped": self.stopped, "unit": self.unit, "n": len(self.units)}
        found = self.components
        variances = {"wiring_variance": found.between, "seed_variance": found.within}
        correlation = dict(zip(("icc", "icc_low", "icc_high"), (found.icc, *found.icc_interval(confidence)), strict=True))
        return {**counts, "mean": mean, "sd": sd, "low": low, "high": high, **variances, **correlation}

    def paired_differences(self, base: Arm) -> Values | None:
        """Differences from the runs of ``base`` that have the same seed, if each run has such a partner; else ``None``.

        If both families have a single wiring, two runs with the same seed are a pair. If both have several, the runs of a pair also have
        the same wiring seed, and the differences are averaged over the seeds of a wiring. Pairs that lack a value are left out.
        """
        mine, other = self._by_seed, base._by_seed
        unique = mine.index.is_unique and other.index.is_unique
        if self.unit != base.unit or not unique or set(mine.index) != set(other.index):
            return None
        gaps = (mine.reindex(other.index) - other).dropna()
        return np.asarray(gaps if self.unit == "run" else gaps.groupby(level=0, sort=False).mean(), dtype=np.float64)

    def __str__(self) -> str:
        return counted(len(self.units), self.unit)


def family_seed(seed: int, family: str) -> tuple[int, int]:
    """Seed of the random stream that :func:`compare` uses for a family, whichever other families there are."""
    return seed, zlib.crc32(family.encode())


def units_by_family(results: pd.DataFrame, value: str = "accuracy") -> dict[str, Values]:
    """The units of :func:`compare`, by family: means of wirings, or the runs of a family with a single wiring."""
    return {str(name): Arm(results[results["family"] == name], value).units for name in results["family"].unique()}


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON takes them: plain numbers, and ``None`` for missing values."""
    return [{name: None if pd.isna(cell) else cell for name, cell in row.items()} for row in table.astype(object).to_dict("records")]
