"""Does the wiring predict the worm's signals? The atlas of Randi et al. (2023), predicted from the real wiring and from its nulls."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._settings import Names, Place, Whole
from elegans_pyg.recipes.ensemble import REFERENCE, is_connectome
from elegans_pyg.recipes.signals import (
    HOLDOUTS,
    STEPS,
    STRAINS,
    Atlas,
    SignalSettings,
    arm_tests,
    atlas_hash,
    ceilings,
    effect_table,
    fold_scores,
    only,
    pair_notes,
    pairs_of,
    path_steps,
    rank_answers,
    rank_dots,
    rank_table,
    score_table,
    scored_rows,
)
from elegans_pyg.studies.settings import CyclicFamilies, Wiring, connectomes, some_of
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from torch_geometric.data import Data

KINDS = {"chemical": (0,), "electrical": (1,), "both": (0, 1), "extrasynaptic": (0, 1, 2)}
"""The kinds of edges in each set of synapses; the last set has all kinds."""
FREEDOMS = ("none", "global", "class", "edge")
CHUNK, MOST = 10, 100_000
"""Wirings fitted side by side, and largest number of wirings per family."""
STAGES = (("global", 0.0, 30), ("class", 0.3, 15), ("class", 0.03, 15), ("edge", 3.0, 10), ("edge", 0.3, 10), ("edge", 0.03, 10))
"""Freedom, penalty and steps of each stage of a fit."""


class PropagationSettings(SignalSettings):
    """The wirings that predict the signals, and the models."""

    group: ClassVar[str] = "Wirings and predictions"

    connectome: Wiring = Field("cook2019-hermaphrodite", description="The real wiring, by name (see info) or in a file.")
    layers: Annotated[Names, Place(connectomes)] = Field(
        ("bentley2016-monoamine", "bentley2016-neuropeptide"), description="Extrasynaptic layers, by name or in files."
    )
    synapses: Annotated[Names, Field(min_length=1), some_of(KINDS)] = Field(
        tuple(KINDS), description=f"Sets of synapses to use with nothing fitted, of {', '.join(KINDS)} (all three kinds)."
    )
    fitted_synapses: Literal["chemical", "electrical", "both", "extrasynaptic"] = Field("both", description="Set of synapses for the fits.")
    families: Annotated[CyclicFamilies, Field(min_length=1)] = Field(
        ("rewired", "type_rewired", "strength_rewired", "random_rewired", "names_shuffled"), description="Families of nulls."
    )
    nulls: int = Field(500, ge=2, le=MOST, description="Wirings of each family with nothing fitted.")
    fitted_nulls: int = Field(99, ge=2, le=MOST, description="Wirings of each family to fit, the first of these.")
    pair_nulls: Whole = Field(19, description="Of these, wirings also fitted with pairs held out instead of whole neurons; 0: none.")
    freedoms: Annotated[Names, Field(min_length=1), some_of(FREEDOMS)] = Field(
        FREEDOMS, description="What is fitted: none, global (8 numbers), class (4 more per class of neurons), edge (1 more per edge)."
    )
    gain: float = Field(0.5, gt=0, le=0.9, description="Share of its partners' mean activity that a neuron follows, unless fitted.")

    @model_validator(mode="after")
    def _enough(self) -> PropagationSettings:
        if self.pair_nulls == 1:
            raise ValueError("pair_nulls: expected 0, or at least 2 to rank the real wiring among, got 1; change it")
        if not self.layers and "extrasynaptic" in (*self.synapses, self.fitted_synapses):
            raise ValueError("layers: expected at least one for extrasynaptic synapses, got none; name one, or leave these out")
        return self


@lru_cache(maxsize=4)
def load_base(settings: PropagationSettings) -> Data:
    """Load the real wiring with all kinds of edges that the settings need; of the layers, edges between its neurons are added, by name.

    Raises:
        ValueError: for an unknown name, or a malformed file.
        OSError: if a file cannot be read.
    """
    import torch
    from torch_geometric.utils import coalesce

    from elegans_pyg.datasets.edge_attributes import plain_name
    from elegans_pyg.wirings import EXTRASYNAPTIC, as_wiring

    def loaded(name: str, synapses: str) -> Data:
        if is_connectome(name):
            return ep.datasets.Connectome(name, synapses=synapses, pharynx=settings.pharynx)[0]
        return ep.datasets.Connectome.from_edges(Path(name).expanduser(), synapses=synapses)

    base = as_wiring(loaded(settings.connectome, "both"))
    if "extrasynaptic" not in (*settings.synapses, settings.fitted_synapses):
        return base
    place = {plain_name(name): number for number, name in enumerate(base.neuron_name)}
    ends, weights = [], []
    for layer in (loaded(name, "extrasynaptic") for name in settings.layers):
        edges = torch.tensor([place.get(plain_name(name), -1) for name in layer.neuron_name])[layer.edge_index]
        kept = (edges >= 0).all(0)
        ends.append(edges[:, kept])
        weights.append(layer.edge_weight[kept])
    added, weight = coalesce(torch.cat(ends, 1), torch.cat(weights), base.num_nodes, reduce="sum")
    base.edge_index = torch.cat([base.edge_index, added], 1)
    base.edge_weight = torch.cat([base.edge_weight, weight.to(base.edge_weight)])
    base.edge_type = torch.cat([base.edge_type, torch.full_like(added[0], EXTRASYNAPTIC)])
    return as_wiring(base)


def with_kinds(wiring: Data, kinds: tuple[int, ...]) -> Data:
    """The same wiring with edges of these kinds only."""
    import torch

    kept, part = torch.isin(wiring.edge_type, torch.tensor(kinds)), wiring.clone()
    part.edge_index, part.edge_weight, part.edge_type = wiring.edge_index[:, kept], wiring.edge_weight[kept], wiring.edge_type[kept]
    return part


@lru_cache(maxsize=2)
def load_atlas(settings: PropagationSettings) -> Atlas:
    return pairs_of(settings, load_base(settings))


@lru_cache(maxsize=8)
def steps_of(settings: PropagationSettings, synapses: str) -> Any:
    """Path length of every pair in the real wiring, which is used for its nulls too."""
    return path_steps(load_atlas(settings), with_kinds(load_base(settings), KINDS[synapses]))


def propagation_units(settings: PropagationSettings) -> ep.studies.Units:
    """The real wiring and the nulls, first with nothing fitted, then fitted, by what is held out; a null follows from its family and seed,
    and is drawn when it is measured."""
    base = load_base(settings)
    rows: list[dict[str, object]] = []
    graphs: list[Data | None] = []
    fits = any(freedom != "none" for freedom in settings.freedoms)
    counts = {"nothing": settings.nulls if "none" in settings.freedoms else 0}
    counts |= {"neurons": settings.fitted_nulls, "pairs": settings.pair_nulls} if fits else {}
    for job, (held, count) in enumerate(counts.items()):
        for family in (REFERENCE, *settings.families) if count else ():
            for number in range(1 if family == REFERENCE else count):
                seed = ep.studies.unit_seed(settings.seed, family, number)
                own = {"family": family, "wiring_seed": 0 if family == REFERENCE else seed, "seed": seed}
                rows.append({**own, "held": held, "job": job})
                graphs.append(base if family == REFERENCE else None)
    return ep.studies.Units.build(rows, graphs)


def measure(settings: PropagationSettings, shard: Shard) -> pd.DataFrame:
    """Predict the atlas from the shard's wirings: one row per wiring and arm; ``folds.csv`` has each fold's scores."""
    held = str(shard.units["held"].iloc[0])
    arms = settings.synapses if held == "nothing" else (settings.fitted_synapses,)
    base, parts = with_kinds(load_base(settings), tuple({kind for arm in arms for kind in KINDS[arm]})), []
    rewirings = [ep.transforms.FAMILIES[family].rewiring for family in shard.units["family"]]
    # Each kind is rewired separately, so the chemical part of a null of all synapses is the null of chemical synapses.
    graphs = [base if draw is None else draw(seed=seed)(base) for draw, seed in zip(rewirings, shard.units["wiring_seed"], strict=True)]
    for arm in arms:
        own = [with_kinds(graph, KINDS[arm]) for graph in graphs]
        predicted = _fixed(settings, own) if held == "nothing" else _fitted(settings, own, held)
        for freedom, (score, amplitude) in predicted.items():
            holdout = HOLDOUTS[0] if held == "nothing" else held
            scores = fold_scores(load_atlas(settings), holdout, score, amplitude, steps_of(settings, arm))
            parts.append(scores.assign(freedom=freedom, arm=arm))
    return scored_rows(shard, parts)


def _fixed(settings: PropagationSettings, graphs: list[Data]) -> dict[str, tuple[Tensor, Tensor]]:
    """Scores and amplitudes ``(V, F, P)`` with nothing fitted, equal for all folds."""
    import torch

    with torch.no_grad():
        model = ep.models.LinearPropagation(graphs, 1, settings.gain)
        response = model.pairs(load_atlas(settings).measured[STRAINS[0]]).expand(-1, settings.folds, -1)
    return {"none": (response.abs(), response)}


def _fitted(settings: PropagationSettings, graphs: list[Data], holdout: str) -> dict[str, tuple[Tensor, Tensor]]:
    """The same by freedom, fitted to the wild type; each fold is fitted without its held-out pairs and its validation pairs, which choose
    the penalties."""
    import torch

    from elegans_pyg.models.linear_propagation import Stage, fit

    atlas, folds = load_atlas(settings), torch.arange(settings.folds)[:, None]
    for graph in graphs:
        graph.edge_sign = ep.datasets.edge_sign(graph)
    last = max(FREEDOMS.index(freedom) for freedom in settings.freedoms)
    stages = [Stage(*stage) for stage in STAGES if FREEDOMS.index(stage[0]) <= last]
    fold, tested = atlas.fold[holdout], atlas.tested[STRAINS[0]]
    validation = (fold == (folds + 1) % settings.folds) & tested
    train = (fold != folds) & tested & ~validation
    model = ep.models.LinearPropagation(graphs, settings.folds, settings.gain)
    found = fit(model, atlas.measured[STRAINS[0]], train, validation, stages)
    return {freedom: found[freedom] for freedom in settings.freedoms if freedom != "none"}


def report(done: Finished[PropagationSettings]) -> Report:
    """Report the real wiring's rank among its nulls, its scores and the noise ceilings, and effects by path length, strain and holdout."""
    import pandas as pd

    from elegans_pyg.analysis.arms import plain_rows
    from elegans_pyg.studies.html_report.page import subject

    folds, settings, atlas = done.joined("folds.csv"), done.settings, load_atlas(done.settings)
    tests, highest = arm_tests(done.rows, folds), ceilings(atlas)
    fixed, arms = "none" in settings.freedoms, {*tests["arm"]}
    arm = settings.fitted_synapses if settings.fitted_synapses in arms else settings.synapses[0]
    primary = only(tests, holdout=HOLDOUTS[0], strain=STRAINS[0], value="auc")
    main = only(primary, arm=arm)
    tables = [
        rank_table(f"AUC of q < 0.05: wild type, neurons held out, synapses: {arm}", main, "freedom"),
        score_table(done.rows, folds, highest),
    ]
    if fixed:
        tables.append(effect_table("Nothing fitted: effect (p) by synapses", only(primary, freedom="none"), "arm"))
    steps = {f"auc_{number + 1}": f"{number + 1} step{'s' if number else ''}" for number in range(STEPS)}
    for freedom in dict.fromkeys(main["freedom"]):
        own = only(tests, arm=arm, freedom=freedom)
        apart = only(own, holdout=HOLDOUTS[0], strain=STRAINS[0])
        where = only(own, value="auc")
        where = where[(where["strain"] != STRAINS[0]) ^ (where["holdout"] != HOLDOUTS[0])]
        columns = apart.assign(by=apart["value"].map(steps)), where.assign(by=where["strain"].where(where["strain"] != STRAINS[0], "pairs"))
        both = pd.concat(columns).dropna(subset="by")
        tables.append(effect_table(f"Freedom {freedom}: effect (p) by path length, on held-out pairs and on unc-31", both, "by"))
    figures = {"effects": ep.plots.effect_intervals(main, "freedom", "AUC above the nulls, in their standard deviations")}
    files = {"tests.csv": tests, "ceilings.csv": highest, "folds.csv": folds}
    findings = {"tests": plain_rows(main), "ceilings": plain_rows(highest)}
    words = {name: "With nothing fitted" if name == "none" else f"With freedom '{name}' fitted" for name in FREEDOMS}
    answer = rank_answers(main, "freedom", words, subject(settings))
    shown = rank_dots(only(done.rows, arm=arm), "freedom")
    return Report(tables, _notes(settings, atlas), files, figures, findings, answer=answer, dots=shown)


def _notes(settings: PropagationSettings, atlas: Atlas) -> list[str]:
    notes = [
        *pair_notes(settings, {settings.connectome: atlas}),
        "Steps: edges on the shortest path in the real wiring, for nulls too, so that the same pairs are compared. pairs: pairs held out"
        " instead of neurons. unc-31: fitted to the wild type, scored on unc-31.",
    ]
    full = PropagationSettings()
    names = ("nulls", "fitted_nulls", "pair_nulls")
    if any(getattr(settings, name) < getattr(full, name) for name in names):
        short = [f"{getattr(settings, name)} of {getattr(full, name)} {name.replace('_', ' ')}" for name in names]
        notes.append(f"Shortened: {', '.join(short)}.")
    return notes


def _data(settings: PropagationSettings) -> dict[str, str]:
    # Raises an error for wirings without measured neurons.
    load_atlas(settings)
    return atlas_hash()


SIGNAL_PROPAGATION: Study[PropagationSettings] = Study(
    "reproduce signal-propagation",
    PropagationSettings,
    propagation_units,
    measure,
    report,
    data=_data,
    score="",
    processes=True,
    # A shard takes seconds, which is all that a kill loses.
    shard_size=lambda settings: CHUNK,
    text="""The worm's own signals: responses of all neurons to the stimulation of each, predicted from the real wiring and from its nulls.

    By default: 500 nulls of each of 5 families with nothing fitted, and the first 99 of each with three sets of fitted parameters.""",
    quick="Two families, 60 nulls, 9 of them fitted: under two minutes.",
    short={"families": ("rewired", "names_shuffled"), "nulls": 60, "fitted_nulls": 9, "pair_nulls": 0},
)
