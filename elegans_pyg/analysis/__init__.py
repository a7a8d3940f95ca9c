"""Measures of graphs and statistics of results. Functions that take ``synapses`` look at ``"all"`` of them or at one kind, ``"chemical"``,
``"electrical"`` or ``"extrasynaptic"``. They raise ``ValueError`` for other words, and as :func:`elegans_pyg.wirings.as_wiring` does."""

from elegans_pyg.analysis.communities import communities
from elegans_pyg.analysis.compare import Comparison, compare
from elegans_pyg.analysis.dag_shape import count_paths, path_betweenness, width_profile
from elegans_pyg.analysis.degrees import degree_distribution, rich_club
from elegans_pyg.analysis.distances import distances, edge_overlap, jensen_shannon, spectral_distance
from elegans_pyg.analysis.dyads import dyads
from elegans_pyg.analysis.equivalence import Equivalence, equivalence_test
from elegans_pyg.analysis.measures import MEASURES, measures
from elegans_pyg.analysis.motifs import four_motif_spectrum, motif_counts, motif_information, motif_spectrum, motifs_by_level, triad_census
from elegans_pyg.analysis.null_model import against_null
from elegans_pyg.analysis.power import ALPHA, nested_designs, runs_needed
from elegans_pyg.analysis.rank_test import rank_test
from elegans_pyg.analysis.responses import effects_by_fold, noise_ceilings, response_scores
from elegans_pyg.analysis.simple_graph import Measure
from elegans_pyg.analysis.small_world import path_lengths, small_world
from elegans_pyg.analysis.spectrum import eigenvalues
from elegans_pyg.analysis.variance_components import Components, icc_of_mean, variance_components

__all__ = [
    "ALPHA",
    "MEASURES",
    "Comparison",
    "Components",
    "Equivalence",
    "Measure",
    "against_null",
    "communities",
    "compare",
    "count_paths",
    "degree_distribution",
    "distances",
    "dyads",
    "edge_overlap",
    "effects_by_fold",
    "eigenvalues",
    "equivalence_test",
    "four_motif_spectrum",
    "icc_of_mean",
    "jensen_shannon",
    "measures",
    "motif_counts",
    "motif_information",
    "motif_spectrum",
    "motifs_by_level",
    "nested_designs",
    "noise_ceilings",
    "path_betweenness",
    "path_lengths",
    "rank_test",
    "response_scores",
    "rich_club",
    "runs_needed",
    "small_world",
    "spectral_distance",
    "triad_census",
    "variance_components",
    "width_profile",
]
