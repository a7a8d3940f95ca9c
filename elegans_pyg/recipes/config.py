"""The settings that a run is made from, and that repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from elegans_pyg.datasets import Connectome
from elegans_pyg.datasets.images import IMAGE_SETS
from elegans_pyg.training.config import FitConfig

WIRINGS = ("constrained", "random")
MATCHES = ("dag",)
_COUNTS = {"seeds": 0, "variants": 1, "repeats": 1, "seed": 0, "channels": 1}
_TEXTS = ("connectome", "synapses", "wiring", "dataset", "edge_activation", "edge_init", "executor")
_OPTIONAL_TEXTS = ("neuron_table", "match", "image_root")


@dataclass(frozen=True)
class RunConfig:
    """Everything that repeats a run: which wirings, which images, what network, how it is trained.

    Args:
        connectome: name from :meth:`~elegans_pyg.datasets.Connectome.names`, or a file that
            :meth:`~elegans_pyg.datasets.Connectome.from_files` reads.
        neuron_table: CSV file with the neuron types of a ``connectome`` given as an edge list.
        synapses: ``"chemical"``, ``"electrical"`` or ``"both"``.
        beside: further connectomes (names or files) to train beside the first; each is a family of its own, under its own name.
        wiring: how a graph becomes a DAG: ``"constrained"`` (Park & Kim 2023) or ``"random"`` (Roberts et al. 2019).
        families: families of control wirings made from ``connectome``, see :class:`~elegans_pyg.datasets.WiringEnsemble`.
        seeds: runs of the connectome (and of each one beside it), which differ in their first parameters only; 0 leaves it out.
        variants: wirings drawn from each family.
        repeats: runs of each of these wirings, which differ in their first parameters only.
        seed: start of all wirings' and variants' seeds. A wiring's seed also starts its first run's parameters.
        match: ``"dag"`` adjusts the density of ``ws``, ``er`` and ``ba`` so that their DAGs have the connectome DAG's edge count.
        family_options: options of a family's transform, by family, such as ``{"rewired": {"fraction": 0.5}}``.
        dataset: images, see :func:`~elegans_pyg.datasets.load_images`.
        image_root: folder that holds the image sets by name.
        channels: feature maps per node.
        edge_activation, edge_init, executor: of :class:`~elegans_pyg.nn.DAGNet`.
        training: iterations, batch size, learning rate and the like.

    Raises:
        TypeError: if a field has the wrong type.
        ValueError: if a field is out of range, or would leave nothing to train.
    """

    connectome: str = "cook2019-hermaphrodite"
    neuron_table: str | None = None
    synapses: str = "chemical"
    beside: tuple[str, ...] = ()
    wiring: str = "constrained"
    families: tuple[str, ...] = ("ws", "er", "ba", "rewired")
    seeds: int = 3
    variants: int = 3
    repeats: int = 1
    seed: int = 0
    match: str | None = None
    family_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    dataset: str = "digits"
    image_root: str | None = None
    channels: int = 78
    edge_activation: str = "identity"
    edge_init: str = "in_degree"
    executor: str = "auto"
    training: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected a whole number, got {value!r}; give one of at least {least}")
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}; raise it")
        for name in (*_TEXTS, *_OPTIONAL_TEXTS):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and not (value is None and name in _OPTIONAL_TEXTS):
                raise TypeError(f"{name}: expected a name, got {value!r}; put it in quotes if it looks like a number")
        for name in ("beside", "families"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
                raise TypeError(f"{name}: expected a list of names, got {value!r}; write it as [ws, er]")
            if len(set(value)) < len(value):
                raise ValueError(f"{name}: expected each name once, got {', '.join(value)}; raise 'variants' or 'seeds' for more of one")
            object.__setattr__(self, name, tuple(value))
        _check_choice("wiring", self.wiring, WIRINGS)
        if self.match is not None:
            _check_choice("match", self.match, MATCHES)
        _check_families(self)
        if not isinstance(self.training, FitConfig):
            raise TypeError(f"training: expected a FitConfig, got {type(self.training).__name__}; build one with FitConfig(...)")

    def updated(self, settings: Mapping[str, Any]) -> RunConfig:
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
        training = changes.get("training", {})
        if isinstance(training, FitConfig):
            return replace(self, **changes)
        if not isinstance(training, Mapping):
            raise TypeError(f"training: expected a mapping of settings, got {training!r}; write them indented, one 'name: value' a line")
        changes["training"] = FitConfig.from_dict({**asdict(self.training), **training})
        return replace(self, **changes)

    @classmethod
    def from_yaml(cls, path: str | Path, base: RunConfig | None = None) -> RunConfig:
        """Read settings from a YAML file; what it leaves out is taken from ``base`` (default: the class's defaults).

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is no YAML mapping, or a key or value is wrong.
            TypeError: if a value has the wrong type.
        """
        return (base or cls()).updated(read_settings(path))

    def to_yaml(self) -> str:
        """All settings as YAML, which :meth:`from_yaml` reads back equal."""
        content = asdict(self)
        content["beside"], content["families"] = list(self.beside), list(self.families)
        return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True))

    def with_absolute_paths(self) -> RunConfig:
        """The same settings with every file or folder that is there named in full, so that they repeat the run from anywhere."""

        connectomes = Connectome.names()
        return replace(
            self,
            connectome=absolute(self.connectome, connectomes),
            beside=tuple(absolute(name, connectomes) for name in self.beside),
            neuron_table=None if self.neuron_table is None else absolute(self.neuron_table),
            dataset=absolute(self.dataset, IMAGE_SETS),
            image_root=None if self.image_root is None else absolute(self.image_root),
        )


def absolute(name: str, known: Sequence[str] = ()) -> str:
    """A file or folder that is there, named in full; anything else, and the names in ``known``, as they are."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name not in known and path.exists() else name


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises what :meth:`RunConfig.from_yaml` says about the file as a whole."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"config: {path} is no text file ({error.reason} at byte {error.start}); give a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"config: {path} is no YAML{where} ({problem}); write one 'name: value' a line") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"config: expected a YAML mapping in {path}, got a {type(content).__name__}; write one 'name: value' a line")
    return content


def schedule_for(iterations: int) -> dict[str, int]:
    """Learning rate decay, evaluations and checkpoints of a shorter or longer run: Park & Kim's proportions, of 10,000 in 15,000."""
    return {
        "lr_decay_every": max(1, round(iterations * 2 / 3)),
        "eval_every": max(1, round(iterations / 30)),
        "checkpoint_every": max(1, round(iterations / 15)),
    }


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: unknown choice {value!r}; choose from {', '.join(choices)}")


def _check_families(config: RunConfig) -> None:
    if "connectome" in config.families:
        raise ValueError("families: the connectome itself is always there, 'seeds' times; leave 'connectome' out of the list")
    options = config.family_options
    if not isinstance(options, dict) or not all(isinstance(key, str) and isinstance(value, dict) for key, value in options.items()):
        raise TypeError(f"family_options: expected options by family, got {options!r}; write them as {{rewired: {{fraction: 0.5}}}}")
    unused = [family for family in options if family not in config.families]
    if unused:
        chosen = ", ".join(config.families) or "none"
        raise ValueError(f"family_options: {unused[0]!r} is not among the families of this run ({chosen}); add it to 'families'")
    if config.seeds == 0 and not config.families:
        raise ValueError("seeds: expected at least 1 where there are no families, got 0; raise it or name a family")
