"""The declaration of a study, which a recipe makes.

Nothing here imports torch, so that ``--help`` answers at once; :mod:`elegans_pyg.studies.run` runs a study.
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
    """A study was stopped by the signal ``signum`` and can be resumed."""

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__()
        self.signum = signum


@dataclass(frozen=True)
class Shard:
    """Units that run side by side as one job: rows of the units' table, and the wiring of each, ``None`` where a unit has none.

    A shard keeps its files in its ``folder`` and reads them from there when it is resumed.
    """

    folder: Path
    units: pd.DataFrame
    wirings: list[Data | None]
    quiet: bool = True

    def graphs(self) -> list[Data]:
        """The wirings, without ``None``."""
        return [graph for graph in self.wirings if graph is not None]

    def variants(self) -> pd.DataFrame:
        """The units as the variants of one ensemble, numbered from 0."""
        table = self.units[["family", "wiring_seed", "seed"]].reset_index(drop=True)
        table.insert(0, "variant", range(len(table)))
        return table

    def write(self, name: str, content: pd.DataFrame | Mapping[str, Tensor] | bytes) -> None:
        """Write a table, tensors by name, or bytes to a file of the shard's folder, atomically."""
        write_content(self.folder / name, content)


@dataclass(frozen=True)
class Memory:
    """Peak memory of a shard: bytes independent of its units, such as images, and bytes per unit, ``(units,)`` or one number."""

    fixed: int
    unit: int | np.ndarray


@dataclass(frozen=True)
class Finished(Generic[S]):
    """A study whose shards are all done: one row per unit with its scores, the units with their wirings, the shards' folders in order."""

    settings: S
    rows: pd.DataFrame
    units: Units
    shards: list[Path]

    def joined(self, name: str) -> pd.DataFrame:
        """Join a table that every shard has written; ``variant`` changes from the position in the shard to the unit's number."""
        import pandas as pd

        parts = []
        for folder, (_, units) in zip(self.shards, self.units.table.groupby("shard"), strict=True):
            part = parse_csv((folder / name).read_bytes())
            parts.append(part.assign(variant=units["variant"].to_numpy()[part["variant"]]) if "variant" in part else part)
        return pd.concat(parts, ignore_index=True)

    def tensors(self, name: str, *keys: str) -> list[dict[str, Tensor]]:
        """Read the tensors of a file that every shard has written; raises ``ValueError`` if one is missing, damaged, or lacks some of
        ``keys``."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        parts = []
        for folder in self.shards:
            try:
                part = load((folder / name).read_bytes())
                parts.append({key: part[key] for key in keys} if keys else part)
            except (OSError, SafetensorError, KeyError) as error:
                raise ValueError(f"run: {folder / name} is missing or damaged; start a new run in another folder") from error
        return parts


@dataclass(frozen=True)
class Classified:
    """Predictions of classifiers for the test images, for ``report.html``.

    Args:
        images: uint8, ``(n, C, H, W)``, with ``C`` 1 or 3.
        labels, predictions: true classes ``(n,)``, and predicted classes of every unit, ``(V, n)``, negative where a unit was stopped.
        classes: name of each class.
    """

    images: Tensor
    labels: Tensor
    predictions: Tensor
    classes: Sequence[str]


@dataclass(frozen=True)
class Report:
    """The results of a study as they are reported.

    Args:
        tables: tables for the terminal, the main result first.
        notes: what a reader has to know, a sentence or two each.
        files: further tables, by the name of their file in the run folder.
        figures: figures by name.
        findings: plain values for ``summary.json``.
        comparison: the families compared with the reference, if the study compares families.
        comparisons: the same by task, if the study has several tasks.
        answer: the findings in sentences that the tests support; by default those of the comparisons.
        dots: by title, tables with ``family``, ``variant`` and ``value``, one dot per row; by default the study's score of every unit.
        classified: predictions of every unit for the test images.
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
    """The declaration of a study; :func:`run_study` runs it.

    Args:
        name: words of its command, such as ``"reproduce park-kim"``.
        settings: the class of its settings.
        units: function from settings to units; cheap, and without side effects. No shard holds units with two values of the column
            ``job``, if there is one.
        measure: function from settings and a shard to the shard's rows with their scores. It keeps checkpoints in the shard's folder,
            resumes from them, and raises :class:`Interrupted` after a signal has stopped it.
        report: function from the finished study to its report.
        data: function from settings to hashes, by name, of other data that the results depend on, such as images. It also raises an error,
            before anything is written, if the data are not available.
        memory: function that estimates the memory of ``units``; ``None`` if memory is no limit.
        network: function from settings and a shard to the untrained network of the shard's units, one variant each, in order; it may read
            the shard's folder. The trained weights are those of the shard's checkpoint, or, if the study trains in another way, those that
            ``measure`` writes to the file :data:`WEIGHTS`, by the unit's position in the shard and name: ``0/weight``. ``None``: nothing is
            trained.
        predicts: what such a network predicts for a user's files, see :func:`~elegans_pyg.studies.predict`: ``"classes"`` or
            ``"reconstructions"`` of images, ``"outputs"`` of sequences, or ``"voltages"`` from currents.
        base: function from the options given (members of groups by their own names) and a flag for the short form to the settings that
            these options are applied to. Default: the class's own defaults, with ``short`` in the short form.
        score: column of the rows by which families are compared.
        metrics, margins: by task, what the score is, and the difference below which scores count as equal, where one was registered.
        processes: whether a shard uses one core only, so that the local engine runs several at once.
        shard_size: function from settings to the largest number of units per shard; ``None``: as many as fit in memory.
        together: column whose equal values are never split over shards, where units are measured together; ``""``: none.
        text: description of the study in ``--help``.
        quick: description of the short form in ``--help``; empty if there is none.
        short: settings of the short form that differ from the class's defaults, for studies without ``base``.
        places: the setting that the command takes as positional arguments, if any.
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
    metrics: Mapping[str, str] = field(default_factory=dict)
    margins: Mapping[str, float] = field(default_factory=dict)
    processes: bool = False
    shard_size: Callable[[S], int | None] | None = None
    together: str = ""
    text: str = ""
    quick: str = ""
    short: Mapping[str, Any] = field(default_factory=dict)
    places: str = ""

    def make(self, options: Mapping[str, Any] | None = None, *, config: str | Path | None = None, quick: bool = False) -> S:
        """Make settings from a YAML file, such as a run's ``config.yaml``, and from options, which override it.

        ``options`` holds settings by name, members of a group by their own names; ``quick`` starts from the study's short form. Settings
        of the file that follow from others there, such as the schedule from the number of iterations, follow from the options too. Raises
        ``ValueError`` for a wrong value or an unknown name.
        """
        given: dict[str, Any] = {}
        if config is not None:
            for name, value in read_yaml(config).items():
                grouped = isinstance(value, dict) and name not in self.settings.flat_fields()
                given |= {str(inner): own for inner, own in value.items()} if grouped else {name: value}
        options = dict(options or {})
        if self.base is None:
            return self.settings(**(self.short if quick else {})).with_flat(given | options)
        base = self.base(given | options, quick)
        if given and options:
            follows = self.base(given, quick).flat()
            given = {name: value for name, value in given.items() if name not in follows or value != follows[name]}
        return base.with_flat(given | options)

    def defaults(self) -> S:
        """The settings without options. A device given keeps the study from looking for a GPU, which would import PyTorch and take
        seconds."""
        return self.make({"device": "cpu"}).with_flat({"device": "auto"}) if "device" in self.settings.flat_fields() else self.make()

    @property
    def short_name(self) -> str:
        """The last word of the name."""
        return self.name.split()[-1]
