#!/usr/bin/env python3
"""Writes the tables and the figure of docs/what_is_the_wiring_for.md from the files of the registered runs.

    python scripts/answer_page.py --runs runs     # takes over what finished runs found, into docs/evidence/
    python scripts/answer_page.py                 # writes the page's tables and its figure from docs/evidence/

The runs are those of docs/preregistration.md, each under the name that its command gives it.
"""

from __future__ import annotations

import argparse
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg import analysis, plots, studies
from elegans_pyg._files import write_atomic
from elegans_pyg.analysis.answers import answers
from elegans_pyg.datasets import Connectome
from elegans_pyg.datasets.sequences import METRICS, SEQUENCE_TASKS
from elegans_pyg.recipes import elegans_echo, time_tasks
from elegans_pyg.studies.tables import between_marks, to_markdown
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG

ROOT = Path(__file__).parent.parent
EVIDENCE = ROOT / "docs" / "evidence"
PAGE = ROOT / "docs" / "what_is_the_wiring_for.md"
FIGURE = EVIDENCE / "what_is_the_wiring_for"

UNIT = ["variant", "family", "wiring_seed", "seed"]
TABLES: dict[str, dict[str, list[str] | None]] = {
    "digits-d": {"results.csv": [*UNIT, "accuracy"]},
    "digits-r": {"results.csv": [*UNIT, "accuracy"]},
    "fashion-f": {"results.csv": [*UNIT, "accuracy"]},
    "time-reservoirs": {"results.csv": [*UNIT, "task", "score"]},
    "time-trained": {"results.csv": [*UNIT, "task", "score"]},
    "signal-propagation": {"tests.csv": None, "ceilings.csv": None},
    "signal-simulation": {"tests.csv": None},
    "structure": {"scores.csv": None},
}
"""Of each run, the tables that the page needs, and their columns (all of them without a list)."""
PICTURES = {"digits-d": "digits", "fashion-f": "Fashion-MNIST"}
MARGIN = 0.003
TIME = {"time-reservoirs": ("reservoir", elegans_echo.MARGINS), "time-trained": ("trained", time_tasks.MARGINS)}
PRIMARY = "type_rewired"
NETWORKS = {"reservoir": "reservoirs with a trained readout", "trained": "every synapse trained"}
CLAIMS = {
    "matters": "the wiring matters.",
    "does not matter": "the wiring does not matter.",
    "neither": "neither that the wiring matters nor that it does not can be claimed.",
}
"""What was registered to be said: the first if the primary family differs in a task, the second if it is equal in every task."""
FREEDOMS = {"none": "nothing fitted", "global": "8 numbers fitted", "class": "4 more per class", "edge": "1 more per edge"}


def take_over(runs: Path) -> list[str]:
    """Copy the tables of the runs in this folder that are finished, and note what made them; returns their names."""
    known, taken = origins(), []
    for name, files in TABLES.items():
        if not (runs / name / "summary.json").exists():
            continue
        run = studies.load_run(runs / name)
        for file, columns in files.items():
            table = run.folder.read_table(file)
            write_atomic(EVIDENCE / name / file, (table if columns is None else table[columns]).to_csv(index=False).encode())
        known[name] = {"units": run.summary["units"], **run.summary["machine"]}
        if "claims" in run.summary:
            known[name]["claims"] = run.summary["claims"]
        taken.append(name)
    write_atomic(EVIDENCE / "runs.json", (json.dumps(known, indent=1) + "\n").encode())
    return taken


def origins() -> dict[str, Any]:
    """Of each run that was taken over: machine, versions and number of units."""
    file = EVIDENCE / "runs.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def evidence(name: str, file: str = "results.csv") -> pd.DataFrame:
    return pd.read_csv(EVIDENCE / name / file)


@lru_cache
def pictures(name: str) -> analysis.Comparison:
    """The comparison of the families of a run on images."""
    return analysis.compare(evidence(name), margin=MARGIN)


@lru_cache
def time(name: str) -> dict[str, pd.DataFrame]:
    """The table of a comparison for each task of a run on tasks in time. Effects are above zero, and ranks low, where the connectome is
    better, also where less of a score is better."""
    results, found = evidence(name), {}
    for task, rows in results.groupby("task", sort=False):
        table = analysis.compare(rows, value="score", share=False, margin=TIME[name][1][task]).table
        if not more_is_better(task):
            table = table.assign(effect=-table["effect"], effect_low=-table["effect_high"], effect_high=-table["effect_low"])
            table = table.assign(rank=table["n"] + 2 - table["rank"])
        found[task] = table
    return found


def more_is_better(task: str) -> bool:
    return task == "digits" or METRICS[SEQUENCE_TASKS[task][1]][1]


def signals(name: str, **wanted: str) -> pd.DataFrame:
    """Tests of the real wiring's area under the curve among its nulls; intervals are those over folds."""
    tests = evidence(name, "tests.csv")
    for column, value in {"value": "auc", **wanted}.items():
        tests = tests[tests[column] == value]
    return tests.assign(effect_low=tests["fold_low"], effect_high=tests["fold_high"])


def effects() -> pd.DataFrame:
    """What the figure shows: ``panel``, ``row``, ``family``, ``effect``, ``effect_low``, ``effect_high``, for the runs that there are."""
    known, parts = origins(), []

    def add(panel: str, row: str, table: pd.DataFrame) -> None:
        table = table.dropna(subset=["effect"])
        parts.append(table[["family", "effect", "effect_low", "effect_high"]].assign(panel=panel, row=row))

    for name, images in PICTURES.items():
        if name in known:
            add("Pictures", images, pictures(name).table)
    for name, (network, _) in TIME.items():
        for task, table in time(name).items() if name in known else ():
            add("Time", f"{task}, {network}", table)
    for freedom, text in FREEDOMS.items() if "signal-propagation" in known else ():
        own = signals("signal-propagation", freedom=freedom, arm="both", holdout="neurons", strain="wild-type")
        add("The worm's own signals", text, own)
    return pd.concat(parts, ignore_index=True)


def table(headings: list[str], rows: list[list[str]], left: int = 1) -> str:
    return to_markdown(studies.make_table("", headings, rows, left=left))


def p_text(p: float) -> str:
    return studies.MISSING if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else f"{p:.0e}" if p >= 1e-6 else "< 1e-6"


def comparison_cells(row: Any, scale: float, digits: int) -> list[str]:
    """Difference with its interval, p that it differs, p that it is equal, verdict, rank, effect with its interval, p of the rank."""
    low, high = scale * row.difference_low, scale * row.difference_high
    return [
        f"{scale * row.difference:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})",
        *(p_text(row.p_holm), p_text(row.p_equal_holm), f"**{row.verdict}**"),
        f"{row.rank} of {row.n + 1}",
        f"{row.effect:+.2f} ({row.effect_low:+.2f} to {row.effect_high:+.2f})",
        p_text(row.p_rank_holm),
    ]


COMPARED = ["family minus connectome", "p", "p equal", "verdict", "rank", "effect, SD of wirings", "p of the rank"]
"""Headings of :func:`comparison_cells`; all p with Holm's correction over families. Effects above zero: the connectome is better."""


def answer_text() -> str:
    """A sentence for each question whose run there is."""
    known, lines = origins(), []
    for name, images in PICTURES.items():
        if name in known:
            # The first sentence sums up the families, whose table is below.
            sentence, *_ = answers(pictures(name), "the worm's wiring", images)
            lines.append(f"- **Pictures:** {sentence}")
    if "digits-r" in known:
        *_, (_, _, _, share) = repeats_rows(evidence("digits-r"))
        lines.append(f"- **Pictures,** single runs: the share of the variance of accuracy on digits that is the wiring's is {share}.")
    for name, (network, _) in TIME.items():
        if name in known:
            lines.append(f"- **Time ({NETWORKS[network]}):** {registered_answer(name)}")
    if "signal-propagation" in known:
        own = signals("signal-propagation", freedom="none", arm="both", holdout="neurons", strain="wild-type")
        clear = own[own["p_holm"] <= analysis.ALPHA]
        lines.append(
            f"- **The worm's own signals:** without fitted parameters, the real wiring says who responds (AUC {own['real'].iloc[0]:.3f})"
            f" better than {len(clear)} of {len(own)} families do (their means {own['mean'].min():.3f} to {own['mean'].max():.3f}, p up to"
            f" {p_text(clear['p_holm'].max())}), by {clear['effect'].min():.1f} to {clear['effect'].max():.1f} standard deviations."
        )
        other = signals("signal-propagation", freedom="none", arm="both", holdout="neurons", strain="unc-31")
        strength = signals("signal-propagation", freedom="none", arm="both", holdout="neurons", strain="wild-type", value="r_significant")
        lines.append(
            f"- **Not shown:** that it does so in animals of the strain unc-31 (AUC {spread(other)}), nor that it says how strongly a"
            f" neuron responds (r {spread(strength)})."
        )
    if "signal-simulation" in known:
        own = signals("signal-simulation", freedom="none", strain="wild-type", holdout="neurons")
        found = [
            f"with {r.arm} {r.real:.3f} against {r.mean:.3f} ± {r.sd:.3f} (rank {r.rank} of {r.wirings + 1})" for r in own.itertuples()
        ]
        lines.append(
            f"- **The simulated worm,** an exploratory study without fitted parameters: AUC {', '.join(found)}, real wiring against"
            " rewired ones."
        )
    missing = [name for name in TABLES if name not in known]
    if missing:
        lines.append(f"\nNot run yet: {', '.join(f'`{name}`' for name in missing)}.")
    return "\n".join(lines)


def spread(tests: pd.DataFrame) -> str:
    """The real wiring's value, the range of the families' means, and for how many it was shown to be higher."""
    shown, p = tests["p_holm"] <= analysis.ALPHA, f"p {p_text(tests['p_holm'].min())} to {p_text(tests['p_holm'].max())}"
    means = f"means of the nulls {tests['mean'].min():.3f} to {tests['mean'].max():.3f}"
    return f"{tests['real'].iloc[0]:.3f}, {means}, {p}; shown for {shown.sum()} of {len(tests)} families"


def registered_answer(name: str) -> str:
    """What the registration lets be said of a run on tasks in time."""
    different, equal, level = [], [], analysis.ALPHA / len(TIME[name][1])
    for task, compared in time(name).items():
        primary = compared.set_index("family").loc[PRIMARY]
        if primary["p_holm"] <= level:
            better = "better" if primary["effect"] > 0 else "worse"
            different.append(f"{task} ({better}, p {p_text(primary['p_holm'])})")
        if primary["verdict"] == "equal":
            equal.append(task)
    found = "matters" if different else "does not matter" if len(equal) == len(TIME[name][1]) else "neither"
    against = f"From `{PRIMARY}`, the primary family, the connectome differs at the registered level of {level:.4f} in"
    return (
        f"{CLAIMS[found]} {against} {', '.join(different) or 'no task'}; it is equal within the margin in {', '.join(equal) or 'no task'}."
    )


def pictures_text() -> str:
    blocks = []
    for name, images in PICTURES.items():
        if name not in origins():
            continue
        rows = []
        for row in pictures(name).table.itertuples():
            mean = f"{100 * row.mean:.2f} ± {100 * row.sd:.2f}"
            cells = comparison_cells(row, 100, 2) if row.family != "connectome" else [""] * len(COMPARED)
            rows.append([f"`{row.family}`", f"{row.n} {row.unit}s", mean, *cells])
        blocks.append(f"**{images}**, test accuracy in %, differences in percentage points, margin {100 * MARGIN:g}:\n")
        blocks.append(table(["family", "units", "mean ± SD", *COMPARED], rows))
        blocks.append(f"DAGs, means of edges, output nodes and levels: {dag_sizes(evidence(name))}.\n")
    if "digits-r" in origins():
        blocks.append(repeats_text(evidence("digits-r")))
    return "\n".join(blocks) or "Not run yet."


def dag_sizes(results: pd.DataFrame) -> str:
    """What the DAGs of each family have on average, made again from the seeds of their wirings."""
    base, parts = Connectome("cook2019-hermaphrodite", synapses="chemical")[0], []
    for family, seeds in results.groupby("family", sort=False)["wiring_seed"].unique().items():
        rewiring = FAMILIES[family].rewiring
        dags = [ConstrainedDAG()(base if rewiring is None else rewiring(seed=int(seed))(base)) for seed in seeds]
        sizes = np.mean([(dag.num_edges, int(dag.output_mask.sum()), int(dag.level.max()) + 1) for dag in dags], axis=0)
        parts.append(f"`{family}` {', '.join(f'{size:,.0f}' for size in sizes)}")
    return "; ".join(parts)


def repeats_rows(results: pd.DataFrame) -> list[list[str]]:
    """How much of the variance of single runs is between wirings of one family; the last row is of all families."""
    rows = []
    for family, own in [*results.groupby("family", sort=False), ("all, family means taken out", results)]:
        wirings = own["family"] + "/" + own["wiring_seed"].astype(str)
        found = analysis.variance_components(own["accuracy"].to_numpy(), wirings, own["family"])
        low, high = found.icc_interval()
        spread = [f"{100 * np.sqrt(part):.2f}" for part in (found.between, found.within)]
        rows.append([family if own is results else f"`{family}`", *spread, f"{found.icc:.2f} ({low:.2f} to {high:.2f})"])
    return rows


def repeats_text(results: pd.DataFrame) -> str:
    runs = f"{len(results)} runs of {results.groupby(['family', 'wiring_seed']).ngroups} wirings"
    intro = f"**What a single run on digits owes to its wiring**, {runs}, standard deviations in percentage points:\n\n"
    headings = ["family", "between wirings", "between runs of one", "share of the variance (95 %)"]
    return intro + table(headings, repeats_rows(results))


def time_text() -> str:
    blocks = []
    for name, (network, margins) in TIME.items():
        if name not in origins():
            continue
        rows = []
        for task, compared in time(name).items():
            digits = 3 if compared["mean"].abs().max() < 1 else 2
            for row in compared.itertuples():
                mean = f"{row.mean:.{digits}f} ± {row.sd:.{digits}f}"
                cells = comparison_cells(row, 1, digits) if row.family != "connectome" else [""] * len(COMPARED)
                label = f"{task}, {'more' if more_is_better(task) else 'less'} is better, margin {margins[task]:g}"
                rows.append([label if row.family == "connectome" else "", f"`{row.family}`", str(row.n), mean, *cells])
        blocks += [f"**{NETWORKS[network].capitalize()}:**\n", table(["task", "family", "units", "mean ± SD", *COMPARED], rows, left=2)]
    return "\n".join(blocks) or "Not run yet."


def signals_text() -> str:
    blocks = []
    if "signal-propagation" in origins():
        for strain in ("wild-type", "unc-31"):
            rows = []
            for freedom, text in FREEDOMS.items():
                own = signals("signal-propagation", freedom=freedom, arm="both", holdout="neurons", strain=strain)
                for row in own.itertuples():
                    rows.append([text if row.Index == own.index[0] else "", *_rank_cells(row)])
            blocks += [f"**{strain.replace('-type', ' type')}**, stimulated neurons held out:\n", table(["fitted", *RANKED], rows, left=2)]
        blocks += [goals_text(), sets_text(), distances_text(), pairs_text()]
    if "signal-simulation" in origins():
        rows = []
        for strain in ("wild-type", "unc-31"):
            tests = signals("signal-simulation", strain=strain, holdout="neurons")
            for (membrane, freedom), own in tests.groupby(["arm", "freedom"], sort=False):
                text = {"none": "nothing fitted, five folds", "conductances": "4 conductances, the held-out fold"}[str(freedom)]
                rows += [[f"{membrane}, {text}", strain, *_rank_cells(row)] for row in own.itertuples()]
        blocks += ["**The simulated worm** (exploratory; 20 nulls allow no p below 0.048):\n"]
        blocks += [table(["membrane", "strain", *RANKED], rows, left=3)]
    return "\n".join(blocks) or "Not run yet."


def goals_text() -> str:
    """All scores of the real wiring on the wild type beside their noise ceilings."""
    rows, scores = [], ("auc", "ap", "r", "r_significant")
    for freedom, text in FREEDOMS.items():
        found = {
            score: signals("signal-propagation", freedom=freedom, arm="both", holdout="neurons", strain="wild-type", value=score)
            for score in scores
        }
        rows.append([text, *(f"{own['real'].iloc[0]:.3f} ({(own['p_holm'] <= analysis.ALPHA).sum()})" for own in found.values())])
    names = {"halves": "ceiling, from odd and even trials", "half": "half of the trials, which are part of all", "other": "unc-31 instead"}
    for row in evidence("signal-propagation", "ceilings.csv").to_dict("records"):
        pairs = f"{names[row['by']]} ({row['pairs']:,} pairs)"
        rows.append([pairs, *(f"{row[score]:.3f}" if np.isfinite(row[score]) else studies.MISSING for score in scores)])
    headings = ["fitted", "AUC", "average precision", "r, all pairs", "r, pairs that respond"]
    return (
        "**All scores and their ceilings,** wild type; in brackets, of how many of the five families it was shown to be better:\n\n"
        + table(headings, rows)
    )


def summary_cells(tests: pd.DataFrame) -> list[str]:
    """The real value, the range of the families' means and of the effects, the families shown to be worse, and those mostly better."""
    (low, high), effect, p = tests["mean"].agg(["min", "max"]), tests["effect"], tests["p_holm"]
    return [
        *(f"{tests['real'].iloc[0]:.3f}", f"{low:.3f} to {high:.3f}", f"{effect.min():+.1f} to {effect.max():+.1f}"),
        f"{(p <= analysis.ALPHA).sum()} of {len(p)}, p {p_text(p.min())} to {p_text(p.max())}",
        ", ".join(f"`{row.family}`" for row in tests.itertuples() if row.rank > 1 + row.wirings / 2) or "none",
    ]


SUMMARY = ["AUC, real wiring", "means of the families", "effects", "better than", "below half of"]
"""Headings of :func:`summary_cells`."""


def sets_text() -> str:
    rows = [
        [arm, strain, *summary_cells(signals("signal-propagation", freedom="none", arm=arm, holdout="neurons", strain=strain))]
        for arm in ("chemical", "electrical", "both", "extrasynaptic")
        for strain in ("wild-type", "unc-31")
    ]
    return "**Sets of synapses** (exploratory but `both`), nothing fitted:\n\n" + table(["synapses", "strain", *SUMMARY], rows, left=2)


def distances_text() -> str:
    rows = []
    for number in (1, 2, 3):
        own = signals("signal-propagation", freedom="none", arm="both", holdout="neurons", strain="wild-type", value=f"auc_{number}")
        rows.append([f"{number}", *summary_cells(own)])
    return "**Pairs by distance** (exploratory), nothing fitted, wild type:\n\n" + table(["synapses apart", *SUMMARY], rows)


def pairs_text() -> str:
    rows = [
        [text, *summary_cells(signals("signal-propagation", freedom=freedom, arm="both", holdout="pairs", strain="wild-type"))]
        for freedom, text in FREEDOMS.items()
        if freedom != "none"
    ]
    return "**Pairs held out** (exploratory; 19 nulls of each family allow no corrected p below 0.25), wild type:\n\n" + table(
        ["fitted", *SUMMARY], rows
    )


RANKED = ["nulls", "AUC, real wiring", "AUC, nulls", "rank", "p", "effect, SD of nulls"]


def _rank_cells(row: Any) -> list[str]:
    interval = f" ({row.effect_low:+.1f} to {row.effect_high:+.1f})" if np.isfinite(row.effect_low) else ""
    return [
        f"`{row.family}`",
        *(f"{row.real:.3f}", f"{row.mean:.3f} ± {row.sd:.3f}", f"{row.rank} of {row.wirings + 1}", p_text(row.p_holm)),
        f"{row.effect:+.1f}{interval}",
    ]


def structure_text() -> str:
    if "structure" not in origins():
        return "Not run yet."
    scores, rows = evidence("structure", "scores.csv"), []
    for name, own in scores.groupby("connectome", sort=False):
        tested = own[own["p"].notna()]
        far = tested.reindex(tested["z"].abs().sort_values(ascending=False).index).head(4)
        unusual = f"{int((tested['p_holm'] <= analysis.ALPHA).sum())} of {len(tested)}"
        rows.append([f"`{name}`", unusual, ", ".join(f"{each.measure} {each.z:+.0f}" for each in far.itertuples())])
    degrees = {"rewired": "degrees kept", "random_rewired": "degrees lost"}
    found = origins()["structure"]["claims"]
    claims = [[f"`{each['connectome']}`", degrees[each["family"]], each["text"], each["verdict"]] for each in found]
    measured = table(["connectome", "measures not due to chance", "farthest (SD of graphs with the same degrees)"], rows, left=3)
    return measured + "\n" + table(["connectome", "edges redrawn with", "claim", "answer"], claims, left=4)


def machines_text() -> str:
    rows = []
    for name, known in origins().items():
        versions = ", ".join(f"{each} {known['versions'][each]}" for each in ("elegans-pyg", "torch", "torch-geometric", "numpy"))
        rows.append([f"`runs/{name}`", f"{known['units']:,}", known["processor"], versions])
    return table(["run", "units", "processor", "versions"], rows, left=1) if rows else "None yet."


def texts() -> dict[str, str]:
    return {
        "answer": answer_text(),
        "pictures": pictures_text(),
        "time": time_text(),
        "signals": signals_text(),
        "structure": structure_text(),
        "machines": machines_text(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="folder of run folders; without it, what docs/evidence/ has is used")
    options = parser.parse_args()
    if options.runs is not None:
        print("taken over:", ", ".join(take_over(options.runs)) or "none")
    write_atomic(PAGE, between_marks(PAGE.read_text(encoding="utf-8"), texts()).encode())
    plots.save(plots.effect_panels(effects()), FIGURE)
    print(PAGE, FIGURE)


if __name__ == "__main__":
    main()
