"""The atlas of Randi et al. (2023) and the simulated worm: the same stimulations of the real wiring and of its nulls."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._settings import Count, Names
from elegans_pyg.recipes.ensemble import REFERENCE
from elegans_pyg.recipes.signals import (
    HOLDOUTS,
    STRAINS,
    Atlas,
    SignalSettings,
    arm_tests,
    atlas_hash,
    ceilings,
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
from elegans_pyg.studies.settings import CyclicFamilies, some_of
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from torch_geometric.data import Data

MEMBRANES = ("kunert", "c302-C1")
AT_ONCE = 20
"""Stimuli simulated side by side; their voltages at every step are in memory."""
FARTHEST = 2.0
"""Bound on the logarithm of a fitted factor."""


class SimulationSettings(SignalSettings):
    """The nervous systems that are stimulated, and the stimulation."""

    group: ClassVar[str] = "Wirings and stimulation"

    membranes: Annotated[Names, Field(min_length=1), some_of(MEMBRANES)] = Field(
        MEMBRANES, description=f"Membrane models, of {', '.join(MEMBRANES)}; each has its own wiring."
    )
    families: Annotated[CyclicFamilies, Field(min_length=1)] = Field(("rewired",), description="Families of nulls.")
    nulls: int = Field(20, ge=2, le=10_000, description="Wirings of each family, used with nothing fitted and with fitted conductances.")
    fit_steps: int = Field(8, ge=0, le=1_000, description="Steps of the fit, each on some of the stimulated neurons; 0: no fit.")
    fit_stimuli: Count = Field(12, description="Stimulated neurons per step of the fit.")
    current: float = Field(2.0, gt=0, le=1e3, description="Current into the stimulated neuron, in pA.")
    on: float = Field(20.0, ge=1, le=1e4, description="When the current starts, in ms; it flows to the end.")
    duration: float = Field(220.0, ge=2, le=1e5, description="Length of a simulation, in ms.")
    fit_duration: float = Field(100.0, ge=2, le=1e5, description="Length of a simulation in a fit, in ms.")
    dt_ms: float = Field(0.05, ge=1e-3, le=1, description="Time step, in ms; shorter where a wiring's gap junctions need it.")
    fit_dt_ms: float = Field(0.1, ge=1e-3, le=1, description="Time step in a fit, in ms.")

    @model_validator(mode="after")
    def _something_flows(self) -> SimulationSettings:
        for name in ("duration", "fit_duration") if self.fit_steps else ("duration",):
            if not self.on < (end := getattr(self, name)):
                raise ValueError(f"on: expected a time before {name} ({end:g} ms), got {self.on:g}; change one of them")
        return self


@lru_cache(maxsize=4)
def load_worm(settings: SimulationSettings, membrane: str) -> ep.dynamics.Worm:
    """The worm with this membrane, without its pharyngeal neurons unless ``pharynx`` is set."""
    from elegans_pyg.wirings import NEURON_TYPES

    worm = ep.dynamics.Worm(membrane)
    kept = worm.data.neuron_type != NEURON_TYPES.index("pharyngeal")
    if settings.pharynx or bool(kept.all()):
        return worm
    # A pair of gap junctions joins the pharynx to the other neurons, which rewiring would not keep.
    return ep.dynamics.Worm.from_connectome(worm.data.subgraph(kept), membrane)


@lru_cache(maxsize=4)
def load_atlas(settings: SimulationSettings, membrane: str) -> Atlas:
    return pairs_of(settings, load_worm(settings, membrane).data)


def simulation_units(settings: SimulationSettings) -> ep.studies.Units:
    """The real wiring of each membrane and its nulls, with nothing and with conductances fitted."""
    rows: list[dict[str, object]] = []
    graphs: list[Data | None] = []
    for job, (membrane, fitted) in enumerate((name, fit) for fit in (False, True) for name in settings.membranes):
        for family in (REFERENCE, *settings.families) if settings.fit_steps or not fitted else ():
            for number in range(1 if family == REFERENCE else settings.nulls):
                seed = ep.studies.unit_seed(settings.seed, family, number)
                own = {"family": family, "wiring_seed": 0 if family == REFERENCE else seed, "seed": seed}
                rows.append({**own, "membrane": membrane, "fitted": fitted, "job": job})
                graphs.append(load_worm(settings, membrane).data if family == REFERENCE else None)
    return ep.studies.Units.build(rows, graphs)


def measure(settings: SimulationSettings, shard: Shard) -> pd.DataFrame:
    """Stimulate every neuron of the atlas in the shard's wirings."""
    import torch

    parts = []
    for place, unit in enumerate(shard.units.to_dict("records")):
        worm, atlas = load_worm(settings, unit["membrane"]), load_atlas(settings, unit["membrane"])
        steps = path_steps(atlas, worm.data)
        if (rewiring := ep.transforms.FAMILIES[unit["family"]].rewiring) is not None:
            worm = ep.dynamics.Worm.from_connectome(rewiring(seed=unit["wiring_seed"])(worm.data), unit["membrane"])
        if unit["fitted"]:
            worm = fit_conductances(settings, worm, atlas, unit["seed"])
        pairs = atlas.measured[STRAINS[0]]
        with torch.no_grad():
            chunks = pairs.stimulated.split(AT_ONCE)
            response = torch.cat(
                [stimulate(worm, chunk, settings.current, (settings.on, settings.duration, settings.dt_ms)) for chunk in chunks]
            )[pairs.row, pairs.neuron]
        # Fitted wirings are scored on the fold that the fit did not use, others on all folds.
        predicted = response.expand(1, 1 if unit["fitted"] else settings.folds, -1)
        scores = fold_scores(atlas, HOLDOUTS[0], predicted.abs(), predicted, steps)
        freedom = "conductances" if unit["fitted"] else "none"
        parts.append(scores.assign(place=place, freedom=freedom, arm=unit["membrane"]))
    return scored_rows(shard, parts)


def stimulate(worm: ep.dynamics.Worm, neurons: Tensor, current_pA: float, times_ms: tuple[float, float, float]) -> Tensor:
    """Change of every neuron's potential by a current into each of these neurons, in mV, mean over the second half of the current,
    ``(S, N)``; differentiable in the worm's tables. ``times_ms``: start of the current, end of the simulation, and time step."""
    import torch

    from elegans_pyg.dynamics.simulate import longest_step_ms

    on, duration, longest = times_ms
    dt_ms = duration / math.ceil(duration / min(longest, 0.9 * longest_step_ms(worm)))
    steps, start = round(duration / dt_ms), round(on / dt_ms)
    flowing = torch.zeros(len(neurons) + 1, steps, len(neurons))
    # The last stimulus has no current.
    flowing[:-1, start:] = current_pA * torch.eye(len(neurons))[:, None]
    names = [worm.neuron_name[node] for node in neurons]
    voltage = ep.dynamics.simulate(worm, flowing, names, dt_ms, duration)[1][:, (start + steps) // 2 :].mean(1)
    return voltage[:-1] - voltage[-1:]


def fit_conductances(settings: SimulationSettings, worm: ep.dynamics.Worm, atlas: Atlas, seed: int) -> ep.dynamics.Worm:
    r"""Fit factors of the conductances of excitatory and inhibitory synapses, gap junctions and leaks by gradient through the simulator.

    Adam maximises the correlation between whether a neuron responds and the logarithm of its change in potential, over the pairs of some
    stimulated neurons per step. The first fold is held out. The logarithms of the factors stay within ± 2.
    """
    import numpy as np
    import torch

    pairs, tested = atlas.measured[STRAINS[0]], atlas.tested[STRAINS[0]]
    rows = pairs.row[tested & (atlas.fold[HOLDOUTS[0]] > 0)].unique().numpy()
    rng = np.random.default_rng(seed)
    raw = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.15)
    for _ in range(settings.fit_steps):
        chosen = torch.from_numpy(rng.choice(rows, min(settings.fit_stimuli, len(rows)), replace=False))
        scaled, times = worm.scaled(*(FARTHEST * torch.tanh(raw)).exp()), (settings.on, settings.fit_duration, settings.fit_dt_ms)
        response = stimulate(scaled, pairs.stimulated[chosen], settings.current, times)
        place = torch.full((len(pairs.stimulated),), -1).index_copy(0, chosen, torch.arange(len(chosen)))[pairs.row]
        here = tested & (place >= 0)
        if not bool(pairs.responds[here].any()):
            continue
        moved = torch.log(response[place[here], pairs.neuron[here]].abs() + 1e-3)
        optimizer.zero_grad()
        (-torch.corrcoef(torch.stack([moved, pairs.responds[here].to(moved)]))[0, 1]).backward()
        optimizer.step()
    return worm.scaled(*(FARTHEST * torch.tanh(raw.detach())).exp())


def report(done: Finished[SimulationSettings]) -> Report:
    """Report the real wiring's rank among its nulls, by membrane, with nothing and with conductances fitted."""
    from elegans_pyg.analysis.arms import plain_rows

    folds, settings = done.joined("folds.csv"), done.settings
    # Each membrane has its own wiring, and therefore its own pairs and ceilings.
    tests, atlases = arm_tests(done.rows, folds), {name: load_atlas(settings, name) for name in settings.membranes}
    main = only(tests, strain=STRAINS[0], value="auc")
    titles = {"none": "nothing fitted", "conductances": "conductances fitted, first fold"}
    tables = [
        rank_table(f"AUC of q < 0.05: wild type, {titles[str(name)]}", own, "arm") for name, own in main.groupby("freedom", sort=False)
    ]
    tables += [score_table(only(done.rows, arm=name), folds, ceilings(atlas)) for name, atlas in atlases.items()]
    notes = [
        *pair_notes(settings, atlases),
        f"A neuron's response is the change of its potential by {settings.current:g} pA into another neuron. Fitted conductances are scored"
        " on the first fold, which the fit did not use, others on all folds.",
    ]
    figure = ep.plots.effect_intervals(only(main, freedom="none"), "arm", "AUC above the nulls, in their standard deviations")
    files, fixed = {"tests.csv": tests, "folds.csv": folds}, only(done.rows, freedom="none")
    answer = [
        sentence
        for name, own in main.groupby("freedom", sort=False)
        for sentence in rank_answers(own, "arm", {arm: f"Simulated with {arm}, {titles[str(name)]}" for arm in own["arm"]})
    ]
    shown = rank_dots(fixed.assign(membrane=fixed["arm"]), "membrane")
    return Report(tables, notes, files, {"effects": figure}, {"tests": plain_rows(main)}, answer=answer, dots=shown)


SIGNAL_SIMULATION: Study[SimulationSettings] = Study(
    "reproduce signal-simulation",
    SimulationSettings,
    simulation_units,
    measure,
    report,
    data=lambda settings: atlas_hash(),
    score="",
    processes=True,
    shard_size=lambda settings: 1,
    text="""The worm's own signals, simulated: current into each neuron of the atlas in turn, on the real wiring and on its nulls.

    By default: the membranes kunert and c302-C1, 20 rewired nulls of each, with nothing and with conductances fitted.""",
    quick="One membrane, one family, 3 nulls, nothing fitted.",
    short={"membranes": ("kunert",), "families": ("rewired",), "nulls": 3, "fit_steps": 0},
)
