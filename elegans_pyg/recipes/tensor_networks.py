"""Shared by the recipes of ElegansNet: settings, wirings, networks, and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

import elegans_pyg as ep
from elegans_pyg._settings import Count, Whole
from elegans_pyg.recipes.ensemble import REFERENCE, accuracy_figures, image_hash, images_of, load_wiring
from elegans_pyg.studies.settings import CyclicFamilies, ImageSettings, Wiring, WiringSettings
from elegans_pyg.studies.study import Finished, Memory, Report, Shard
from elegans_pyg.training.settings import FitSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch_geometric.data import Data

    from elegans_pyg.models.variants import VariantNetwork

Width = Annotated[int, Field(ge=2, le=1_000_000)]
ENCODER = "encoder"
"""The family with nothing between encoder and classes; other families without a wiring have dense layers."""
KEPT, COMPILED_BYTES = 3, 300 * 2**20
"""Numbers kept for the gradient per number of a tensor network's state, and memory of compiled kernels: from the peaks of training steps at
widths of 32 to 128 and batches of 20 to 200."""


class CyclicWirings(WiringSettings):
    """A connectome with both kinds of synapses, its runs, and wirings of each family of nulls."""

    group: ClassVar[str] = "Wirings"

    connectome: Wiring = Field(
        "varshney2011-hermaphrodite", description="Connectome by name (see info), or a file of edges, a matrix or a graph."
    )
    synapses: Literal["chemical", "electrical", "extrasynaptic", "both"] = Field("both", description="Kind of synapses.")
    families: CyclicFamilies = Field(("ws", "er", "ba", "rewired"), description="Families of nulls.")
    seeds: Count = Field(10, description="Runs of the connectome and of each baseline without a wiring, each from its own seed.")
    variants: Count = Field(10, description="Wirings drawn from each family.")


class TensorSettings(CyclicWirings, ImageSettings):
    """Tensor networks, and baselines without a wiring."""

    group: ClassVar[str] = "Network"

    width: Width = Field(784, description="Features per neuron.")
    combine: Literal["mul", "add"] = Field("mul", description="How a synapse acts on its target: multiply (published) or add.")
    norm: Literal["state", "unit", "none"] = Field(
        "state", description="LayerNorm of each state, of each unit's activation, or none (published)."
    )
    at_once: Whole = Field(0, description="Variants trained side by side, the others after them; 0: as many as fit in memory.")
    training: FitSettings = FitSettings()


def tensor_units(settings: TensorSettings, frozen: str, *baselines: str) -> ep.studies.Units:
    """The connectome's runs, the same runs as family ``frozen``, every family's wirings, and the ``baselines``, families without a wiring.

    Runs of the connectome, frozen or not, and of the baselines share seeds and thus the encoders' initial parameters, and are compared
    in pairs.
    """
    base = load_wiring(settings.connectome, settings)
    ep.studies.check_room(base, len(settings.families) * settings.variants, "variants")
    own = list(ep.studies.drawings(base, REFERENCE, settings.seed, settings.seeds))
    pairs: list[tuple[dict[str, object], Data | None]] = [*own, *(({**row, "family": frozen}, base) for row, _ in own)]
    for family in settings.families:
        pairs += ep.studies.drawings(base, family, settings.seed, settings.variants)
    pairs += [({**row, "family": family}, None) for family in baselines for row, _ in own]
    return ep.studies.Units.build([row for row, _ in pairs], [graph for _, graph in pairs])


def tensor_network(
    settings: TensorSettings, wirings: Sequence[Data], seeds: Sequence[int], *, width: int = 0, freeze: bool = False
) -> ep.nn.TensorNetwork:
    """The wirings as one ensemble of tensor networks, of the settings' width by default."""
    from torch_geometric.data import Data

    # Weights and names are not used, and generated graphs lack some of a connectome's attributes.
    needed = ("edge_index", "edge_type", "neuron_type", "num_nodes")
    bare = [Data(**{name: getattr(wiring, name) for name in needed}) for wiring in wirings]
    options: dict[str, Any] = {"combine": settings.combine, "norm": settings.norm, "freeze": freeze, "seeds": list(seeds)}
    return ep.nn.TensorNetwork(bare, width or settings.width, **options)


def network_parameters(settings: TensorSettings) -> int:
    """Number of parameters of the connectome's tensor network, which the baselines match."""
    base = load_wiring(settings.connectome, settings)
    # A quadratic polynomial in the width, determined at small widths: a network of the published width takes 400 MB.
    low, middle, high = (tensor_network(settings, [base], [0], width=width).parameters_per_variant()[0] for width in (2, 3, 4))
    steps = settings.width - 2
    return low + steps * (middle - low) + steps * (steps - 1) // 2 * (high - 2 * middle + low)


def build_models(settings: TensorSettings, shard: Shard, frozen: str, build: Callable[[Any, list[int]], VariantNetwork]) -> VariantNetwork:
    """Build one ensemble of a shard's units, in which units of one kind are contiguous. ``build`` makes whole networks from the middle part
    and the seeds; the middle part is a tensor network (frozen in the family ``frozen``), dense layers, or ``None``."""
    pairs, models = zip(shard.units["family"], shard.wirings, strict=True), []
    kinds = [family if family == frozen or wiring is None else REFERENCE for family, wiring in pairs]
    for kind, places in groupby(range(len(kinds)), key=kinds.__getitem__):
        rows = shard.units.iloc[list(places)]
        own: list[int] = rows["seed"].tolist()
        middle: Any = None
        if kind in (REFERENCE, frozen):
            wirings = [wiring for place in rows.index if (wiring := shard.wirings[place]) is not None]
            middle = tensor_network(settings, wirings, own, freeze=kind == frozen)
        elif kind != ENCODER:
            middle = ep.models.DenseNetwork(settings.width, network_parameters(settings), len(own), own)
        models.append(build(middle, own))
    return models[0] if len(models) == 1 else ep.models.SideBySide(models)


def tensor_data(settings: TensorSettings) -> dict[str, str]:
    """Hash the images, and check the training settings for them and that dense layers can match the width's parameters."""
    from elegans_pyg.models.dense_network import hidden_widths

    hashes = image_hash(settings)
    hidden_widths(settings.width, network_parameters(settings))
    return hashes


def tensor_memory(settings: TensorSettings, outside: tuple[int, int]) -> Memory:
    """Count parameters with their gradients, Adam's moments and the best weights, activations of a training step, and the images.
    ``outside``: numbers of parameters, and of activations per image, of the layers around the tensor network."""
    images, training = images_of(settings), settings.training
    rows = tensor_network(settings, [load_wiring(settings.connectome, settings)], [0], width=2).program.num_rows
    copies = 4 if training.select == "last" else 6
    parameters = network_parameters(settings) + outside[0]
    kept = training.batch_size * (KEPT * rows * settings.width + outside[1])
    each = (8 if training.precision == "float64" else 4) * (copies * parameters + kept)
    return Memory(COMPILED_BYTES + 2 * (images.train_images.numel() + images.test_images.numel()), each)


def report_networks(
    done: Finished[Any],
    title: str,
    labels: Mapping[str, str],
    scores: Mapping[str, tuple[str, int, int]],
    published: Sequence[tuple[str, ...]],
    notes: Sequence[str],
    counts: Sequence[str] = ("parameters",),
    figures: Mapping[str, Figure] | None = None,
) -> Report:
    """Report published beside measured scores, the families compared with the connectome, curves, and why units were stopped.

    The first table has a ``title``, ``published`` rows, and one row per family, named by ``labels`` if listed there: its runs, its
    ``counts`` of parameters, and its ``scores``, each with heading, scale and digits. The first score is compared.
    """
    import pandas as pd

    rows, metrics, score, table, cells = done.rows, done.joined("metrics.csv"), next(iter(scores)), [], list(published)
    for family, group in rows.groupby("family", sort=False):
        finished = group.dropna(subset=[score])
        row: dict[str, Any] = {"network": labels.get(str(family), str(family)), "family": family, "runs": len(finished)}
        row |= {name: group[name].mean() for name in ("parameters", "trained")}
        for name in scores:
            row |= {name: finished[name].mean(), f"{name}_sd": finished[name].std()}
        measured = [ep.studies.mean_and_sd(row[name], row[f"{name}_sd"], digits, scale) for name, (_, scale, digits) in scores.items()]
        cells.append((row["network"], str(row["runs"]), *(f"{row[name]:,.0f}" for name in counts), *measured))
        table.append(row)
    headings = ("network", "runs", *counts, *(heading for heading, _, _ in scores.values()))
    comparison = ep.analysis.compare(rows, reference=REFERENCE, value=score)
    return Report(
        [ep.studies.make_table(f"{title}, mean ± SD", headings, cells), ep.studies.comparison_table(comparison)],
        [*notes, *ep.studies.stopped_notes(rows)],
        {"metrics.csv": metrics, "networks.csv": pd.DataFrame(table)},
        {**(figures or {}), **accuracy_figures(rows, metrics, score)},
        {"iterations": done.settings.training.iterations, "dataset": done.settings.dataset},
        comparison,
    )
