"""The main studies: the connectome and its nulls, trained side by side on images and compared; and a single wiring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._settings import Count, Free, Names, Place, Whole
from elegans_pyg.studies.settings import (
    CONTROL_FAMILIES,
    Family,
    FamilyOptions,
    ImageSettings,
    WiringSettings,
    check_some_unit,
    connectomes,
    training_for,
)
from elegans_pyg.studies.study import Classified, Finished, Memory, Report, Shard, Study
from elegans_pyg.training.settings import FitSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch_geometric.data import Data

ITERATIONS, CHANNELS, BATCH_SIZE = 500, 24, 50
REFERENCE, PREDICTIONS = "connectome", "predictions.safetensors"
# Feature maps that a training step keeps per node (with scatter also per edge), as measured. Where auto tries both, levels must fit.
MAPS_PER_NODE, MAPS_PER_EDGE = {"fused": 1.7, "levels": 4.5, "auto": 4.5, "scatter": 7.0}, {"scatter": 1.0}


class ClassifierSettings(WiringSettings, ImageSettings):
    """Settings shared by all image classifiers on DAGs."""

    group: ClassVar[str] = "Network"

    dag: Literal["constrained", "random"] = Field(
        "constrained", description="How a wiring becomes a DAG: constrained (Park & Kim 2023) or random (Roberts et al. 2019)."
    )
    match: Literal["dag"] | None = Field(None, description="dag: match the DAG edge counts of ws, er, ba to the connectome's.")
    channels: Count = Field(CHANNELS, description="Feature maps per node.")
    edge_activation: Literal["identity", "sigmoid", "dale"] = Field(
        "identity", description="Edge weights as they are, through RandWire's sigmoid, or with one sign per neuron (Dale's principle)."
    )
    edge_init: Literal["in_degree", "synapse_count"] = Field("in_degree", description="Initial edge weights.")
    executor: Annotated[Literal["auto", "scatter", "levels", "fused"], Free()] = Field(
        "auto", description="Code that runs the DAGs; see info."
    )
    training: FitSettings = FitSettings(batch_size=BATCH_SIZE, **training_for({}, ITERATIONS))


class EnsembleSettings(ClassifierSettings, FamilyOptions):
    """The connectome's runs, and wirings of each family of nulls. The defaults are Park & Kim's (2023, doi:10.5607/en23004) recipe, scaled
    down to minutes on two CPU cores; channels, iterations and batch size were chosen on validation images."""

    group: ClassVar[str] = "Wirings"

    beside: Annotated[Names, Place(connectomes)] = Field((), description="Further connectomes, each as a family with its own name.")
    seeds: Whole = Field(3, description="Runs of the connectome, each from its own seed; 0 leaves it out.")
    variants: Count = Field(3, description="Wirings drawn from each family.")
    repeats: Count = Field(1, description="Runs of each null.")
    margin: Annotated[float, Field(gt=0, le=0.1)] | None = Field(
        None, description="Smaller differences in accuracy count as equal; 0.003 is 0.3 points. Set it before the run."
    )

    @model_validator(mode="after")
    def _something_to_train(self) -> EnsembleSettings:
        check_some_unit(self.seeds, self.families)
        labels = [REFERENCE, *CONTROL_FAMILIES]
        for name in self.beside:
            label = Path(name).stem
            if label in labels:
                raise ValueError(f"beside: {name!r} would be named {label!r}, which is the name of another family; rename the file")
            labels.append(label)
        return self


class TrainSettings(ClassifierSettings):
    """One wiring, in one or more runs."""

    group: ClassVar[str] = "Wirings"

    family: Family = Field(REFERENCE, description="The connectome itself, or one wiring of this family.")
    family_options: dict[str, dict[str, float]] = Field({}, description="Options of the family, such as rewired.fraction=0.5.")
    seeds: Count = Field(1, description="Runs of the wiring, each from its own seed.")

    @model_validator(mode="after")
    def _options_exist(self) -> TrainSettings:
        self.as_ensemble()
        return self

    def as_ensemble(self) -> EnsembleSettings:
        """The settings of the ensemble with this wiring alone."""
        shared = {name: getattr(self, name) for name in (*ClassifierSettings.model_fields, "family_options")}
        if self.family == REFERENCE:
            return EnsembleSettings(**shared, families=(), seeds=self.seeds)
        return EnsembleSettings(**shared, families=(self.family,), seeds=0, variants=1, repeats=self.seeds)


def base_settings(kind: type[ClassifierSettings], given: Mapping[str, Any], quick: bool) -> Any:
    """The defaults of a class, with the schedule scaled to the number of iterations given."""
    return kind(training=FitSettings(batch_size=BATCH_SIZE, **training_for(dict(given), ITERATIONS)))


def is_connectome(name: str) -> bool:
    """Whether this is the name of a connectome, known or misspelt, and not of a file."""
    path = Path(name).expanduser()
    return name in connectomes() or not (path.exists() or path.name != name or path.suffix)


def load_wiring(name: str, settings: Any) -> Data:
    """Load the connectome of that name, or the wiring in that file, with the settings' ``synapses``, ``neurons`` and roles of neurons.

    Raises:
        ValueError: for an unknown name, a malformed file, unknown neurons, a table of neurons where no wiring is in a file, or a wiring
            without an edge between two neurons.
        OSError: if the file cannot be read.
    """
    if is_connectome(name):
        # Where there are wirings beside it, the table may be of one of them.
        if name in connectomes() and settings.neurons and not getattr(settings, "beside", ()):
            raise ValueError(f"neurons: {name} has its own neurons, and --neurons is for a wiring in a file; name that file")
        graph = ep.datasets.Choices(**settings.choices).apply(ep.datasets.Connectome(name, synapses=settings.synapses)[0])
    else:
        graph = ep.datasets.Connectome.from_edges(Path(name).expanduser(), settings.neurons, settings.synapses, **settings.choices)
    if not bool((graph.edge_index[0] != graph.edge_index[1]).any()):
        kind = "" if settings.synapses == "both" else f"{settings.synapses} "
        raise ValueError(f"connectome: {name} has no {kind}synapse between two neurons; choose other synapses, or another connectome")
    return graph


def ensemble_units(settings: EnsembleSettings) -> ep.studies.Units:
    """The connectome first, then further connectomes, then the families.

    A wiring is drawn from its own ``wiring_seed`` (0 for a connectome's constrained DAG, which is not random) and does not depend on the
    other families or the number of wirings; ``seed`` determines the unit's initial parameters.
    """
    base = load_wiring(settings.connectome, settings)
    rows: list[dict[str, object]] = []
    graphs: list[Data | None] = []
    connectomes = {REFERENCE: base, **{Path(name).stem: load_wiring(name, settings) for name in settings.beside}}
    drawn_anew = settings.dag == "random"
    for label, connectome in connectomes.items() if settings.seeds else ():
        count = settings.seeds if drawn_anew else 1
        dags = list(ep.datasets.WiringEnsemble(connectome, REFERENCE, count, settings.seed, dag=settings.dag))
        for number in range(settings.seeds):
            dag, seed = dags[number % count], ep.studies.unit_seed(settings.seed, REFERENCE, number)
            rows.append({"family": label, "wiring_seed": dag.wiring_seed if drawn_anew else 0, "seed": seed})
            graphs.append(dag)
    for family in settings.families:
        # Families without a density option have the connectome's own edges or degrees and cannot be matched.
        match = settings.match if ep.transforms.FAMILIES[family].has_density else None
        options: dict[str, Any] = settings.family_options.get(family, {})
        drawn = ep.datasets.WiringEnsemble(base, family, settings.variants, settings.seed, None, match, settings.dag, True, **options)
        for number, dag in enumerate(drawn):
            for repeat in range(settings.repeats):
                seed = ep.studies.unit_seed(settings.seed, family, number, repeat)
                rows.append({"family": family, "wiring_seed": dag.wiring_seed, "seed": seed})
                graphs.append(dag)
    return ep.studies.Units.build(rows, graphs)


def images_of(settings: ImageSettings, quiet: bool = True) -> ep.datasets.ImageData:
    return ep.datasets.load_images(settings.dataset, settings.image_root, quiet=quiet, train_images=settings.train_images)


def image_hash(settings: Any) -> dict[str, str]:
    """Hash the images, and check the training settings for them."""
    images = images_of(settings, quiet=False)
    ep.studies.check_fit(settings.training, images)
    return {"images": images.digest()}


def classifier_memory(settings: ClassifierSettings, units: ep.studies.Units) -> Memory:
    """Count activations of one training step, parameters with Adam's moments, and the images."""
    import numpy as np

    from elegans_pyg.studies.machine import executor_for
    from elegans_pyg.training.objective import float_dtype

    images, training = images_of(settings), settings.training
    side = -(-images.image_size[0] // 2) * -(-images.image_size[1] // 2)
    executor = executor_for(settings.executor, ep.training.resolve_device(training.device), float_dtype(training.precision))
    nodes, edges = np.array([(graph.num_nodes, graph.num_edges) for graph in units.graphs()]).reshape(-1, 2).T
    maps = nodes * MAPS_PER_NODE[executor] + edges * MAPS_PER_EDGE.get(executor, 0)
    per_node = settings.channels * (maps * training.batch_size * side + 4 * 15 * nodes)
    each = (8 if training.precision == "float64" else 4) * (per_node + 4 * settings.channels**2)
    return Memory(2 * (images.train_images.numel() + images.test_images.numel()), each.astype(np.int64))


def classifiers(settings: ClassifierSettings, shard: Shard) -> ep.models.ConnectomeClassifier:
    """The shard's classifiers, untrained."""
    kind, seeds = ep.studies.image_kind(settings, shard), shard.units["seed"].tolist()
    options: dict[str, Any] = {name: getattr(settings, name) for name in ("channels", "executor", "edge_activation", "edge_init")}
    return ep.models.ConnectomeClassifier(shard.graphs(), kind.channels, len(kind.classes), seeds=seeds, **options)


def measure_classifiers(settings: ClassifierSettings, shard: Shard) -> pd.DataFrame:
    """Train the shard's classifiers side by side, and test them."""
    import torch

    images = images_of(settings)
    model = classifiers(settings, shard)
    fitted = ep.studies.fit_shard(shard, model, images, settings.training)
    assert fitted.test_predictions is not None  # as this objective has classes
    shard.write(PREDICTIONS, {"predictions": fitted.test_predictions.to(torch.int16).contiguous()})
    rows = ep.studies.fitted_rows(shard, fitted, model)
    return rows.assign(parameters_without_norm=model.parameters_per_variant(norm=False), executor=model.dag.executor_in_use())


def report_classifiers(done: Finished[Any]) -> Report:
    """Compare the families, list counts that do not match, and draw the figures."""
    import torch
    from safetensors.torch import save

    from elegans_pyg.studies.match import TOLERANCE, match_table, wiring_counts

    rows, metrics = done.rows, done.joined("metrics.csv")
    if rows["family"].nunique() > 1:
        comparison = ep.analysis.compare(rows, reference=str(rows["family"].iloc[0]), margin=getattr(done.settings, "margin", None))
        answer: Any = ep.studies.comparison_table(comparison)
    else:
        comparison, cells = None, []
        for row in rows.itertuples():
            accuracy = ep.studies.MISSING if row.stopped else f"{100 * row.accuracy:.2f}"
            cells.append((str(row.variant), row.family, str(row.wiring_seed), str(row.seed), accuracy))
        answer = ep.studies.make_table("Test accuracy", ("unit", "family", "wiring seed", "seed", "accuracy %"), cells, left=2)
    match = match_table(wiring_counts(done.units.graphs(), rows))
    names = [name for name in match.columns if name not in ("family", "differs")]
    means = [(row["family"], *(f"{row[name]:,.1f}".removesuffix(".0") for name in names)) for row in match.to_dict(orient="records")]
    off = _edges_kept(done)
    off += [f"{row.family} differs by over {TOLERANCE:.0%} in {row.differs}" for row in match.itertuples() if row.differs]
    if match["differs"].any() and done.settings.dag == "constrained" and done.settings.match is None:
        off.append("What families keep, such as degrees, they keep in the whole wiring; a DAG drops the edges that run backwards.")
    predictions = torch.cat([part["predictions"] for part in done.tensors(PREDICTIONS, "predictions")])
    images = images_of(done.settings)
    findings = {"iterations": done.settings.training.iterations, "dataset": done.settings.dataset}
    nothing = nothing_learned(rows, images.test_labels)
    return Report(
        [answer, ep.studies.make_table("Wirings, means by family", ("family", *names), means), ep.studies.bullets(off)],
        [*nothing, *ep.studies.stopped_notes(rows)],
        {"metrics.csv": metrics, PREDICTIONS: save({"predictions": predictions})},
        {**accuracy_figures(rows, metrics), **_classifier_figures(done, predictions.long())},
        {"executor": str(rows["executor"].iloc[0]), **findings, "match": match.to_dict(orient="records")},
        comparison,
        answer=nothing,
        classified=Classified(images.test_images, images.test_labels, predictions, images.classes),
    )


def nothing_learned(rows: pd.DataFrame, labels: Tensor) -> list[str]:
    """A sentence, if no network that came to the end does better than to always name the most frequent class of the test images."""
    most, best = int(labels.bincount().max()), rows["accuracy"].max()
    if not best * len(labels) < most + 0.5:
        return []
    compared = ", so nothing can be compared" if rows["family"].nunique() > 1 else ""
    naming = f"No network does better than always naming the most frequent class ({100 * most / len(labels):.2f} %)"
    return [f"{naming}: nothing was learned{compared}; raise --iterations."]


def _edges_kept(done: Finished[Any]) -> list[str]:
    """How many of the connectome's edges its DAG keeps; nothing if its file is gone or was changed since."""
    dag = done.units.first_of_families().get(REFERENCE)
    if dag is None or done.settings.dag != "constrained":
        return []
    try:
        whole = load_wiring(done.settings.connectome, done.settings)
        same = ep.transforms.ConstrainedDAG()(whole).edge_index.equal(dag.edge_index)
    except (OSError, ValueError):
        return []
    # Chemical and electrical synapses from one neuron to another are one edge of the DAG.
    count, kept = whole.edge_index.unique(dim=1).size(1), dag.num_edges
    return [f"{REFERENCE}: {count:,} synaptic connections; the DAG keeps {kept:,} ({100 * kept / count:.0f} %)"] if same else []


def accuracy_figures(rows: pd.DataFrame, metrics: pd.DataFrame, score: str = "accuracy") -> dict[str, Figure]:
    """Figures of the score by family and, from two evaluations on, during training, with the first family as reference."""
    figures, reference = {}, str(rows["family"].iloc[0])
    # If all runs of the first family were stopped, there is no reference.
    if rows.loc[rows["family"] == reference, score].notna().any():
        figures["families"] = ep.plots.family_accuracies(rows, reference, score)
    # One evaluation is no curve.
    if metrics.loc[metrics["split"] == "validation", "iteration"].nunique() > 1:
        figures["accuracy"] = ep.plots.accuracy_curves(metrics, reference, value=score)
    return figures


def _classifier_figures(done: Finished[Any], predictions: Tensor) -> dict[str, Figure]:
    """A DAG of each family; and, of the first family with a finished run (the connectome, where it has one), the confusion matrix of all
    its runs and examples of the first run, which is not chosen by its accuracy."""
    import numpy as np

    figures, wirings = {}, done.units.table.groupby("family")["wiring"].nunique()
    for family, wiring in done.units.first_of_families().items():
        count = wirings[family]
        which = f"family {family}, the first of {count} wirings" if count > 1 else f"family {family}"
        figures[f"dag-{family}"] = ep.plots.titled(ep.plots.layered_dag(wiring), which)
    finished = done.rows[done.rows["accuracy"].notna()]
    if len(finished):
        images, first = images_of(done.settings), finished.iloc[0]
        runs = finished.loc[finished["family"] == first["family"], "variant"].tolist()
        predicted, labels = predictions[first["variant"]], images.test_labels
        one = (
            f"{first['family']}, unit {first['variant']} (seed {first['seed']}): the first run that came to the end, not chosen by accuracy"
        )
        for name, correct in (("examples-right", True), ("examples-wrong", False)):
            if bool((predicted == labels).eq(correct).any()):
                drawn = ep.plots.examples(images.test_images, labels, predicted, images.classes, correct=correct)
                figures[name] = ep.plots.titled(drawn, one)
        pooled = f"{first['family']}, all {len(runs)} runs that came to the end, pooled" if len(runs) > 1 else one
        confusion = ep.plots.confusion_matrix(np.tile(labels, len(runs)), predictions[runs].flatten(), images.classes)
        figures["confusion"] = ep.plots.titled(confusion, pooled)
    return figures


ENSEMBLE: Study[EnsembleSettings] = Study(
    "ensemble",
    EnsembleSettings,
    ensemble_units,
    measure_classifiers,
    report_classifiers,
    data=image_hash,
    memory=classifier_memory,
    network=classifiers,
    predicts="classes",
    base=partial(base_settings, EnsembleSettings),
    text="""Train the connectome and its nulls side by side, and compare them.

    By default: the hermaphrodite with 3 seeds and 3 wirings each of ws, er, ba and rewired, 24 channels, 500 iterations on the embedded
    8x8 digits.""",
)
TRAIN: Study[Any] = replace(
    cast(Any, ENSEMBLE),
    name="train",
    settings=TrainSettings,
    units=lambda settings: ensemble_units(settings.as_ensemble()),
    base=partial(base_settings, TrainSettings),
    text="Train one wiring: by default the hermaphrodite's constrained DAG, 24 channels, 500 iterations on the embedded 8x8 digits.",
)
