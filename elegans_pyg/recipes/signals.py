"""Shared by the studies of the worm's signals: the pairs of the atlas in folds, scores of predictions, tests and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

import elegans_pyg as ep
from elegans_pyg._files import data_folder, sha256
from elegans_pyg._settings import Names, Settings, Whole
from elegans_pyg.recipes.ensemble import REFERENCE
from elegans_pyg.studies.study import Shard

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from torch_geometric.data import Data

    from elegans_pyg.models.linear_propagation import Measured

STRAINS, HOLDOUTS = ("wild-type", "unc-31"), ("neurons", "pairs")
STEPS = 3
"""Path lengths that are scored separately."""
ARM = ["freedom", "arm", "holdout", "strain"]
"""Columns that identify a test; an arm is a set of synapses, or a membrane."""


class SignalSettings(Settings):
    """The pairs of neurons, and how they are held out."""

    group: ClassVar[str] = "Signals"

    folds: int = Field(5, ge=3, le=20, description="Parts of the pairs: each is held out once, while the next one is for validation.")
    at_least: int = Field(2, ge=1, le=255, description="Smallest number of observations of a pair.")
    without: Names = Field(("AWC",), description="Neurons, or classes of them, to leave out.")
    pharynx: bool = Field(False, description="Keep the 20 pharyngeal neurons of a named connectome, or of a membrane's wiring.")
    seed: Whole = Field(0, description="Base of the seeds of wirings and folds.")


@dataclass(frozen=True)
class Atlas:
    """Measurements of the ``P`` pairs that are used in at least one strain.

    Attributes:
        measured: measurements by strain; pairs that are not used in a strain have amplitude and weight 0.
        tested: by strain, which pairs are used, ``(P,)`` bool.
        fold: by what is held out, each pair's fold, ``(P,)``.
        halves: amplitudes in two halves of the wild type's trials, ``(P,)`` each, NaN where there is none.
    """

    measured: dict[str, Measured]
    tested: dict[str, Tensor]
    fold: dict[str, Tensor]
    halves: tuple[Tensor, Tensor]


def seen(strain: str, wiring: Data, at_least: int) -> Data:
    """The atlas in the order of a wiring's neurons."""
    return ep.datasets.SignalPropagation(strain).align(wiring, at_least)


def pairs_of(settings: SignalSettings, wiring: Data) -> Atlas:
    """The pairs of a wiring's neurons, and their folds, which depend only on ``seed`` and on the pairs measured.

    Raises:
        ValueError: if ``without`` has another name than those of the wiring's neurons, their classes, and its default.
    """
    import numpy as np
    import torch

    from elegans_pyg.models.linear_propagation import Measured
    from elegans_pyg.nn.recurrent.sharing import neuron_classes

    both = list(zip(wiring.neuron_name, neuron_classes(wiring.neuron_name), strict=True))
    # The default, two neurons that the atlas cannot tell apart, need not be in every wiring.
    if unknown := set(settings.without) - {name for pair in both for name in pair} - {*SignalSettings.model_fields["without"].default}:
        raise ValueError(f"without: expected neurons of the wiring, or classes such as {both[0][1]}, got {min(unknown)!r}; correct it")
    known = torch.tensor([not set(settings.without).intersection(pair) for pair in both])
    strains = {strain: seen(strain, wiring, settings.at_least) for strain in STRAINS}
    masks = {strain: own.pair_mask & known[:, None] & known[None, :] for strain, own in strains.items()}
    source, neuron = torch.stack(list(masks.values())).any(0).nonzero().T
    stimulated, row = source.unique(return_inverse=True)
    tested = {strain: mask[source, neuron] for strain, mask in masks.items()}

    def values(strain: str, name: str, empty: float) -> Tensor:
        return strains[strain][name][source, neuron].float().where(tested[strain], torch.tensor(empty))

    def measured(strain: str) -> Measured:
        responds = values(strain, "q", 1.0) < 0.05
        return Measured(stimulated, row, neuron, responds, values(strain, "dff", 0.0), values(strain, "count", 0.0))

    rng = np.random.default_rng(ep.studies.unit_seed(settings.seed, "folds", 0))
    turns = torch.from_numpy(rng.permutation(len(stimulated))) % settings.folds
    fold = {"neurons": turns[row], "pairs": torch.from_numpy(rng.permutation(len(row))) % settings.folds}
    halves = values(STRAINS[0], "dff_odd", torch.nan), values(STRAINS[0], "dff_even", torch.nan)
    return Atlas({strain: measured(strain) for strain in STRAINS}, tested, fold, halves)


def path_steps(atlas: Atlas, wiring: Data) -> Any:
    """Number of edges on the shortest path of every pair in a wiring, an array ``(P,)``; infinity where there is no path."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    ends, size, pairs = wiring.edge_index.numpy(), len(wiring.neuron_name), atlas.measured[STRAINS[0]]
    lengths = shortest_path(coo_array((np.ones(ends.shape[1]), ends), shape=(size, size)).tocsr(), unweighted=True)
    return lengths[pairs.stimulated[pairs.row].numpy(), pairs.neuron.numpy()]


def fold_scores(atlas: Atlas, holdout: str, score: Tensor, amplitude: Tensor, steps: Any) -> pd.DataFrame:
    """Score predictions ``(V, F, P)`` on the held-out pairs: one row per wiring (its ``place``), strain and fold."""
    import pandas as pd

    parts = []
    for strain, own in atlas.measured.items():
        for fold in range(score.size(1)):
            here = (atlas.fold[holdout] == fold) & atlas.tested[strain]
            likely, strong = (part[:, fold][:, here].double().numpy() for part in (score, amplitude))
            measured = own.amplitude[here].double().numpy()
            table = ep.analysis.response_scores(likely, strong, own.responds[here].numpy(), measured, steps[here.numpy()], STEPS)
            parts.append(table.assign(place=range(len(table)), holdout=holdout, strain=strain, fold=fold))
    return pd.concat(parts, ignore_index=True)


def scored_rows(shard: Shard, parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One row per wiring and arm with the means over the folds of the scores in ``parts``, which are saved as ``folds.csv``."""
    import pandas as pd

    known = shard.units[["variant", "family", "wiring_seed", "seed"]]
    folds = known.join(pd.concat(parts, ignore_index=True).set_index("place"))
    shard.write("folds.csv", folds.assign(variant=folds.index))
    return folds.groupby([*known, *ARM], sort=False).mean().drop(columns="fold").reset_index()


def arm_tests(rows: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Test the rank of the real wiring among each family's wirings, one-sided (higher), for every arm and score, and compute its effect by
    folds: the columns of :func:`~elegans_pyg.analysis.rank_test` and :func:`~elegans_pyg.analysis.responses.effects_by_fold`."""
    import pandas as pd

    from elegans_pyg.analysis.responses import SCORES, effects_by_fold

    parts, by_arm = [], dict(iter(folds.groupby(ARM, sort=False)))
    for arm, own in rows.groupby(ARM, sort=False):
        for value in (*SCORES, *(f"auc_{number + 1}" for number in range(STEPS))):
            if own.loc[own["family"] == REFERENCE, value].isna().any():
                continue
            table = ep.analysis.rank_test(own, REFERENCE, value, alternative="greater", share=False).rename(columns={"value": "real"})
            table = table.merge(effects_by_fold(by_arm[arm], value, REFERENCE), on="family")
            parts.append(table.assign(**dict(zip(ARM, arm, strict=True)), value=value))
    return pd.concat(parts, ignore_index=True)


def ceilings(atlas: Atlas) -> pd.DataFrame:
    """Noise ceilings: how well the wild type's trials predict each other, and unc-31 the wild type."""
    (own, other), tested = (atlas.measured[strain] for strain in STRAINS), atlas.tested[STRAINS[0]]
    second = other.amplitude.where(atlas.tested[STRAINS[1]], float("nan"))
    measured, one, two, else_where = (part[tested].double().numpy() for part in (own.amplitude, *atlas.halves, second))
    return ep.analysis.noise_ceilings(own.responds[tested].numpy(), measured, (one, two), else_where)


def only(table: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    """The rows with these values."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def rank_table(title: str, tests: pd.DataFrame, column: str) -> Any:
    """The real wiring beside its nulls, one row per family and value of ``column``."""
    cells = [
        (
            *(str(row[column]), row["family"], f"{row['real']:.3f}", f"{row['mean']:.3f}"),
            *(f"{row['effect']:+.1f}", _interval(row["fold_low"], row["fold_high"])),
            *(f"{row['rank']}/{row['wirings'] + 1}", f"{row['p_holm']:.3f}"),
        )
        for row in tests.to_dict("records")
    ]
    heads = (column, "family", "real", "nulls", "effect", "over folds", "rank", "p")
    return ep.studies.make_table(title, heads, cells, 2)


def rank_answers(tests: pd.DataFrame, column: str, words: Mapping[str, str], subject: str = "the worm's wiring") -> list[str]:
    """One sentence per value of ``column``, introduced by ``words``: the families whose nulls the real wiring exceeds, by its rank after
    Holm's correction, and those for which this was not shown, or could not be with so few nulls."""
    sentences = []
    for name, own in tests.groupby(column, sort=False):
        shown, real = own["p_holm"] <= ep.analysis.ALPHA, f"(AUC {own['real'].iloc[0]:.3f})"
        better, others = (
            ", ".join(f"{row.wirings:,} {row.family} ({row.mean:.3f})" for row in own[kind].itertuples()) for kind in (shown, ~shown)
        )
        text = f"{words[str(name)]}, {subject} was not shown to predict its signals {real} better than its nulls: {others}"
        if (least := own["p_smallest"].min() * len(own)) > ep.analysis.ALPHA:
            ranks = ", ".join(f"{row.rank} of {row.wirings + 1:,}" for row in own.itertuples())
            text += f"; it ranks {ranks}, and so few nulls allow no p below {least:.2f} after Holm's correction"
        if better:
            text = f"{words[str(name)]}, {subject} predicts its signals {real} better than its nulls: {better}"
            text += f"; each p ≤ {own.loc[shown, 'p_holm'].max():.3f} after Holm's correction"
            text += f". This was not shown for {others}" if others else ""
        sentences.append(f"{text}.")
    return sentences


def rank_dots(rows: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """The AUC of every wiring for the wild type with neurons held out, by ``column``."""
    own = only(rows, strain=STRAINS[0], holdout=HOLDOUTS[0]).rename(columns={"auc": "value"})
    return {f"AUC, {column} {name}": table for name, table in own.groupby(column, sort=False)}


def _interval(low: float, high: float) -> str:
    return f"{low:+.1f}, {high:+.1f}" if low == low else ep.studies.MISSING


def effect_table(title: str, tests: pd.DataFrame, column: str) -> Any:
    """The real wiring's AUC for each value of a column, and below it its effect among each family's wirings, with p."""
    names, found = list(dict.fromkeys(tests[column])), tests.set_index(["family", column])
    rows = [("AUC, real", *(f"{tests.loc[tests[column] == name, 'real'].iloc[0]:.3f}" for name in names))]
    for family in dict.fromkeys(tests["family"]):
        cells = [found.loc[(family, name)] for name in names]
        rows.append((family, *(f"{cell['effect']:+.1f} ({cell['p_holm']:.3f})" for cell in cells)))
    return ep.studies.make_table(title, ("family", *names), rows)


def score_table(rows: pd.DataFrame, folds: pd.DataFrame, highest: pd.DataFrame) -> Any:
    """All scores of the real wiring, with the AUC's interval over folds, and below them the noise ceilings."""
    from scipy import stats

    from elegans_pyg.analysis.responses import SCORES

    cells = []
    for row in only(rows, family=REFERENCE, strain=STRAINS[0], holdout=HOLDOUTS[0]).to_dict("records"):
        own = only(folds, family=REFERENCE, **{name: row[name] for name in ARM})["auc"]
        half = stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / len(own) ** 0.5
        area = ep.studies.mean_and_sd(row["auc"], half, 3)
        cells.append((f"{row['freedom']}, {row['arm']}", area, *(f"{row[name]:.3f}" for name in SCORES[1:])))
    names = {"halves": "ceiling from halves", "half": "half of the trials", "other": STRAINS[1]}
    for row in highest.to_dict("records"):
        cells.append((names[row["by"]], *(f"{row[name]:.3f}" if row[name] == row[name] else ep.studies.MISSING for name in SCORES)))
    heads = ("real wiring", "AUC ± 95 %", "precision", "r", "r, significant")
    return ep.studies.make_table("Wild type, stimulated neurons held out, and noise ceilings", heads, cells)


def pair_notes(settings: SignalSettings, atlases: Mapping[str, Atlas]) -> list[str]:
    """Notes on the pairs, by wiring if there are several, and on the tests."""
    left = f" without {', '.join(settings.without)}" if settings.without else ""
    notes = []
    for name, atlas in atlases.items():
        tested = atlas.tested[STRAINS[0]]
        count, responding = int(tested.sum()), int((atlas.measured[STRAINS[0]].responds & tested).sum())
        pairs = f"{count:,} pairs of the wild type observed at least {settings.at_least} times{left}, {responding:,} of them with q < 0.05"
        start = f"{name}: " if len(atlases) > 1 else ""
        notes.append(
            f"{start}{pairs}; precision: average precision, by chance {responding / count:.3f}. {settings.folds} folds; scores are means"
            " over them."
        )
    return [
        *notes,
        "p: exact, one-sided, from the real wiring's rank among the nulls, with Holm's correction over families; effect: in standard"
        " deviations of the nulls; intervals over folds: Student's t. Hypotheses, arms and exclusions: docs/preregistration.md.",
        "ceiling from halves: r of an error-free prediction, from odd and even trials; these share animals, so it may be too high. half of"
        " the trials: includes half of the data that it predicts. unc-31: animals without much of extrasynaptic signalling, a lower bound.",
    ]


def atlas_hash() -> dict[str, str]:
    """SHA-256 of the atlas's files."""
    return {strain: sha256((data_folder("activity") / f"randi2023-{strain}.safetensors").read_bytes()) for strain in STRAINS}
