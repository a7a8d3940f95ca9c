"""What the recipes of ElegansNet share: settings, wirings and their controls, and a run from settings to a comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from torch import nn
from torch_geometric.data import Batch, Data

from elegans_pyg import plots
from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.datasets import Connectome, load_images
from elegans_pyg.datasets.images import IMAGE_SETS, ImageData
from elegans_pyg.models import SideBySide
from elegans_pyg.models.variants import VariantNetwork
from elegans_pyg.nn import TensorNetwork
from elegans_pyg.nn.tensor_network import COMBINES, NORMS
from elegans_pyg.recipes import environment
from elegans_pyg.recipes.config import absolute, read_settings
from elegans_pyg.recipes.run import REFERENCE, say
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.training import FitConfig, FitResult, Objective, fit, resolve_device
from elegans_pyg.transforms import FAMILIES

Settings = TypeVar("Settings", bound="ElegansConfig")
_HEAD = "# Settings of: elegans-pyg "
_COUNTS = {"seeds": 1, "variants": 1, "seed": 0, "width": 2, "at_once": 0}


@dataclass(frozen=True)
class ElegansConfig:
    """Everything that repeats a run of a tensor network, its rewired variants and its controls.

    Args:
        connectome: name from :meth:`~elegans_pyg.datasets.Connectome.names`, with both kinds of synapses.
        families: families of control wirings made from it.
        seeds: runs of the connectome, and of each control without a wiring of its own; they differ in their first parameters only.
        variants: wirings drawn from each family.
        seed: start of all wirings' and variants' seeds.
        width: of the tensors.
        combine, norm: of :class:`~elegans_pyg.nn.TensorNetwork`.
        dataset, image_root: images, see :func:`~elegans_pyg.datasets.load_images`.
        at_once: variants trained side by side; the rest follow in further parts, with the same results. 0: all, if memory holds them.
        training: iterations, batch size, learning rate and the like.

    Raises:
        TypeError: if a field has the wrong type.
        ValueError: if a field is out of range, or a family has no cyclic wirings to draw.
    """

    connectome: str = "varshney2011-hermaphrodite"
    families: tuple[str, ...] = ("ws", "er", "ba", "rewired")
    seeds: int = 10
    variants: int = 10
    seed: int = 0
    width: int = 784
    combine: str = "mul"
    norm: str = "state"
    dataset: str = "mnist"
    image_root: str | None = None
    at_once: int = 0
    training: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected a whole number, got {value!r}; give one of at least {least}")
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}; raise it")
        if isinstance(self.families, str) or not all(isinstance(name, str) for name in self.families):
            raise TypeError(f"families: expected a list of names, got {self.families!r}; write it as [ws, er]")
        object.__setattr__(self, "families", tuple(self.families))
        for name, known in (("combine", COMBINES), ("norm", NORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: unknown choice {getattr(self, name)!r}; choose from {', '.join(known)}")
        choices = [name for name, family in FAMILIES.items() if family.rewiring is not None]
        for name in self.families:
            if name not in choices or self.families.count(name) > 1:
                got = ", ".join(self.families)
                raise ValueError(f"families: expected each name once, from {', '.join(choices)}, got {got}; change them")

    def updated(self: Settings, settings: Mapping[str, Any]) -> Settings:
        """The same settings with some replaced; those under ``training`` are a mapping of their own, and replaced one by one too.

        Raises:
            ValueError: if a key is no setting; the message lists the settings.
            TypeError: if a value has the wrong type.
        """
        names = [item.name for item in fields(self)]
        unknown = [str(key) for key in settings if key not in names]
        if unknown:
            raise ValueError(f"settings: unknown key {', '.join(map(repr, unknown))}; choose from {', '.join(names)}")
        changes = dict(settings)
        training = changes.pop("training", {})
        if not isinstance(training, Mapping):
            raise TypeError(f"training: expected a mapping of settings, got {training!r}; write them indented, one 'name: value' a line")
        return replace(self, **changes, training=FitConfig.from_dict({**asdict(self.training), **training}))

    def with_absolute_paths(self: Settings) -> Settings:
        """The same settings with every file or folder that is there named in full, so that they repeat the run from anywhere."""
        root = None if self.image_root is None else absolute(self.image_root)
        return replace(self, dataset=absolute(self.dataset, IMAGE_SETS), image_root=root)

    def to_yaml(self) -> str:
        """All settings as YAML, which ``updated(read_settings(path))`` reads back equal."""
        content = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True))


@dataclass(frozen=True)
class Arm:
    """One run of many: its family, its wiring's seed, its own seed, and the wiring, where it has one."""

    family: str
    wiring_seed: int
    seed: int
    wiring: Data | None


class ElegansFolder(RunFolder):
    """A run folder with these recipes' settings and tables."""

    def write_settings(self, config: ElegansConfig, command: str) -> None:
        self._write("config.yaml", f"{_HEAD}{command}\n{config.to_yaml()}".encode())

    def check_settings(self, config: ElegansConfig, command: str) -> None:
        """Refuse to go on with another recipe's run, or with other settings than the run began with; the device alone may be another.

        Raises:
            ValueError: saying what the folder holds.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            return
        theirs, ours = read_settings(path), yaml.safe_load(config.to_yaml())
        for settings in (theirs, ours):
            if isinstance(settings.get("training"), dict):
                settings["training"].pop("device", None)
        head = path.read_text(encoding="utf-8").partition("\n")[0]
        if head != f"{_HEAD}{command}":
            raise ValueError(f"out: {self.path} holds a run of another command; go on with it by: elegans-pyg {head.removeprefix(_HEAD)}")
        if theirs != ours:
            raise ValueError(f"out: {self.path} holds a run with other settings; resume it with those of its config.yaml")

    def discard_unstarted(self) -> None:
        """Drop what a run leaves that ended before its first checkpoint, so that the folder is neither full nor a run."""
        parts = [RunFolder(path) for path in self.path.glob("part-*")]
        if any(folder.has_checkpoint() for folder in (self, *parts)):
            return
        for folder in (*parts, self):
            folder.discard_start()
        for folder in parts:
            folder.remove_if_empty()

    def write_tables(self, results: pd.DataFrame, metrics: pd.DataFrame, summary: dict[str, Any]) -> None:
        self._write("results.csv", results.to_csv(index=False, na_rep="nan").encode())
        self._write("metrics.csv", metrics.to_csv(index=False, na_rep="nan").encode())
        self._write("summary.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


@dataclass(frozen=True)
class ElegansResult:
    """What a run of these recipes ends in.

    Attributes:
        config: the settings.
        results: one row a variant: ``variant``, ``family``, ``wiring_seed``, ``seed``, the scores on the test images, ``tested_at`` (the
            iteration of the weights tested), ``parameters`` and ``trained`` (those of them that were trained).
        metrics: losses and scores along the training.
        comparison: the families against the connectome; ``None`` if the run was interrupted.
        stopped: why a variant was stopped, by variant.
        seconds: of training and evaluation.
        interrupted: whether Ctrl-C ended the run.
        samples: what the recipe kept of the first variant of each family, by family.
        out: the run folder.
        figures: the figures' files, without their suffixes.
    """

    config: ElegansConfig
    results: pd.DataFrame
    metrics: pd.DataFrame
    comparison: Comparison | None
    stopped: dict[int, str]
    seconds: float
    interrupted: bool
    samples: dict[str, Any]
    out: Path | None
    figures: list[Path]


Build = Callable[[list[Arm], ImageData], VariantNetwork]
Judge = Callable[[VariantNetwork, ImageData], tuple[dict[str, list[float]], list[Any]]]
"""From a trained model in evaluation mode: further columns of ``results``, and a sample for each variant."""
Draw = Callable[[dict[str, Any], ImageData], dict[str, Figure]]


def draw_arms(config: ElegansConfig, frozen: str, controls: tuple[str, ...]) -> list[Arm]:
    """The connectome's runs, the same frozen, every family's wirings, and the controls without any wiring.

    Args:
        config: the settings.
        frozen: name of the family of frozen connectomes.
        controls: families without a wiring.
    """
    base = Connectome(config.connectome, synapses="both")[0]
    own = range(config.seed, config.seed + config.seeds)
    arms = [Arm(family, 0, seed, base) for family in (REFERENCE, frozen) for seed in own]
    for name in config.families:
        rewiring = FAMILIES[name].rewiring
        assert rewiring is not None  # as the settings have checked
        arms += [Arm(name, seed, seed, rewiring(seed)(base)) for seed in range(config.seed, config.seed + config.variants)]
    return arms + [Arm(family, 0, seed, None) for family in controls for seed in own]


def tensor_network(arms: list[Arm], config: ElegansConfig, freeze: bool = False) -> TensorNetwork:
    """The arms' wirings as one ensemble of tensor networks."""
    # Weights and names play no part, and generated graphs lack some of what a connectome has.
    wirings = [_bare(arm.wiring) for arm in arms if arm.wiring is not None]
    seeds = [arm.seed for arm in arms]
    return TensorNetwork(Batch.from_data_list(wirings), config.width, combine=config.combine, norm=config.norm, freeze=freeze, seeds=seeds)


def _bare(wiring: Data) -> Data:
    types = wiring.neuron_type
    return Data(edge_index=wiring.edge_index, edge_type=wiring.edge_type, neuron_type=types, num_nodes=len(types))


def network_parameters(config: ElegansConfig) -> int:
    """Number of parameters of the connectome's tensor network, which controls are to have too."""
    base = Connectome(config.connectome, synapses="both")[0]
    narrow = replace(config, width=2)
    # Counted at two widths and carried over, as the published width would fill 400 MB to be counted.
    counts = [tensor_network([Arm(REFERENCE, 0, 0, base)], replace(narrow, width=width)).parameters_per_variant()[0] for width in (2, 3, 4)]
    second = (counts[2] - 2 * counts[1] + counts[0]) // 2
    first = counts[1] - counts[0] - 5 * second
    return second * config.width**2 + first * config.width + counts[0] - 4 * second - 2 * first


def run_arms(
    config: ElegansConfig,
    arms: list[Arm],
    build: Build,
    objective: Objective,
    judge: Judge,
    draw: Draw,
    command: str,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
) -> ElegansResult:
    """Train all arms, side by side or in parts, test them, compare the families with the connectome, and write the run folder.

    Args:
        config: the settings.
        arms: from :func:`draw_arms`.
        build: makes the model of some of the arms, which belong together as they come.
        objective: loss and scores; the first score is compared.
        judge: what else to find out about the trained models.
        draw: figures from the samples that ``judge`` kept.
        command: that repeats the run, for the head of ``config.yaml``.
        out: run folder: ``config.yaml``, ``metrics.csv``, ``results.csv``, ``summary.json``, ``checkpoint/`` (in ``part-1/`` and so on if
            there are parts) and ``figures/``. ``None`` writes nothing.
        resume: go on with the run in ``out``.
        quiet: show warnings only.

    Raises:
        ValueError, TypeError: if the settings do not fit together.
        OSError: if a file cannot be read or written.
        TrainingError: if no variant of a part is left to train.
    """
    folder = None if out is None else ElegansFolder(out)
    if resume and folder is None:
        raise ValueError("out: expected the folder of the run to resume, got none; give it")
    config = config.with_absolute_paths()
    if folder is not None:
        if resume:
            folder.check_settings(config, command)
        else:
            folder.check_unused()
    device = resolve_device(config.training.device)
    images = load_images(config.dataset, config.image_root, quiet=quiet)
    size = config.at_once or len(arms)
    parts = [arms[start : start + size] for start in range(0, len(arms), size)]
    if not quiet:
        families = pd.Series([arm.family for arm in arms]).value_counts(sort=False)
        counts = ", ".join(f"{count} {family}" for family, count in families.items())
        say(f"{len(arms)} variants in {len(parts)} part(s) ({counts}), on {environment.device_name(device)}")
        say(f"{images.name}: {len(images.train_images):,} training and {len(images.test_images):,} test images")
    if folder is not None:
        folder.write_settings(config, command)
    tables: list[pd.DataFrame] = []
    metrics: list[pd.DataFrame] = []
    samples: dict[str, Any] = {}
    stopped: dict[int, str] = {}
    seconds, interrupted, first = 0.0, False, 0
    try:
        for number, part in enumerate(parts, start=1):
            if len(parts) > 1 and not quiet:
                say(f"part {number} of {len(parts)}")
            model = build(part, images)
            fitted = _fit_part(model, images, config, objective, part, folder, number if len(parts) > 1 else 0, resume, quiet)
            seconds += fitted.seconds
            table = fitted.results.assign(tested_at=fitted.tested_at, parameters=model.parameters_per_variant())
            table["trained"] = model.parameters_per_variant(trainable=True)
            table["variant"] += first
            metrics.append(fitted.metrics.assign(variant=fitted.metrics["variant"] + first))
            stopped |= {variant + first: reason for variant, reason in fitted.stopped.items()}
            interrupted = fitted.interrupted
            if interrupted:
                tables.append(table)
                break
            if not quiet:
                say("looking at the trained networks")
            columns, kept = judge(model, images)
            tables.append(table.assign(**columns))
            for arm, sample in zip(part, kept, strict=True):
                samples.setdefault(arm.family, sample)
            first += len(part)
            del model
    finally:
        if folder is not None:
            # Settings that training refuses would otherwise leave a folder behind that is neither empty nor a run.
            folder.discard_unstarted()
    results, along = pd.concat(tables, ignore_index=True), pd.concat(metrics, ignore_index=True)
    path = None if folder is None else folder.path
    if interrupted:
        return ElegansResult(config, results, along, None, stopped, seconds, True, {}, path, [])
    comparison = compare(results, reference=REFERENCE, value=objective.score_names[0])
    figures: list[Path] = []
    if folder is not None:
        summary = {
            "versions": environment.versions(),
            "device": environment.device_name(device),
            "seconds": round(seconds, 1),
            "stopped": {str(variant): reason for variant, reason in stopped.items()},
            "comparison": comparison.to_dict(),
        }
        folder.write_tables(results, along, summary)
        drawn = draw(samples, images) | _curves(results, along, objective.score_names[0])
        for name, figure in drawn.items():
            plots.save(figure, folder.figures / name)
            figures.append(folder.figures / name)
    return ElegansResult(config, results, along, comparison, stopped, seconds, False, samples, path, figures)


def _fit_part(
    model: VariantNetwork,
    images: ImageData,
    config: ElegansConfig,
    objective: Objective,
    arms: list[Arm],
    folder: ElegansFolder | None,
    number: int,
    resume: bool,
    quiet: bool,
) -> FitResult:
    rows = [(variant, arm.family, arm.wiring_seed, arm.seed) for variant, arm in enumerate(arms)]
    variants = pd.DataFrame(rows, columns=["variant", "family", "wiring_seed", "seed"])
    if folder is None:
        return fit(model, images, config.training, objective=objective, variants=variants, quiet=quiet)
    part = RunFolder(folder.path / f"part-{number}") if number else RunFolder(folder.path)
    if not part.has_checkpoint():
        (part.path / "metrics.csv").unlink(missing_ok=True)
        resume = False
    return fit(model, images, config.training, objective=objective, variants=variants, out=part.path, resume=resume, quiet=quiet)


def _curves(results: pd.DataFrame, metrics: pd.DataFrame, score: str) -> dict[str, Figure]:
    figures = {}
    # The connectome's runs can all have been stopped, and there is nothing to set families against.
    if results.loc[results["family"] == REFERENCE, score].notna().any():
        figures["families"] = plots.family_accuracies(results, value=score)
    if (metrics["split"] == "validation").any():
        figures["accuracy"] = plots.accuracy_curves(metrics, value=score)
    return figures


def wired_or_not(arms: list[Arm], frozen: str) -> list[tuple[str, list[Arm]]]:
    """The arms, cut where the kind of network changes: ``"wired"``, ``"frozen"``, or a control's family. Their order is kept."""
    groups: list[tuple[str, list[Arm]]] = []
    for arm in arms:
        kind = "frozen" if arm.family == frozen else "wired" if arm.wiring is not None else arm.family
        if not groups or groups[-1][0] != kind:
            groups.append((kind, []))
        groups[-1][1].append(arm)
    return groups


def together(models: list[VariantNetwork]) -> VariantNetwork:
    """One model as it is, several side by side."""
    return models[0] if len(models) == 1 else SideBySide(models)


def read_config(base: Settings, folder: str | Path) -> Settings:
    """The settings of the run in a folder; raises ``FileNotFoundError`` if there are none, and what :meth:`ElegansConfig.updated` does."""
    path = Path(folder).expanduser() / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"out: {folder} is no run folder, it has no config.yaml; give a folder that a run was written to")
    return base.updated(read_settings(path))


def on_device(model: nn.Module) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device
