"""Numbers about graphs and results. Where a function takes ``synapses``, they are those that it looks at: ``"all"``, ``"chemical"`` or
``"electrical"``; other words are refused, and so is what is no wiring, as :func:`elegans_pyg.wirings.as_wiring` says."""

from elegans_pyg.analysis.communities import communities
from elegans_pyg.analysis.compare import ALPHA, Comparison, compare
from elegans_pyg.analysis.dag_shape import count_paths, path_betweenness, width_profile
from elegans_pyg.analysis.degrees import degree_distribution, rich_club
from elegans_pyg.analysis.distances import distances, edge_overlap, jensen_shannon, spectral_distance
from elegans_pyg.analysis.dyads import dyads
from elegans_pyg.analysis.measures import MEASURES, measures
from elegans_pyg.analysis.motifs import four_motif_spectrum, motif_counts, motif_information, motif_spectrum, motifs_by_level, triad_census
from elegans_pyg.analysis.null_model import against_null
from elegans_pyg.analysis.simple_graph import Measure
from elegans_pyg.analysis.small_world import path_lengths, small_world
from elegans_pyg.analysis.spectrum import eigenvalues

__all__ = [
    "ALPHA",
    "MEASURES",
    "Comparison",
    "Measure",
    "against_null",
    "communities",
    "compare",
    "count_paths",
    "degree_distribution",
    "distances",
    "dyads",
    "edge_overlap",
    "eigenvalues",
    "four_motif_spectrum",
    "jensen_shannon",
    "measures",
    "motif_counts",
    "motif_information",
    "motif_spectrum",
    "motifs_by_level",
    "path_betweenness",
    "path_lengths",
    "rich_club",
    "small_world",
    "spectral_distance",
    "triad_census",
    "width_profile",
]
