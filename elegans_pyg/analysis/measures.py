"""All measures of many wirings at once, as a table."""

from collections.abc import Sequence

import pandas as pd
from torch_geometric.data import Batch, Data, Dataset

from elegans_pyg._arguments import check_seed
from elegans_pyg._extras import require
from elegans_pyg._progress import track
from elegans_pyg._threads import in_threads
from elegans_pyg.analysis.communities import community_measures
from elegans_pyg.analysis.dag_shape import dag_measures
from elegans_pyg.analysis.degrees import degree_measures, size_measures
from elegans_pyg.analysis.dyads import dyad_measures
from elegans_pyg.analysis.motifs import four_motif_measures, motif_measures
from elegans_pyg.analysis.simple_graph import Measure, MeasureGroup, SimpleGraph
from elegans_pyg.analysis.small_world import path_measures, small_world_measures, triangle_measures
from elegans_pyg.analysis.spectrum import spectrum_measures
from elegans_pyg.analysis.symmetry import symmetry_measures
from elegans_pyg.wirings import as_wiring

_GROUPS: dict[str, MeasureGroup] = {
    group.name: group
    for group in (
        *(size_measures, degree_measures, path_measures, triangle_measures, spectrum_measures, dyad_measures, motif_measures),
        *(four_motif_measures, symmetry_measures, dag_measures, small_world_measures, community_measures),
    )
}

MEASURES: dict[str, Measure] = {name: measure for group in _GROUPS.values() for name, measure in group.columns.items()}
"""Description of every column of :func:`measures`, by name."""

LOOKED_AT = ("edge_index", "edge_weight", "edge_type", "neuron_type", "neuron_name", "level", "input_mask", "output_mask")
"""The attributes of a ``Data`` that measures depend on."""
_ON_REQUEST = ("small_world", "four_motifs", "communities")
_EXTRAS = {
    "four_motifs": ("numba", "fast", "counting motifs of four neurons"),
    "communities": ("igraph", "structure", "finding communities"),
}


def measures(
    graphs: Data | Batch | Dataset | Sequence[Data], which: Sequence[str] | None = None, seed: int = 0, quiet: bool = True
) -> pd.DataFrame:
    """Measure the structure of wirings, cyclic connectomes and DAGs alike.

    Every value is a number; descriptions in :data:`MEASURES` say which, if a measure would be undefined (no triangle, no such type of
    neuron). A measure that a wiring cannot have at all is left out of the table by default, and raises an error if asked for by name. A
    graph of electrical synapses alone is symmetric, and its directed measures are those of a symmetric graph (reciprocity 1, no
    feed-forward loop, no three-cycle).

    Groups: ``size`` (neurons, edges, self-loops, density), ``degrees`` (reciprocity, spread of degrees and strengths, assortativity by
    degree and type, rich club), ``paths`` (length, efficiency, diameter, connected parts), ``triangles`` (clustering, undirected and
    directed, transitivity), ``spectrum`` (spectral radius), ``dyads`` (dyadicity and heterophilicity of sensory, inter- and motor neurons,
    over 1, 2 and 3 edges), ``motifs`` (coloured and plain triples: entropy, information, loops), ``symmetry`` (left and right; needs
    ``neuron_name``), ``dag`` (levels, widths, paths; needs ``level``, so DAGs only); and on request ``small_world`` (sigma and omega
    against 10 random graphs each), ``four_motifs`` (quadruples: entropy; needs Numba, extra ``fast``) and ``communities`` (modularity;
    needs igraph, extra ``structure``).

    Args:
        graphs: one wiring, a batch of them, a dataset such as ``WiringEnsemble``, or a sequence.
        which: names of measures and groups, in the order of the columns wanted; by default every group that is not on request and that
            all the wirings can have.
        seed: of the random graphs and of the search for communities, the same for every wiring, so that equal wirings have equal rows.
        quiet: show no progress on standard error.

    Returns:
        one row per wiring, in order, and one column per measure.

    Raises:
        ValueError: for an unknown name, no wiring, a wiring without neurons, or without what a measure asked for needs.
        TypeError: if ``graphs`` holds something that is not a ``Data``.
        ImportError: if a group on request needs an extra that is not installed.
    """
    wirings = list_wirings(graphs)
    names = chosen_measures(which, wirings)
    # With what is missing filled in, since measures depend on the number of nodes and on what weights are made of.
    wirings = [as_wiring(data, f"graphs: wiring {number}: data") for number, data in enumerate(wirings)]
    groups = list(dict.fromkeys(MEASURES[name].group for name in names))
    check_seed(seed)

    def measure(number: int) -> dict[str, float]:
        try:
            graph = SimpleGraph.from_data(wirings[number])
            return {name: value for group in groups for name, value in _GROUPS[group](graph, wirings[number], seed).items()}
        except (TypeError, ValueError) as error:
            raise type(error)(f"graphs: wiring {number}: {error}") from error

    # Copies of one wiring, which ensembles often hold, are measured once.
    first: dict[bytes, int] = {}
    original = [first.setdefault(_fingerprint(data), number) for number, data in enumerate(wirings)]
    todo = sorted(first.values())
    found = dict(zip(todo, track(in_threads(measure, todo), "measuring wirings", len(todo), quiet), strict=True))
    return pd.DataFrame([found[number] for number in original])[names]


def list_wirings(graphs: Data | Batch | Dataset | Sequence[Data]) -> list[Data]:
    """The wirings in ``graphs``, as :func:`measures` takes them, in a list."""
    if not isinstance(graphs, Data | Dataset | Sequence):
        raise TypeError(f"graphs: expected a Data, a Batch, a dataset or a sequence of Data, got {type(graphs).__name__}; give the wirings")
    wirings = graphs.to_data_list() if isinstance(graphs, Batch) else [graphs] if isinstance(graphs, Data) else list(graphs)
    if not wirings:
        raise ValueError("graphs: expected at least one wiring, got none; give the wirings to measure")
    for number, data in enumerate(wirings):
        if not isinstance(data, Data) or isinstance(data, Batch):
            raise TypeError(f"graphs: expected a Data for each wiring, got {type(data).__name__} as number {number}; give one list of Data")
    return wirings


def chosen_measures(which: Sequence[str] | None, wirings: Sequence[Data]) -> list[str]:
    """The columns that :func:`measures` gives for these wirings; raises as it does, without measuring."""
    needs = {entry.needs for entry in MEASURES.values() if entry.needs}
    lacking = {need: next((i for i, data in enumerate(wirings) if data.get(need) is None), None) for need in needs}
    if which is None:
        return [name for name, entry in MEASURES.items() if entry.group not in _ON_REQUEST and lacking.get(entry.needs) is None]
    if isinstance(which, str):
        raise TypeError(f"which: expected a sequence of names, got {which!r}; put it in a list")
    names: list[str] = []
    for wanted in which:
        found = [name for name, entry in MEASURES.items() if wanted in (name, entry.group)]
        if not found:
            choices = f"groups ({', '.join(_GROUPS)}) or measures ({', '.join(MEASURES)})"
            raise ValueError(f"which: expected {choices}, got {wanted!r}; choose from these")
        names += found
    if not names:
        raise ValueError("which: expected at least one measure or group, got none; leave it out for those of every wiring")
    names = list(dict.fromkeys(names))
    for name in names:
        number = lacking.get(MEASURES[name].needs)
        if number is not None:
            lacks = MEASURES[name].needs
            raise ValueError(f"which: {name!r} needs wirings with {lacks}, and wiring {number} has none; leave the measure out")
    for group in {MEASURES[name].group for name in names} & _EXTRAS.keys():
        require(*_EXTRAS[group])
    return names


def _fingerprint(wiring: Data) -> bytes:
    """All that the measures of a checked wiring depend on, as bytes."""
    tensors = {name: wiring[name] for name in LOOKED_AT if name != "neuron_name" and wiring.get(name) is not None}
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    described = (repr((name, array.shape, array.dtype)).encode() + array.tobytes() for name, array in arrays.items())
    return b"\0".join([*described, repr(list(wiring.neuron_name)).encode()])
