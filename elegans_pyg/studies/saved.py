"""Runs loaded from their folders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg import plots
from elegans_pyg._files import write_atomic
from elegans_pyg._settings import Settings
from elegans_pyg._tensor_files import read_tensors
from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.datasets.image_kind import ImageKind
from elegans_pyg.studies.fitting import image_kind
from elegans_pyg.studies.folder import RunFolder
from elegans_pyg.studies.html_report.page import FILE, Part, render
from elegans_pyg.studies.registry import find
from elegans_pyg.studies.run import join
from elegans_pyg.studies.shards import missing_shards
from elegans_pyg.studies.study import WEIGHTS, Shard, Study
from elegans_pyg.studies.tables import score_name
from elegans_pyg.studies.units import Units
from elegans_pyg.training.checkpoint import has_checkpoint, load_checkpoint

# Settings that may differ between runs of one experiment: wirings and seeds, their numbers, and how they were run.
_MAY_DIFFER = {
    *("family", "families", "family_options", "seeds", "variants", "repeats", "seed", "beside", "image_root", "executor", "data_seed"),
    *("eval_every", "eval_images", "eval_batch_size", "at_once", "margin"),
}


@dataclass(frozen=True)
class Run:
    """A run of any study: its study, its settings, its units with their wirings, and its folder, which reads further tables by name."""

    study: Study[Any]
    settings: Settings
    units: Units
    folder: RunFolder

    @property
    def results(self) -> pd.DataFrame:
        """One row per unit, with its scores; raises ``FileNotFoundError`` if the run is not finished."""
        return self.folder.read_table("results.csv")

    @property
    def metrics(self) -> pd.DataFrame:
        """Losses and scores during training, for studies that train."""
        return self.folder.read_table("metrics.csv")

    @property
    def summary(self) -> dict[str, Any]:
        """Findings, notes, versions."""
        self.folder.read_table("results.csv")
        return self.folder.read_json("summary.json")

    @property
    def wirings(self) -> dict[str, Data]:
        """The first wiring of each family."""
        return self.units.first_of_families()

    def select(
        self, family: str | None = None, seed: int | None = None, variant: int | None = None, task: str | None = None
    ) -> pd.DataFrame:
        """Select units of the run, by default all.

        Args:
            family, task: as in ``results.csv``.
            seed: a unit's seed, as in ``results.csv``, or its number within its family and task: 0 for the first one.
            variant: a unit's number in the whole run.

        Returns:
            the rows of these units.

        Raises:
            ValueError: if there is no such unit; the message lists the choices.
        """
        table = self.units.table
        wanted = {"family": family, "task": task, "variant": variant, "seed": seed}
        for name, value in wanted.items():
            if value is None:
                continue
            if name not in table:
                raise ValueError(f"{name}: expected no value, since the run's units have no {name}, got {value!r}; leave it out")
            own = table[name]
            if name == "seed" and value not in own.to_numpy():
                own = table.groupby([part for part in ("family", "task") if part in table], sort=False).cumcount()
            known = own.unique().tolist()
            if value not in known:
                numbers = len(known) > 1 and known == list(range(len(known)))
                listed = f"0 to {known[-1]}" if numbers else ", ".join(map(str, known))
                raise ValueError(f"{name}: {self.folder.path} has no {name} {value!r}; choose from {listed}")
            table = table[own == value]
        return table

    def trained(
        self, family: str | None = None, seed: int | None = None, variant: int | None = None, task: str | None = None
    ) -> pd.DataFrame:
        """Select units as :meth:`select` does, without those whose training was stopped.

        Raises:
            FileNotFoundError: if the run is not finished.
            ValueError: as :meth:`select`, if the study trains no network, or if no unit is left.
        """
        if self.study.network is None:
            raise ValueError(f"run: {self.folder.path} is of '{self.study.name}', which trains no network; give a run of one that does")
        results, units = self.results, self.select(family, seed, variant, task)
        # The column is empty for units that were trained to the end; studies whose training cannot stop have no such column.
        stopped = results.get("stopped", pd.Series("", index=results.index)).astype(str).replace("nan", "")[units.index] != ""
        if stopped.all():
            raise ValueError(f"run: the training of all these units of {self.folder.path} was stopped; choose others, or train again")
        return units[~stopped]

    @property
    def image_kind(self) -> ImageKind:
        """Size, channels and classes of the training images, the same in every shard."""
        return image_kind(self.settings, Shard(self.folder.shard(1).path, self.units.table, []))  # type: ignore[arg-type]

    def model(self, family: str | None = None, seed: int | None = None, variant: int | None = None, task: str | None = None) -> Any:
        """Load the trained networks of the selected units (see :meth:`select`; by default all) as one model, one variant per unit, on the
        CPU and in evaluation mode, with the tested weights.

        Raises:
            FileNotFoundError: if the run is not finished, or its weights are missing.
            ValueError: if the study trains no network, there is no such unit, the networks do not fit in one model, or a file is damaged.
        """
        return self.networks(self.select(family, seed, variant, task))

    def networks(self, chosen: pd.DataFrame) -> Any:
        """Load the trained networks of rows of :meth:`select`; see :meth:`model`."""
        build = self.study.network
        if build is None:
            raise ValueError(f"run: {self.folder.path} is of '{self.study.name}', which trains no network; give a run of one that does")
        self.folder.read_table("results.csv")
        # The executor that trained the weights need not be available here.
        settings = self.settings.model_copy(update={"executor": "auto"} if "executor" in type(self.settings).model_fields else {})
        parts, states = [], []
        for number, rows in chosen.groupby("shard", sort=True):
            shard = Shard(self.folder.shard(number).path, *self.folder.read_shard(number))
            places = [shard.units["variant"].tolist().index(own) for own in rows["variant"]]
            states += _trained_states(shard, places, lambda shard: build(settings, shard))
            parts.append((shard.units.iloc[places], [shard.wirings[place] for place in places]))
        units = pd.concat([table for table, _ in parts], ignore_index=True)
        network = build(settings, Shard(shard.folder, units, [wiring for _, own in parts for wiring in own]))
        network.to(next(tensor.dtype for tensor in states[0].values() if tensor.is_floating_point()))
        network.load_variants(states)
        return network.eval()

    def redraw(self) -> list[Path]:
        """Draw all figures of a finished run again; returns their files, without suffixes."""
        self.folder.read_table("results.csv")
        with self.folder.claim():
            report, paths = join(self.study, self.settings, self.folder, self.units, write=False)
            for path, figure in zip(paths, report.figures.values(), strict=True):
                plots.save(figure, path)
            self.folder.finish_again()
        return paths

    def reported(self, name: str = "") -> Part:
        """The run's part of a report page; of an unfinished run, or one with missing files, what is available and why the rest is not."""
        known = Part(self.study, self.settings, self.units, self.folder, name=name)
        if not self.folder.finished():
            total, open_yet = int(self.units.table["shard"].max()), len(missing_shards(self.folder, self.units))
            remedy = f"elegans-pyg {self.study.name} --resume --out {self.folder.path}"
            missing = f"This run is not finished: {total - open_yet} of {total} shards are done. Finish it with: {remedy}"
            return replace(known, missing=[missing])
        rows = self.results
        try:
            report, _ = join(self.study, self.settings, self.folder, self.units, write=False)
        except (OSError, ValueError, ImportError) as error:
            return replace(known, rows=rows, missing=[f"Tables and charts are left out, as they could not be computed again: {error}."])
        return replace(known, rows=rows, report=report)


def load_run(folder: str | Path, study: Study[Any] | None = None) -> Run:
    """Load the run in a folder, finished or not; give ``study`` if it is not one of this package's.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if its study is unknown, or not the one given, or a file is damaged.
    """
    place = RunFolder(folder)
    study = study or find(place.study_name())
    return Run(study, place.read_config(study), place.read_units(), place)


def report_runs(folders: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write ``report.html`` of a run, or one page of several runs side by side, with their families compared where possible.

    Args:
        folders: run folders, finished or not.
        out: output file; default: ``report.html`` in the run's folder, or, for several runs, in a new folder, ``runs/report-1``, ...

    Returns:
        the file.

    Raises:
        FileNotFoundError: if a folder holds no run.
        ValueError: if no folder is given, one is given twice, or a file is damaged.
        OSError: if the page cannot be written.
    """
    runs, joint, notes = _loaded(folders), [], []
    parts = [run.reported(name if len(runs) > 1 else "") for name, run in runs.items()]
    if len(runs) > 1:
        try:
            joint = _compared(runs)
        except (OSError, ValueError) as error:
            notes = [f"The runs' families are not compared with each other: {error}."]
    if out is not None or len(runs) > 1:
        path = Path(out).expanduser() if out is not None else RunFolder.free("report").path / FILE
        return write_atomic(path, render(parts, path.parent, joint, notes))
    folder = parts[0].folder
    with folder.claim():
        folder.write(FILE, render(parts, folder.path))
        if folder.finished():
            folder.finish_again()
    return folder.path / FILE


def _loaded(folders: Sequence[str | Path]) -> dict[str, Run]:
    """Load runs, each by the name of its folder, with as many parent folders as it takes to make the names unique; raises ``ValueError`` if
    there is none, or one is named twice."""
    if not folders:
        raise ValueError("run: expected one run folder or more, got none; name some")
    runs = [load_run(folder) for folder in folders]
    paths = [run.folder.path.resolve() for run in runs]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"run: {path} is named twice; name each run once")
    length = next(number for number in count(1) if len({path.parts[-number:] for path in paths}) == len(paths))
    return {"/".join(path.parts[-length:]): run for path, run in zip(paths, runs, strict=True)}


def _trained_states(shard: Shard, places: Sequence[int], build: Callable[[Shard], Any]) -> list[dict[str, Tensor]]:
    """Read the tested weights of the units at these positions of a shard."""
    if (shard.folder / WEIGHTS).is_file():
        kept = read_tensors(shard.folder / WEIGHTS)[0]
        return [{name.partition("/")[2]: own for name, own in kept.items() if name.startswith(f"{place}/")} for place in places]
    if not has_checkpoint(shard.folder):
        remedy = "or its study did not keep them; run it again in another folder"
        raise FileNotFoundError(f"run: there are no trained weights in {shard.folder}: they were removed, {remedy}")
    saved = load_checkpoint(shard.folder / "checkpoint")
    # Where the weights of the last step are tested, the checkpoint has no separate copy.
    tested = {name: tensor for name, tensor in saved.final.items() if name in saved.model} or saved.model
    whole = build(shard)
    whole.to(next(tensor.dtype for tensor in tested.values() if tensor.is_floating_point()))
    whole.load_state_dict(tested)
    return [whole.variant_state_dict(place) for place in places]


def join_runs(folders: Sequence[str | Path]) -> tuple[pd.DataFrame, list[str], str]:
    """Join the results of several runs in one table.

    Families of runs with the same settings (apart from wirings and seeds) are merged by name. Otherwise a family is named ``run/family``,
    after the run folder, and a note says which settings differ.

    Returns:
        one row per unit, renumbered; the notes; and the column of the score.

    Raises:
        FileNotFoundError: if a folder is not a run folder, or its run has no results yet.
        ValueError: if a folder is named twice, a file is damaged, or the runs' scores cannot be compared.
    """
    return _joined(_loaded(folders))


def _joined(runs: Mapping[str, Run]) -> tuple[pd.DataFrame, list[str], str]:
    tables, (first, *others) = [run.results for run in runs.values()], runs.values()
    for run in others:
        if run.study.score != first.study.score:
            both = f"{first.study.score} in {first.folder.path} and {run.study.score} in {run.folder.path}"
            raise ValueError(f"run: different scores cannot be compared ({both}); compare runs of one kind")
        one, other = (getattr(each.settings, "dataset", None) for each in (first, run))
        if one != other:
            both = f"{one} in {first.folder.path} and {other} in {run.folder.path}"
            raise ValueError(f"run: accuracies on different images cannot be compared ({both}); compare runs on the same data set")
    differing = sorted({name for run in others for name in _differences(first.settings, run.settings)})
    notes = []
    if differing:
        tables = [table.assign(family=f"{name}/" + table["family"].astype(str)) for name, table in zip(runs, tables, strict=True)]
        notes.append(f"The runs differ in {', '.join(differing)}; families are listed separately for each run.")
    joined = pd.concat(tables, ignore_index=True)
    joined["variant"] = range(len(joined))
    return joined, notes, first.study.score


def compare_runs(folders: Sequence[str | Path], reference: str | None = None, margin: float | None = None) -> list[Comparison]:
    """Compare the families of several runs, separately for each task; see :func:`join_runs` and :func:`~elegans_pyg.analysis.compare`.

    By default the reference is the first family of the first run, its connectome, and the margin is the one in the settings of all of the
    runs, or that of the task in their studies, if they agree. A note says if the margin was given here only.

    Raises:
        ValueError: if ``margin`` is given for several tasks, whose scores have different units, or the runs' studies compare no families.
    """
    return _compared(_loaded(folders), reference, margin)


def _compared(runs: Mapping[str, Run], reference: str | None = None, margin: float | None = None) -> list[Comparison]:
    results, notes, score = _joined(runs)
    study = next(iter(runs.values())).study
    if score not in results:
        raise ValueError(f"run: runs of '{study.name}' have no families to compare; use report or plot")
    preset = {getattr(run.settings, "margin", None) for run in runs.values()}
    if margin is not None and preset != {margin}:
        notes = [*notes, "The margin was given to this comparison and is not in the settings of all runs; report when it was chosen."]
    elif margin is None and len(preset) == 1:
        (margin,) = preset
    tasks = list(results.groupby("task", sort=False)) if "task" in results else [("", results)]
    if margin is not None and len(tasks) > 1:
        raise ValueError(f"margin: expected none for {len(tasks)} tasks, whose scores have different units, got {margin:g}; leave it out")
    comparisons = []
    for task, rows in tasks:
        metric = study.metrics.get(task, score)
        value = score_name(task, metric) if task else score
        rows = rows.assign(variant=range(len(rows))).rename(columns={score: value})
        margins = {run.study.margins.get(task) for run in runs.values()}
        own = margins.pop() if margin is None and len(margins) == 1 else margin
        first = str(rows["family"].iloc[0]) if reference is None else reference
        comparison = compare(rows, reference=first, value=value, share=not task or metric == "accuracy", margin=own)
        comparison.notes[:0] = notes
        comparisons.append(comparison)
    return comparisons


def _differences(first: Settings, other: Settings) -> list[str]:
    one, two = first.flat(fixed=True), other.flat(fixed=True)
    different = [name for name in {**one, **two} if name not in _MAY_DIFFER and one.get(name) != two.get(name)]
    # What may differ has to be the same where both runs have it.
    families = [set(each.get("families") or ()) | {each.get("family")} for each in (one, two)]
    options = [each.get("family_options") or {} for each in (one, two)]
    if any(options[0].get(family) != options[1].get(family) for family in families[0] & families[1]):
        different.append("family_options")
    files = [{Path(name).stem: name for name in each.get("beside") or ()} for each in (one, two)]
    if any(files[0][name] != files[1][name] for name in files[0].keys() & files[1].keys()):
        different.append("beside")
    return different
