"""What the recipes of ElegansNet share: settings, wirings and their controls, networks, and what is reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from elegans_pyg._settings import Count, Whole
from elegans_pyg.recipes.ensemble import REFERENCE, image_hash, images_of, load_wiring
from elegans_pyg.studies.settings import CyclicFamilies, ImageSettings, Wiring, WiringSettings
from elegans_pyg.studies.study import Finished, Memory, Report, Shard
from elegans_pyg.training.settings import FitSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch_geometric.data import Data

    from elegans_pyg.models.variants import VariantNetwork
    from elegans_pyg.nn import TensorNetwork
    from elegans_pyg.studies.units import Units

Width = Annotated[int, Field(ge=2, le=1_000_000)]
ENCODER = "encoder"
"""The family without anything between encoder and classes; other families without a wiring have dense layers."""
KEPT, COMPILED_BYTES = 3, 300 * 2**20
"""Numbers kept for the gradient for each number of a tensor network's values, and what compiled kernels take: from the peaks of training
steps at widths of 32 to 128 and batches of 20 to 200."""


class CyclicWirings(WiringSettings):
    """A connectome with both kinds of synapses, its runs, and wirings of each family of controls."""

    group: ClassVar[str] = "Wirings"

    connectome: Wiring = Field("varshney2011-hermaphrodite", description="Connectome by name (see info), or a GraphML or CSV file.")
    synapses: Literal["chemical", "electrical", "both"] = Field("both", description="Kind of synapses.")
    families: CyclicFamilies = Field(("ws", "er", "ba", "rewired"), description="Families of control wirings; no DAGs.")
    seeds: Count = Field(10, description="Runs of the connectome and of each control without a wiring, each from its own seed.")
    variants: Count = Field(10, description="Wirings drawn from each family.")


class TensorSettings(CyclicWirings, ImageSettings):
    """Tensor networks, their rewired variants and their controls."""

    group: ClassVar[str] = "Network"

    width: Width = Field(784, description="Features of every neuron's value.")
    combine: Literal["mul", "add"] = Field("mul", description="What a synapse does to its target's value: multiply (published) or add.")
    norm: Literal["state", "unit", "none"] = Field("state", description="LayerNorm of each value, of each unit, or none (published).")
    at_once: Whole = Field(0, description="Variants trained side by side; others follow. 0: as many as fit in memory.")
    training: FitSettings = FitSettings()


def tensor_units(settings: TensorSettings, frozen: str, controls: Sequence[str]) -> Units:
    """The connectome's runs, the same frozen, every family's wirings, and the controls without any wiring.

    Runs of the connectome, of its frozen form and of the controls have the same seeds, hence the same first encoders, and are compared
    in pairs.

    Args:
        settings: of the study.
        frozen: name of the family of frozen connectomes.
        controls: families without a wiring.
    """
    from elegans_pyg.studies.units import Units, check_room, unit_seed
    from elegans_pyg.transforms import FAMILIES

    base = load_wiring(settings.connectome, settings)
    check_room(base, len(settings.families) * settings.variants, "variants")
    rows: list[dict[str, object]] = []
    graphs: list[Data | None] = []

    def add(family: str, graph: Data | None, seed: int, wiring_seed: int = 0) -> None:
        rows.append({"family": family, "wiring_seed": wiring_seed, "seed": seed})
        graphs.append(graph)

    own = [unit_seed(settings.seed, REFERENCE, number) for number in range(settings.seeds)]
    for family in (REFERENCE, frozen):
        for seed in own:
            add(family, base, seed)
    for family in settings.families:
        rewiring = FAMILIES[family].rewiring
        assert rewiring is not None  # as the settings have checked
        for number in range(settings.variants):
            seed = unit_seed(settings.seed, family, number)
            add(family, rewiring(seed=seed)(base), seed, seed)
    for family in controls:
        for seed in own:
            add(family, None, seed)
    return Units.build(rows, graphs)


def tensor_network(
    settings: TensorSettings, wirings: Sequence[Data], seeds: Sequence[int], *, width: int = 0, freeze: bool = False
) -> TensorNetwork:
    """The wirings as one ensemble of tensor networks, of the settings' width by default."""
    from torch_geometric.data import Batch, Data

    from elegans_pyg.nn import TensorNetwork

    # Weights and names play no part, and generated graphs lack some of what a connectome has.
    bare = [
        Data(edge_index=wiring.edge_index, edge_type=wiring.edge_type, neuron_type=wiring.neuron_type, num_nodes=wiring.num_nodes)
        for wiring in wirings
    ]
    options: dict[str, Any] = {"combine": settings.combine, "norm": settings.norm, "freeze": freeze, "seeds": list(seeds)}
    return TensorNetwork(Batch.from_data_list(bare), width or settings.width, **options)


def network_parameters(settings: TensorSettings) -> int:
    """Number of parameters of the connectome's tensor network, which controls are to have too."""
    base = load_wiring(settings.connectome, settings)
    # A polynomial of the second degree in the width, and counted at small ones: the published width would fill 400 MB.
    low, middle, high = (tensor_network(settings, [base], [0], width=width).parameters_per_variant()[0] for width in (2, 3, 4))
    steps = settings.width - 2
    return low + steps * (middle - low) + steps * (steps - 1) // 2 * (high - 2 * middle + low)


def build_models(settings: TensorSettings, shard: Shard, frozen: str, build: Callable[[Any, list[int]], VariantNetwork]) -> VariantNetwork:
    """One ensemble of a shard's units, whatever stands in the middle of each: their wirings, dense layers, or nothing.

    Args:
        settings: of the study.
        shard: its units; those of one kind follow each other.
        frozen: name of the family of frozen connectomes.
        build: from what stands in the middle (``None`` for nothing) and the seeds to the whole networks.
    """
    from elegans_pyg.models import DenseNetwork, SideBySide

    families, seeds = shard.units["family"].tolist(), shard.units["seed"].tolist()

    def kind(place: int) -> str:
        return families[place] if families[place] == frozen or shard.wirings[place] is None else REFERENCE

    models = []
    for name, together in groupby(range(len(families)), key=kind):
        places = list(together)
        own = [seeds[place] for place in places]
        middle: Any = None
        if name in (REFERENCE, frozen):
            wirings = [wiring for place in places if (wiring := shard.wirings[place]) is not None]
            middle = tensor_network(settings, wirings, own, freeze=name == frozen)
        elif name != ENCODER:
            middle = DenseNetwork(settings.width, network_parameters(settings), len(own), own)
        models.append(build(middle, own))
    return models[0] if len(models) == 1 else SideBySide(models)


def tensor_data(settings: TensorSettings) -> dict[str, str]:
    """SHA-256 of the images; also refuses what training on them would, and a width that dense layers cannot match."""
    from elegans_pyg.models.dense_network import hidden_widths

    hashes = image_hash(settings)
    hidden_widths(settings.width, network_parameters(settings))
    return hashes


def tensor_memory(settings: TensorSettings, outside: tuple[int, int]) -> Memory:
    """Parameters with their gradients, Adam's moments and the best weights; values that a training step keeps; and the images.

    Args:
        settings: of the study.
        outside: parameters of the layers around the tensor network, and numbers that these compute for an image.
    """
    images, training = images_of(settings), settings.training
    rows = tensor_network(settings, [load_wiring(settings.connectome, settings)], [0], width=2).program.num_rows
    copies = 4 if training.select == "last" else 6
    parameters = network_parameters(settings) + outside[0]
    kept = training.batch_size * (KEPT * rows * settings.width + outside[1])
    each = (8 if training.precision == "float64" else 4) * (copies * parameters + kept)
    return Memory(COMPILED_BYTES + 2 * sum(part.numel() for part in (images.train_images, images.test_images)), each)


def network_scores(rows: pd.DataFrame, labels: Mapping[str, str], scores: Sequence[str]) -> pd.DataFrame:
    """One row a family: ``network``, ``family``, ``runs``, mean ``parameters`` and ``trained``, and mean and ``_sd`` of each score."""
    import pandas as pd

    table = []
    for family, group in rows.groupby("family", sort=False):
        finished = group.dropna(subset=[scores[0]])
        row: dict[str, Any] = {"network": labels.get(str(family), str(family)), "family": family, "runs": len(finished)}
        row |= {name: group[name].mean() for name in ("parameters", "trained")}
        for name in scores:
            row |= {name: finished[name].mean(), f"{name}_sd": finished[name].std()}
        table.append(row)
    return pd.DataFrame(table)


def report_networks(
    done: Finished[Any], score: str, answer: Any, networks: pd.DataFrame, notes: Sequence[str], figures: Mapping[str, Figure] | None = None
) -> Report:
    """The answer, the families against the connectome, curves, and why units were stopped.

    Args:
        done: the finished study.
        score: column to compare.
        answer: table of published against measured.
        networks: from :func:`network_scores`.
        notes: what a reader has to know of the answer.
        figures: beside the curves.
    """
    from elegans_pyg import plots
    from elegans_pyg.analysis import compare
    from elegans_pyg.studies.tables import comparison_table

    rows, metrics = done.rows, done.joined("metrics.csv")
    comparison = compare(rows, reference=REFERENCE, value=score)
    drawn = dict(figures or {})
    # The connectome's runs can all have been stopped, and there is nothing to set families against.
    if rows.loc[rows["family"] == REFERENCE, score].notna().any():
        drawn["families"] = plots.family_accuracies(rows, value=score)
    if (metrics["split"] == "validation").any():
        drawn["accuracy"] = plots.accuracy_curves(metrics, value=score)
    stopped = [f"Unit {row.variant} ({row.family}) was stopped: {row.stopped}." for row in rows.itertuples() if row.stopped]
    return Report(
        [answer, comparison_table(comparison)],
        [*notes, *stopped],
        {"metrics.csv": metrics, "networks.csv": networks},
        drawn,
        {"iterations": done.settings.training.iterations, "dataset": done.settings.dataset},
        comparison,
    )


def with_spread(mean: float, sd: float, scale: float = 100, digits: int = 2) -> str:
    """Mean and, where there is one, standard deviation."""
    return f"{scale * mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {scale * sd:.{digits}f}")
