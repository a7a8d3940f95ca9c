"""The leaderboard of WiringBench: predictions of wirings' performance from their size, their structure, and by graph networks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

import elegans_pyg as ep
from elegans_pyg._settings import Count, Names, Settings, Whole
from elegans_pyg.recipes.wiring_predictors import GRAPH_NETWORKS, MODELS, Problem, predict_all
from elegans_pyg.studies.settings import some_of
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("random", "family", "size")
SCORES = ("spearman", "r2", "mae", "ceiling_share")
IMPORTANCE = "importance.csv"


class LeaderboardSettings(Settings):
    """The models, targets and splits."""

    group: ClassVar[str] = "WiringBench"

    targets: Names = Field((), description="Targets, such as memory (default: all ranked targets).")
    splits: Annotated[Names, Field(min_length=1), some_of(SPLITS)] = Field(
        ("random", "family"), description=f"Splits, of {', '.join(SPLITS)}."
    )
    models: Annotated[Names, Field(min_length=1), some_of(MODELS)] = Field(MODELS, description=f"Models, of {', '.join(MODELS)}.")
    seeds: Count = Field(5, description="Runs of each model.")
    steps: Count = Field(120, description="Training steps of a graph network at each learning rate.")
    batch_size: Count = Field(32, description="Wirings per step.")
    seed: Whole = Field(0, description="Base of all seeds.")


def leaderboard_units(settings: LeaderboardSettings) -> ep.studies.Units:
    """One unit per split, model, seed and target; the targets are one job, since a graph network learns all of them at once."""
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
            for number in range(settings.seeds):
                seed = ep.studies.unit_seed(settings.seed, f"{split} {model}", number)
                own = {"family": model, "wiring_seed": 0, "seed": seed, "split": split, "job": f"{split} {model} {number}"}
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
    """Score one model on the test part, one row per target."""
    import pandas as pd

    from elegans_pyg.datasets.wiringbench import Evaluator

    first, targets = shard.units.iloc[0], tuple(shard.units["task"])
    problem = _problem(targets, first["split"])
    predicted = predict_all(first["family"], problem, int(first["seed"]), settings.steps, settings.batch_size)
    scores = []
    for place, target in enumerate(targets):
        test = problem.known("test", place)
        own = {"y_true": problem.values[test, place, None], "y_pred": predicted.values[test, place, None]}
        scores.append({**Evaluator(target).eval(own), "tested": len(test), "chosen": predicted.chosen[place]})
    if predicted.importance is not None:
        table = pd.DataFrame(predicted.importance, columns=list(targets)).assign(measure=list(problem.measures), split=first["split"])
        shard.write(IMPORTANCE, table)
    return shard.units.join(pd.DataFrame(scores, index=shard.units.index))


def report(done: Finished[LeaderboardSettings]) -> Report:
    """Report Spearman's correlation of every model by target and split, the measures that the forest uses most, and whether graph networks
    predict better."""
    import pandas as pd

    from elegans_pyg._files import parse_csv

    rows, settings = done.rows, done.settings
    targets, tables, notes, answer = list(dict.fromkeys(rows["task"])), list[Any](), list[str](), list[str]()
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
        title = f"Spearman's correlation on the test part, {split} split (mean ± SD over seeds)"
        tables.append(ep.studies.make_table(title, ("model", *targets, "share of ceiling"), cells))
        answer += _graph_networks_or_measures(own["ceiling_share_mean"], split, settings.models)
    found = [parse_csv((folder / IMPORTANCE).read_bytes()) for folder in done.shards if (folder / IMPORTANCE).is_file()]
    files: dict[str, Any] = {"leaderboard.csv": board}
    if found:
        importance = pd.concat(found).groupby("measure", sort=False)[targets].mean()
        files[IMPORTANCE] = importance.reset_index()
        for target in targets:
            top = importance[target].nlargest(5)
            notes.append(
                f"{target}: most important in the forest: {', '.join(f'{name} ({100 * share:.0f} %)' for name, share in top.items())}."
            )
    notes.append("Share of ceiling: Spearman's correlation divided by the square root of the target's reliability, mean over targets.")
    notes.append("Penalty, leaves, learning rate and step were chosen on the validation part.")
    measured = [*answer, "These are means over seeds; no difference was tested."] if answer else []
    return Report(tables, [*answer, *notes], files, answer=measured)


def _graph_networks_or_measures(shares: pd.Series, split: str, models: tuple[str, ...]) -> list[str]:
    means = shares.groupby(level="model").mean()
    networks, tabular = ([name for name in models if name in names] for names in (GRAPH_NETWORKS, ("ridge", "forest")))
    if not networks or not tabular:
        return []
    network, other = (max(names, key=means.__getitem__) for names in (networks, tabular))
    verdict = "better" if means[network] > means[other] else "no better"
    best = f"the best graph network ({network}, {means[network]:.2f} of the ceiling)"
    return [f"{split} split: {best} predicts {verdict} than the measures do ({other}, {means[other]:.2f})."]


WIRINGBENCH: Study[LeaderboardSettings] = Study(
    "reproduce wiringbench",
    LeaderboardSettings,
    leaderboard_units,
    measure,
    report,
    data=bench_hash,
    score="spearman",
    processes=True,
    text="""The leaderboard of WiringBench: mean, size, structural measures (ridge, random forest) and graph networks, by split.""",
    quick="One seed, three graph networks, few steps: under four minutes.",
    short={"seeds": 1, "steps": 24, "models": ("mean", "size", "ridge", "forest", "gin", "gcn", "dir-gnn")},
)
