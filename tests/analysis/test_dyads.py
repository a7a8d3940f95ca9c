from __future__ import annotations

from itertools import permutations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from elegans_pyg.analysis import dyads
from elegans_pyg.analysis.dyads import TYPES, dyad_columns, dyad_measures
from elegans_pyg.wirings import NEURON_TYPES
from tests.analysis.graphs import digraph, simple, wiring, wirings


def count(pairs: list[tuple[int, int]], types: tuple[int, ...], a: int, b: int) -> int:
    return sum(types[m] == a and types[n] == b for m, n in pairs)


@settings(max_examples=20, deadline=None)
@given(wirings(max_nodes=6))
def test_moments_are_those_over_every_dealing_of_the_types(data):
    lengths = {m: dict(row) for m, row in nx.all_pairs_shortest_path_length(digraph(data))}
    types = tuple(data.neuron_type.tolist())
    table = dyads(data)
    assert len(table) == 3 * len(set(types)) ** 2
    for row in table.itertuples():
        pairs = [(m, n) for m in lengths for n, k in lengths[m].items() if k == row.length]
        a, b = NEURON_TYPES.index(row.source), NEURON_TYPES.index(row.target)
        dealt = [count(pairs, deal, a, b) for deal in permutations(types)]
        assert row.observed == count(pairs, types, a, b)
        assert row.expected == pytest.approx(np.mean(dealt))
        assert row.sd == pytest.approx(np.std(dealt), abs=1e-12)
        assert row.ratio == pytest.approx(row.observed / np.mean(dealt) if any(dealt) else 1)
        assert row.z == pytest.approx((row.observed - np.mean(dealt)) / np.std(dealt) if len(set(dealt)) > 1 else 0)
    assert not table.isna().any().any()


@settings(max_examples=20, deadline=None)
@given(wirings(max_nodes=9))
def test_columns_are_the_ratios_of_the_table(data):
    values = dyad_measures(simple(data))
    found = 0
    for row in dyads(data).itertuples():
        kind = f"dyadicity_{row.source}" if row.source == row.target else f"heterophilicity_{row.source}_{row.target}"
        assert values[kind + ("" if row.length == 1 else f"_path{row.length}")] == pytest.approx(row.ratio)
        found += 1
    # A type that the wiring lacks has the documented value.
    assert sum(value == 1 for name, value in values.items() if "dyadic_" not in name) >= 27 - found


def test_information_is_the_divergence_from_the_expected_counts():
    data = wiring(6, [(0, 2), (0, 3), (1, 2), (2, 4), (3, 5), (4, 5), (5, 0)], [0, 0, 1, 1, 2, 2])
    values = dyad_measures(simple(data))
    for length, suffix in ((1, ""), (2, "_path2"), (3, "_path3")):
        table = dyads(data, [length])
        p, q = table.observed / table.observed.sum(), table.expected / table.expected.sum()
        assert values["dyadic_information" + suffix] == pytest.approx(float((p * np.log2((p / q).where(p > 0, 1))).sum()))


def test_kinds_of_synapses_are_told_apart():
    data = wiring(3, [(0, 1), (1, 2), (2, 1)], [0, 1, 2], [0, 1, 1])
    seen = {synapses: dyads(data, [1], synapses).set_index(["source", "target"]).observed for synapses in ("all", "chemical", "electrical")}
    assert seen["chemical"].sum() == 1
    assert seen["electrical"].sum() == 2
    assert seen["all"].sum() == 3
    assert seen["electrical"]["motor", "inter"] == 1
    assert seen["chemical"]["sensory", "inter"] == 1


def test_no_edges_and_beyond_the_longest_path():
    table = dyads(wiring(3, [(0, 1)], [0, 1, 1]), [1, 5])
    late = table[table.length == 5]
    assert (late.observed == 0).all()
    assert (late.ratio == 1).all()
    assert (late.z == 0).all()
    alone = dyads(wiring(1, []), [1])
    assert alone.ratio.tolist() == [1]


@pytest.mark.parametrize("length", [0, -1, 1.5, True])
def test_bad_lengths_are_refused(length):
    with pytest.raises(ValueError, match="lengths: expected integers of 1 or more, got"):
        dyads(wiring(2, [(0, 1)]), [length])


def test_every_dyadic_measure_has_its_pair():
    for length in (1, 2, 3):
        for name, (a, b) in zip(dyad_columns(length), [(a, b) for a in TYPES for b in TYPES], strict=True):
            kind, *rest = name.split("_")
            types = [word for word in rest if not word.startswith("path")]
            assert (kind, types) == (("dyadicity", [a]) if a == b else ("heterophilicity", [a, b]))
            assert name in dyad_measures.columns
