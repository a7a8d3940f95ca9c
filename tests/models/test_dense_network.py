"""The baseline has as many parameters as what it stands in for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.models import DenseNetwork
from tests.models.wirings import network


@given(width=st.integers(4, 40), units=st.integers(20, 60))
@settings(max_examples=20, deadline=None)
def test_count_is_within_a_percent(width: int, units: int) -> None:
    parameters = units * (width**2 + width)
    dense = DenseNetwork(width, parameters, num_variants=2)
    counts = dense.parameters_per_variant()
    assert counts[0] == counts[1] == sum(parameter[0].numel() for parameter in dense.parameters())
    assert abs(counts[0] - parameters) <= 0.01 * parameters
    assert abs(dense.hidden[0] - dense.hidden[1]) <= 25


def test_variants_start_from_their_own_seeds() -> None:
    x = torch.randn(2, 5, 6)
    together = DenseNetwork(6, 2_000, 2, [4, 9])
    assert together(x).shape == (2, 5, 6)
    torch.testing.assert_close(together(x)[1], DenseNetwork(6, 2_000, 1, [9])(x[1:])[0])


def test_refuses_what_cannot_be_matched() -> None:
    with pytest.raises(ValueError, match="parameters: the nearest to 20 at width 6 is 37, over 1 % off; widen the network"):
        DenseNetwork(6, 20)
    small = network([1], width=8).parameters_per_variant()[0]
    assert abs(DenseNetwork(8, small).parameters_per_variant()[0] - small) < 0.01 * small
