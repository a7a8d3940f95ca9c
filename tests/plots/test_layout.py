from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.plots.layout import layered_layout


@st.composite
def dags(draw):
    widths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    level = np.repeat(np.arange(len(widths)), widths)
    draw(st.randoms(use_true_random=False)).shuffle(level)
    level = np.append(level, -1)
    pairs = [(s, t) for s in range(len(level)) for t in range(len(level)) if 0 <= level[s] < level[t]]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    return level, np.array(edges, dtype=np.int64).reshape(-1, 2).T


@settings(max_examples=40, deadline=None)
@given(dags(), st.integers(1, 5))
def test_levels_follow_each_other_and_nodes_keep_apart(dag, rows):
    level, edges = dag
    layout = layered_layout(level, edges, np.zeros_like(level), rows=rows, sweeps=6)
    placed = level >= 0
    assert np.isnan(layout.x[~placed]).all()
    assert np.isnan(layout.y[~placed]).all()
    assert (layout.left[level[placed]] < layout.x[placed]).all()
    assert (layout.x[placed] < layout.right[level[placed]]).all()
    assert (layout.right[:-1] <= layout.left[1:] + 1e-9).all()
    assert len({*zip(layout.x[placed].tolist(), layout.y[placed].tolist(), strict=True)}) == placed.sum()
    assert ((layout.y[placed] > 0) & (layout.y[placed] < 1)).all()
    widest = np.bincount(level[placed]).max()
    assert len(np.unique(layout.x[placed & (level == np.bincount(level[placed]).argmax())])) == -(-widest // rows)


def crossings(y: np.ndarray, edges: np.ndarray) -> int:
    source, target = y[edges]
    return int((np.sign(source[:, None] - source) * np.sign(target[:, None] - target) < 0).sum()) // 2


def test_sweeps_untangle_a_permuted_ladder():
    order = np.random.default_rng(0).permutation(12)
    edges = np.stack([np.arange(12), 12 + order])
    level, same = np.repeat([0, 1], 12), np.zeros(24, dtype=np.int64)
    before = layered_layout(level, edges, same, rows=12, sweeps=0)
    after = layered_layout(level, edges, same, rows=12)
    assert crossings(before.y, edges) > 10
    assert crossings(after.y, edges) == 0


def test_thin_levels_do_not_share_one_line():
    level = np.arange(20)
    layout = layered_layout(level, np.stack([level[:-1], level[1:]]), np.zeros(20, dtype=np.int64), rows=10)
    assert len(np.unique(layout.y[:10])) == 10


def test_no_levels_are_refused():
    with pytest.raises(ValueError, match="at least one node at level 0, got none"):
        layered_layout(np.array([-1, -1]), np.zeros((2, 0), dtype=np.int64), np.zeros(2, dtype=np.int64))
