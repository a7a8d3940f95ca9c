"""The leaderboard of WiringBench: predictions of wirings' performance from their size, their structure, and by graph networks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

import elegans_pyg as ep
from elegans_pyg._settings import Count, Names, Settings, Whole
from elegans_pyg.recipes.wiring_predictors import DETERMINISTIC, GRAPH_NETWORKS, LEARNING_RATES, MODELS, OF_MEASURES, Problem, predict_all
from elegans_pyg.studies.settings import some_of
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPLITS = ("random", "family", "size")
SCORES = ("spearman", "r2", "mae", "ceiling_share", "valid_error")
IMPORTANCE, COMPARISON = "importance.csv", "comparison.csv"
ALL = "all"
"""The mean over targets, in a table by target."""


class LeaderboardSettings(Settings):
    """The models, targets and splits."""

    group: ClassVar[str] = "WiringBench"

    targets: Names = Field((), description="Targets, such as memory (default: all ranked targets).")
    splits: Annotated[Names, Field(min_length=1), some_of(SPLITS)] = Field(
        ("random", "family"), description=f"Splits, of {', '.join(SPLITS)}."
    )
    models: Annotated[Names, Field(min_length=1), some_of(MODELS)] = Field(MODELS, description=f"Models, of {', '.join(MODELS)}.")
    seeds: Count = Field(5, description="Runs of each model that draws anything.")
    epochs: Count = Field(8, description="Passes of a graph network over the training wirings; the first is made at each learning rate.")
    batch_size: Count = Field(32, description="Wirings per step.")
    seed: Whole = Field(0, description="Base of all seeds.")


def leaderboard_units(settings: LeaderboardSettings) -> ep.studies.Units:
    """One unit per split, model, seed and target; the targets of a run are a job that is never split, since a graph network learns all of
    them at once."""
    known = ep.datasets.WiringBench.targets()
    targets = settings.targets or tuple(known.loc[known["ranked"], "target"])
    for target in targets:
        if target not in set(known["target"]):
            raise ValueError(f"targets: unknown choice {target!r}; choose from {', '.join(known['target'])}")
    if not targets:
        raise ValueError("targets: expected a ranked target, got none in this build; name some")
    rows: list[dict[str, Any]] = []
    for split in settings.splits:
        for model in settings.models:
            for number in range(1 if model in DETERMINISTIC else settings.seeds):
                seed = ep.studies.unit_seed(settings.seed, f"{split} {model}", number)
                own = {"family": model, "wiring_seed": 0, "seed": seed, "split": split, "run": number, "job": f"{split} {model} {number}"}
                rows += [{**own, "task": target} for target in targets]
    return ep.studies.Units.build(rows, [None] * len(rows))


def bench_hash(settings: LeaderboardSettings) -> dict[str, str]:
    """Hash the tables of the data set."""
    from elegans_pyg._files import data_folder, sha256

    return {path.stem: sha256(path.read_bytes()) for path in sorted(data_folder("wiringbench").glob("*.parquet"))}


@lru_cache(maxsize=4)
def _problem(targets: tuple[str, ...], split: str) -> Problem:
    import numpy as np

    table = ep.datasets.WiringBench.table
    wirings, results, measures = table("wirings"), table("results"), table("measures")
    means = results.groupby(["number", "target"], observed=True)["value"].mean().unstack("target")
    part = wirings[f"split_{split}"].to_numpy()
    return Problem(
        means.reindex(wirings["number"])[list(targets)].to_numpy(float),
        {name: np.flatnonzero(part == name) for name in ("train", "valid", "test")},
        measures.drop(columns="number"),
        _graphs,
    )


@lru_cache(maxsize=1)
def _graphs() -> list[Any]:
    from elegans_pyg.datasets.wiringbench.dataset import all_wirings

    return all_wirings()


def measure(settings: LeaderboardSettings, shard: Shard) -> pd.DataFrame:
    """Score one model on the test part, one row per target, with its squared error on the validation part relative to the variance
    there."""
    import pandas as pd

    from elegans_pyg.datasets.wiringbench import Evaluator

    first, targets = shard.units.iloc[0], tuple(shard.units["task"])
    problem = _problem(targets, first["split"])
    predicted = predict_all(first["family"], problem, int(first["seed"]), settings.epochs, settings.batch_size)
    scores = []
    for place, target in enumerate(targets):
        valid, test = problem.known("valid", place), problem.known("test", place)
        own = {"y_true": problem.values[test, place, None], "y_pred": predicted.values[test, place, None]}
        known = problem.values[valid, place]
        error = ((predicted.values[valid, place] - known) ** 2).mean() / known.var()
        scores.append({**Evaluator(target).eval(own), "valid_error": error, "tested": len(test), "chosen": predicted.chosen[place]})
    if predicted.importance is not None:
        table = pd.DataFrame(predicted.importance, columns=list(targets)).assign(measure=list(problem.measures), split=first["split"])
        shard.write(IMPORTANCE, table)
    return shard.units.join(pd.DataFrame(scores, index=shard.units.index))


def compare(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare graph networks with models of measures, by split and target, and over all targets: of each side the model with the smallest
    validation error, the mean over runs of its share of the ceiling on the test part, and the difference with Welch's 95 % interval over
    runs, NaN for a single one. Without models of both sides the table is empty."""
    import pandas as pd

    table = []
    for split, own in rows.groupby("split", sort=False):
        errors = own.pivot_table(index="task", columns="family", values="valid_error", sort=False)
        # A model that draws nothing has one run, which stands for all.
        shares = own.pivot(index=["family", "task"], columns="run", values="ceiling_share").ffill(axis=1)
        sides = [errors.columns.intersection(names) for names in (GRAPH_NETWORKS, OF_MEASURES)]
        if not all(map(len, sides)):
            continue
        chosen = [errors[names].idxmin(axis=1) for names in sides]
        network, other = (shares.loc[list(zip(best, best.index, strict=True))].droplevel("family") for best in chosen)
        for target in errors.index:
            names = {"network": chosen[0][target], "other": chosen[1][target]}
            table.append({"split": split, "target": target, **names, **_difference(network.loc[target], other.loc[target])})
        table.append({"split": split, "target": ALL, "network": "chosen", "other": "chosen", **_difference(network.mean(), other.mean())})
    return pd.DataFrame(table)


def _difference(network: pd.Series, other: pd.Series) -> dict[str, float]:
    import numpy as np
    from scipy.stats import t

    from elegans_pyg.analysis.power import welch

    half, runs = np.nan, len(network)
    if runs > 1:
        error, freedom = welch([network.var(), other.var()], [runs, runs])
        half = float(t.ppf(0.975, freedom)) * error
    difference = network.mean() - other.mean()
    ends = {"low": difference - half, "high": difference + half}
    return {"network_share": network.mean(), "other_share": other.mean(), "difference": difference, **ends, "runs": runs}


def answers(comparison: pd.DataFrame) -> list[str]:
    """Say in words how graph networks compare with measures; without a verdict where an interval includes 0."""
    said = []
    for split, own in comparison.groupby("split", sort=False):
        own = own.set_index("target")
        mean, own = own.loc[ALL], own.drop(ALL)
        interval = f" (95 % over runs: {mean['low']:+.2f} to {mean['high']:+.2f})" if mean["runs"] > 1 else ""
        verdict = "; graph networks predict better" if mean["low"] > 0 else "; measures predict better" if mean["high"] < 0 else ""
        said.append(
            f"{split} split: graph networks reach {mean['network_share']:.2f} of the ceiling, mean over {len(own)} targets, and models of"
            f" measures {mean['other_share']:.2f}, a difference of {mean['difference']:+.2f}{interval}{verdict}."
        )
        for side, better in (("Graph networks", own["low"] > 0), ("Measures", own["high"] < 0)):
            if better.any():
                said.append(f"{side} predict better by target, {split} split: {', '.join(own.index[better])}.")
    return said


def share_figure(rows: pd.DataFrame) -> Figure:
    """Draw the share of the ceiling, mean over targets, of every model and split, with its 95 % interval (t) over runs."""
    import pandas as pd
    from scipy.stats import t

    runs = rows.groupby(["split", "family", "run"], sort=False)["ceiling_share"].mean().groupby(["split", "family"], sort=False)
    mean, half = runs.mean(), runs.sem() * t.ppf(0.975, runs.size() - 1)
    table = pd.DataFrame({"value": mean, "low": mean - half, "high": mean + half}).reset_index()
    table["kind"] = table["family"].isin(GRAPH_NETWORKS).map({True: "graph networks", False: "size and measures"})
    table = table.assign(panel=table["split"] + " split", row=table["family"])
    drawn = ep.plots.value_intervals(table, "share of the ceiling, mean over targets")
    return ep.plots.titled(drawn, "WiringBench: predictions from size, measures (ridge, forest) and graph networks")


def report(done: Finished[LeaderboardSettings]) -> Report:
    """Report Spearman's correlation of every model by target and split, the measures that the forest uses most, and how graph networks
    compare with measures."""
    import pandas as pd

    from elegans_pyg._files import parse_csv

    rows, settings = done.rows, done.settings
    targets, tables = list(dict.fromkeys(rows["task"])), list[Any]()
    board = rows.groupby(["split", "family", "task"], sort=False)[list(SCORES)].agg(["mean", "std"])
    board.columns = ["_".join(column) for column in board.columns]
    board = board.reset_index().rename(columns={"family": "model", "task": "target"})
    for split in settings.splits:
        own = board[board["split"] == split].set_index(["model", "target"])
        cells = []
        for model in settings.models:
            found = own.loc[model]
            shown = [ep.studies.mean_and_sd(found.loc[target, "spearman_mean"], found.loc[target, "spearman_std"], 2) for target in targets]
            cells.append((model, *shown, f"{found['ceiling_share_mean'].mean():.2f}"))
        title = f"Spearman's correlation on the test part, {split} split (mean ± SD over runs)"
        tables.append(ep.studies.make_table(title, ("model", *targets, "share of ceiling"), cells))
    comparison = compare(rows)
    answer, notes = answers(comparison) if len(comparison) else [], _notes(settings, rows)
    files: dict[str, Any] = {"leaderboard.csv": board}
    if len(comparison):
        files[COMPARISON] = comparison
        tables.append(comparison_table(comparison))
    found = [parse_csv((folder / IMPORTANCE).read_bytes()) for folder in done.shards if (folder / IMPORTANCE).is_file()]
    if found:
        importance = pd.concat(found).groupby("measure", sort=False)[targets].mean()
        files[IMPORTANCE] = importance.reset_index()
        for target in targets:
            top = importance[target].nlargest(5)
            listed = ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in top.items())
            notes.append(f"{target}: most important in the forest: {listed}.")
    return Report(tables, [*answer, *notes], files, {"leaderboard": share_figure(rows)}, answer=answer)


def comparison_table(comparison: pd.DataFrame) -> Any:
    """The table of :func:`compare` for a reader."""
    cells = []
    for row in comparison.itertuples():
        interval = f" ({row.low:+.2f} to {row.high:+.2f})" if row.runs > 1 else ""
        shares = f"{row.network} {row.network_share:.2f}", f"{row.other} {row.other_share:.2f}"
        cells.append((row.split, row.target, *shares, f"{row.difference:+.2f}{interval}"))
    headings = ("split", "target", "graph network", "measures", "difference (95 % over runs)")
    return ep.studies.make_table("Share of the ceiling: graph network and model of measures chosen by validation error", headings, cells, 2)


def _notes(settings: LeaderboardSettings, rows: pd.DataFrame) -> list[str]:
    notes = [
        "Share of ceiling: Spearman's correlation divided by the square root of the target's reliability over all wirings, mean over"
        " targets; that of a test part may exceed 1.",
        "Penalty, leaves, learning rate and epoch were chosen on the validation part, and so was the model that stands for its side."
        " Intervals are over runs on the same wirings, and do not say how other test wirings would do; those of single targets are not"
        " corrected for their number.",
    ]
    chosen = rows.loc[rows["family"].isin(GRAPH_NETWORKS)].drop_duplicates(["split", "family", "run"])["chosen"]
    if len(chosen):
        last = int(chosen.str.endswith(f"epoch {settings.epochs}").sum())
        rates = " and ".join(f"{rate:g}" for rate in LEARNING_RATES)
        notes.append(
            f"Graph networks: {settings.epochs} epochs with batches of {settings.batch_size}, the first at learning rates of {rates}, the"
            f" others at the better one; in {last} of {len(chosen)} runs the last epoch was the best."
        )
    return notes


WIRINGBENCH: Study[LeaderboardSettings] = Study(
    "reproduce wiringbench",
    LeaderboardSettings,
    leaderboard_units,
    measure,
    report,
    data=bench_hash,
    score="spearman",
    processes=True,
    together="job",
    text="""The leaderboard of WiringBench: mean, size, structural measures (ridge, random forest) and graph networks, by split.""",
    quick="One seed, three graph networks, two epochs: under four minutes.",
    short={"seeds": 1, "epochs": 2, "models": ("mean", "size", "ridge", "forest", "gin", "gcn", "dir-gnn")},
)
