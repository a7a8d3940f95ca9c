"""From settings to an answer: build the wirings, train them side by side, compare them, draw the figures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch_geometric.data import Batch, Data

from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.datasets import Connectome, WiringEnsemble, load_images
from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.recipes import environment
from elegans_pyg.recipes.config import RunConfig
from elegans_pyg.recipes.figures import draw_figures, first_wirings
from elegans_pyg.recipes.match import match_table, wiring_counts
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.training import FitResult, fit, resolve_device
from elegans_pyg.transforms import FAMILIES

REFERENCE = "connectome"


@dataclass(frozen=True)
class RunResult:
    """What a run ends in.

    Attributes:
        config: the settings.
        results: one row a variant: ``variant``, ``family``, ``wiring_seed``, ``seed``, ``accuracy`` on the test images (0 to 1).
        comparison: the families against the connectome; ``None`` with a single family, or if the run was interrupted.
        match: one row a family: what its wirings have in common with the connectome's, see :func:`match_table`.
        fit: losses, predictions, speed.
        summary: what ``summary.json`` holds; empty if the run was interrupted.
        out: the run folder.
        figures: the figures' files, without their suffixes.
    """

    config: RunConfig
    results: pd.DataFrame
    comparison: Comparison | None
    match: pd.DataFrame
    fit: FitResult
    summary: dict[str, Any]
    out: Path | None
    figures: list[Path]

    @property
    def interrupted(self) -> bool:
        return self.fit.interrupted


def load_connectome(name: str, config: RunConfig) -> Data:
    """The connectome of that name, or the one in that file.

    Raises:
        ValueError: if ``name`` is neither a known name nor a file, or the file is bad.
        FileNotFoundError: if ``name`` is the path of a file that is not there.
    """
    path = Path(name).expanduser()
    if name in Connectome.names() or not (path.exists() or path.name != name or path.suffix):
        return Connectome(name, synapses=config.synapses)[0]
    return Connectome.from_files(path, neurons=config.neuron_table, synapses=config.synapses)


def build_variants(config: RunConfig, progress: bool = False) -> tuple[Batch, pd.DataFrame]:
    """All wirings of a run, and a table that says what each one is.

    The connectome comes first, then those beside it, then the families. A wiring is drawn from its own ``wiring_seed`` (0 for a
    connectome's constrained DAG, which is not drawn), whatever the other families and however many wirings there are; ``seed`` starts the
    variant's parameters.

    Args:
        config: the settings.
        progress: show a progress bar where it takes long.

    Returns:
        the DAGs, and one row each: ``variant``, ``family``, ``wiring_seed``, ``seed``.

    Raises:
        ValueError: for an unknown connectome, family or option, or a graph without the nodes that a DAG needs.
        OSError: if a file cannot be read.
    """
    base = load_connectome(config.connectome, config)
    graphs: list[Data] = []
    rows: list[tuple[str, int, int]] = []
    connectomes = {REFERENCE: base}
    for name in config.beside:
        label = Path(name).stem
        if label in connectomes or label in FAMILIES:
            raise ValueError(f"beside: {name!r} would be known as {label!r}, which is another family's name already; rename the file")
        connectomes[label] = load_connectome(name, config)
    for label, connectome in connectomes.items() if config.seeds else ():
        for dag in WiringEnsemble(connectome, "connectome", config.seeds, config.seed, dag=config.wiring, progress=progress):
            graphs.append(dag)
            rows.append((label, dag.variant_seed if config.wiring == "random" else 0, dag.variant_seed))
    for family in config.families:
        # The families without a density to choose have the connectome's own edges or degrees, and refuse to be matched.
        match = config.match if family in FAMILIES and FAMILIES[family].has_density else None
        ensemble = WiringEnsemble(
            base,
            family,
            config.variants,
            config.seed,
            match=match,
            dag=config.wiring,
            progress=progress,
            **config.family_options.get(family, {}),
        )
        for dag in ensemble:
            for repeat in range(config.repeats):
                graphs.append(dag)
                rows.append((family, dag.variant_seed, dag.variant_seed + repeat))
    variants = pd.DataFrame(rows, columns=["family", "wiring_seed", "seed"])
    variants.insert(0, "variant", range(len(variants)))
    # A random DAG has no distances from the sensory neurons, and a batch holds only what all of its graphs have.
    keys = [set(graph.keys()) for graph in graphs]
    partial = sorted(set.union(*keys) - set.intersection(*keys))
    return Batch.from_data_list(graphs, exclude_keys=partial), variants


def run(config: RunConfig, out: str | Path | None = None, *, resume: bool = False, quiet: bool = False) -> RunResult:
    """Train all wirings of ``config`` side by side, compare them, and write the run folder.

    Args:
        config: the settings.
        out: run folder: ``config.yaml``, ``metrics.csv``, ``results.csv``, ``summary.json``, ``checkpoint/``, ``figures/``. ``None`` writes
            nothing.
        resume: go on with the run in ``out``, from its checkpoint.
        quiet: show warnings only.

    Raises:
        ValueError, TypeError: if the settings do not fit together.
        OSError: if a file cannot be read or written.
        ImportError: if an extra is needed and missing.
        TrainingError: if no variant is left to train.
    """
    folder = None if out is None else RunFolder(out)
    if resume and folder is None:
        raise ValueError("out: expected the folder of the run to resume, got none; give it")
    if folder is not None and not resume:
        folder.check_unused()
    config = config.with_absolute_paths()
    device = resolve_device(config.training.device)
    images = load_images(config.dataset, config.image_root, quiet=quiet)
    batch, variants = build_variants(config, progress=not quiet)
    model = ConnectomeClassifier(
        batch,
        images.in_channels,
        images.num_classes,
        config.channels,
        seeds=variants["seed"].tolist(),
        executor=config.executor,
        edge_activation=config.edge_activation,
        edge_init=config.edge_init,
    )
    parameters = model.parameters_per_variant()
    match = match_table(wiring_counts(batch, variants, parameters))
    if not quiet:
        counts = ", ".join(f"{count} {family}" for family, count in variants["family"].value_counts(sort=False).items())
        say(f"{len(variants)} variants side by side ({counts}), {sum(parameters):,} parameters, on {environment.device_name(device)}")
        say(f"{images.name}: {len(images.train_images):,} training and {len(images.test_images):,} test images")
    if folder is not None:
        if resume and not folder.has_checkpoint():
            folder.discard_start()
            resume = False
        folder.write_config(config)
    try:
        fitted = fit(
            model, images, config.training, variants=variants, out=None if folder is None else folder.path, resume=resume, quiet=quiet
        )
    finally:
        if folder is not None and not folder.has_checkpoint():
            # Settings that training refuses would otherwise leave a folder behind that is neither empty nor a run.
            folder.discard_start()
    if fitted.interrupted or fitted.test_predictions is None:
        return RunResult(config, fitted.results, None, match, fitted, {}, None if folder is None else folder.path, [])

    comparison = None
    if fitted.results["family"].nunique() > 1:
        comparison = compare(fitted.results, reference=str(fitted.results["family"].iloc[0]))
    summary = _summary(config, fitted, comparison, match, model, environment.device_name(device))
    figures: list[Path] = []
    if folder is not None:
        folder.write_results(fitted.results, fitted.test_predictions, summary)
        if not quiet:
            say(f"drawing the figures into {folder.figures}")
        figures = draw_figures(folder, images, first_wirings(batch, variants), fitted.metrics, fitted.results, fitted.test_predictions)
    return RunResult(config, fitted.results, comparison, match, fitted, summary, None if folder is None else folder.path, figures)


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def _summary(
    config: RunConfig, fitted: FitResult, comparison: Comparison | None, match: pd.DataFrame, model: ConnectomeClassifier, device: str
) -> dict[str, Any]:
    results = fitted.results
    parameters = {
        name: pd.Series(model.parameters_per_variant(norm=norm)).groupby(results["family"], sort=False).unique()
        for name, norm in (("all", True), ("without_batch_norm", False))
    }
    return {
        "versions": environment.versions(),
        "device": device,
        "executor": model.dag.executor_in_use(),
        "variants": len(results),
        "iterations": fitted.iterations,
        "seconds": round(fitted.seconds, 1),
        "images_per_second": round(fitted.images_per_second, 1),
        "dataset": config.dataset,
        "test_accuracy": {
            str(family): [None if pd.isna(value) else value for value in group]
            for family, group in results.groupby("family", sort=False)["accuracy"]
        },
        "validation_accuracy": [None if pd.isna(value) else float(value) for value in fitted.validation_accuracy],
        "stopped": {str(variant): reason for variant, reason in fitted.stopped.items()},
        "parameters": {name: {str(family): counts.tolist() for family, counts in table.items()} for name, table in parameters.items()},
        "match": match.to_dict(orient="records"),
        "comparison": None if comparison is None else comparison.to_dict(),
    }
