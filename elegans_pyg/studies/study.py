"""What a recipe declares: a study.

Nothing here imports torch, so that ``--help`` answers at once; :mod:`elegans_pyg.studies.run` runs what is declared.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from elegans_pyg._files import parse_csv, write_content
from elegans_pyg._settings import Settings, read_yaml

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch_geometric.data import Data

    from elegans_pyg.studies.units import Units

S = TypeVar("S", bound=Settings)
WEIGHTS = "weights.safetensors"


class Interrupted(KeyboardInterrupt):
    """A study was asked to stop by the signal ``signum``, and can be resumed."""

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__()
        self.signum = signum


@dataclass(frozen=True)
class Shard:
    """Units that run side by side as one job: rows of the units' table, and the wiring of each, ``None`` where a unit has none.

    What a shard keeps is kept in its ``folder``, and read from there when it is resumed. ``label`` is what to call it while it runs.
    """

    folder: Path
    units: pd.DataFrame
    wirings: list[Data | None]
    quiet: bool = True
    label: str = ""

    def graphs(self) -> list[Data]:
        """The wirings of units that all have one."""
        return [graph for graph in self.wirings if graph is not None]

    def variants(self) -> pd.DataFrame:
        """The units as the variants of one ensemble, numbered from 0."""
        table = self.units[["family", "wiring_seed", "seed"]].reset_index(drop=True)
        table.insert(0, "variant", range(len(table)))
        return table

    def write(self, name: str, content: pd.DataFrame | Mapping[str, Tensor] | bytes) -> None:
        """Keep a table, tensors by name, or bytes in a file of the shard's folder, whole or not at all."""
        write_content(self.folder / name, content)


@dataclass(frozen=True)
class Memory:
    """What a shard needs at its peak: bytes whatever its units, such as images, and bytes a unit, ``(units,)`` or one number."""

    fixed: int
    unit: int | np.ndarray


@dataclass(frozen=True)
class Finished(Generic[S]):
    """A study whose shards are all done: one row a unit with its scores, the units with their wirings, the shards' folders in order."""

    settings: S
    rows: pd.DataFrame
    units: Units
    shards: list[Path]

    def joined(self, name: str) -> pd.DataFrame:
        """A table that every shard has written, as one; its ``variant`` counts within a shard, and becomes the unit's own number."""
        import pandas as pd

        parts = []
        for folder, (_, units) in zip(self.shards, self.units.table.groupby("shard"), strict=True):
            part = parse_csv((folder / name).read_bytes())
            parts.append(part.assign(variant=units["variant"].to_numpy()[part["variant"]]) if "variant" in part else part)
        return pd.concat(parts, ignore_index=True)

    def tensors(self, name: str, *keys: str) -> list[dict[str, Tensor]]:
        """The tensors of a file that every shard has written; a ``ValueError`` if one is missing, damaged, or without some of ``keys``."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        parts = []
        for folder in self.shards:
            try:
                part = load((folder / name).read_bytes())
                parts.append({key: part[key] for key in keys} if keys else part)
            except (OSError, SafetensorError, KeyError) as error:
                raise ValueError(f"run: {folder / name} is missing or damaged; start anew in another folder") from error
        return parts


@dataclass(frozen=True)
class Classified:
    """What classifiers made of the test images, for ``report.html``.

    Args:
        images: uint8, ``(n, C, H, W)``, with ``C`` 1 or 3.
        labels, predictions: true classes ``(n,)``, and those of every unit, ``(V, n)``, negative where a unit was stopped.
        classes: name of each class.
    """

    images: Tensor
    labels: Tensor
    predictions: Tensor
    classes: Sequence[str]


@dataclass(frozen=True)
class Report:
    """What a study has to say.

    Args:
        tables: for the terminal, the answer first.
        notes: what a reader has to know, a sentence or two each.
        files: further tables, by the name of their file in the run folder.
        figures: by name.
        findings: for ``summary.json``: plain values.
        comparison: the families against the reference, if the study compares families.
        comparisons: the same by task, if it compares them in several.
        answer: what the study found, in sentences that its tests allow; by default those of the comparisons.
        dots: by title, tables with ``family``, ``variant`` and ``value``, a dot a row; by default the study's score of every unit.
        classified: what every unit made of the test images.
    """

    tables: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: Mapping[str, pd.DataFrame | bytes] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    findings: Mapping[str, Any] = field(default_factory=dict)
    comparison: Any = None
    comparisons: Mapping[str, Any] = field(default_factory=dict)
    answer: Sequence[str] = ()
    dots: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    classified: Classified | None = None


@dataclass(frozen=True)
class Study(Generic[S]):
    """What a recipe declares; everything else is :func:`run_study`'s.

    Args:
        name: words of its command, such as ``"reproduce park-kim"``.
        settings: the class of its settings.
        units: settings to units; cheap, and without side effects. Units that have to run side by side have the same value in a column
            ``job``, and no shard holds those of two jobs.
        measure: settings and a shard to the shard's rows with their scores. It keeps checkpoints in the shard's folder, resumes from
            them, and raises :class:`Interrupted` once it has stopped for a signal.
        report: what is reported once all shards are done.
        data: hashes of what else the results depend on, by name, such as the images' own. It also refuses, before anything is written,
            what could not be had later.
        memory: an estimate for ``units``; ``None`` if that is no matter.
        network: settings and a shard to the untrained network of the shard's units, one variant each, in order; it may look into the
            shard's folder. The trained weights are those of the shard's checkpoint, or, of a study that trains in other ways, those that
            ``measure`` keeps in the file :data:`WEIGHTS`, by the unit's place in the shard and name: ``0/weight``. ``None``: nothing is
            trained.
        predicts: what such a network makes of one's own files, see :func:`~elegans_pyg.studies.predict`: ``"classes"``, or
            ``"reconstructions"``, of images; ``"outputs"`` of sequences; ``"voltages"`` from currents.
        base: from the options given (members of groups by their own names) and whether the short form is asked for, the settings that
            those options are applied to. Default: the class's own defaults, and in the short form ``short``.
        score: column of the rows by which families are compared.
        processes: whether a shard keeps one core busy only, so that the local engine runs several at once.
        shard_size: most units a shard; ``None``: as many as fit in memory. A function of the settings.
        text: what ``--help`` says of it.
        quick: what ``--help`` says of the short form; empty if there is none.
        short: settings of the short form that differ from the class's defaults, for studies without ``base``.
        places: the setting that the command takes without an option's name, if any.
    """

    name: str
    settings: type[S]
    units: Callable[[S], Units]
    measure: Callable[[S, Shard], pd.DataFrame]
    report: Callable[[Finished[S]], Report]
    data: Callable[[S], dict[str, str]] | None = None
    memory: Callable[[S, Units], Memory] | None = None
    network: Callable[[S, Shard], Any] | None = None
    predicts: str = ""
    base: Callable[[Mapping[str, Any], bool], S] | None = None
    score: str = "accuracy"
    processes: bool = False
    shard_size: Callable[[S], int | None] | None = None
    text: str = ""
    quick: str = ""
    short: Mapping[str, Any] = field(default_factory=dict)
    places: str = ""

    def make(self, options: Mapping[str, Any] | None = None, *, config: str | Path | None = None, quick: bool = False) -> S:
        """Settings from a YAML file, such as a run's ``config.yaml``, and from options, which override it.

        ``options`` holds settings by name, members of a group by their own names; ``quick`` starts from the study's short form. Raises
        ``ValueError`` for a wrong value or an unknown name.
        """
        given: dict[str, Any] = {}
        if config is not None:
            for name, value in read_yaml(config).items():
                grouped = isinstance(value, dict) and name not in self.settings.flat_fields()
                given |= {str(inner): own for inner, own in value.items()} if grouped else {name: value}
        given |= dict(options or {})
        base = self.settings(**(self.short if quick else {})) if self.base is None else self.base(given, quick)
        return base.with_flat(given)

    @property
    def short_name(self) -> str:
        """The last word of the name."""
        return self.name.split()[-1]
