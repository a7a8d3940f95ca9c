"""Every image once an epoch, in an order that only the seeds decide; the split holds out the same share of every class."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.training.data_order import DataOrder, stratified_split

CPU = torch.device("cpu")


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 40), batch=st.integers(1, 12), seed=st.integers(0, 2**40), own=st.booleans())
def test_an_epoch_shows_no_image_twice(size: int, batch: int, seed: int, own: bool) -> None:
    batch = min(batch, size)
    order = DataOrder(size, batch, seed, CPU, [4, 9, 4] if own else None)
    for epoch in range(3):
        batches = torch.cat([order.next_batch() for _ in range(size // batch)], dim=-1)
        assert order.epoch == epoch
        for row in batches.view(-1, size // batch * batch):
            assert len(set(row.tolist())) == len(row)
            assert set(row.tolist()) <= set(range(size))
        if own:
            assert torch.equal(batches[0], batches[2])


def test_epochs_differ_and_leave_out_other_images() -> None:
    order = DataOrder(50, 20, 0, CPU)
    epochs = [torch.cat([order.next_batch(), order.next_batch()]) for _ in range(4)]
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    assert len({frozenset(epoch.tolist()) for epoch in epochs}) == 4
    assert set(torch.cat(epochs).tolist()) == set(range(50))


def test_a_variants_order_is_its_own() -> None:
    together = DataOrder(30, 10, 3, CPU, [7, 2, 11])
    alone = {seed: DataOrder(30, 10, 3, CPU, [seed]) for seed in (7, 2, 11)}
    for _ in range(8):
        batch = together.next_batch()
        for row, seed in zip(batch, (7, 2, 11), strict=True):
            assert torch.equal(row, alone[seed].next_batch()[0])
        assert not torch.equal(batch[0], batch[1])


def test_goes_on_from_its_state_through_json() -> None:
    order = DataOrder(23, 5, 1, CPU, [3, 1])
    for _ in range(6):
        order.next_batch()
    state = json.loads(json.dumps(order.state_dict()))
    expected = [order.next_batch() for _ in range(10)]
    resumed = DataOrder(23, 5, 1, CPU, [3, 1])
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.position) == (state["epoch"], state["position"])
    assert all(torch.equal(batch, resumed.next_batch()) for batch in expected)


def test_orders_that_keep_the_last_batch_follow_from_any_seed_and_epoch() -> None:
    for seed in (0, 7, 2**53):
        order = DataOrder(9, 6, seed, CPU, keep_last=True)
        for epoch in range(2):
            expected = torch.randperm(9, generator=torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**64))
            assert torch.equal(torch.cat([order.next_batch(), order.next_batch()]), expected)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="batch_size: expected at most the 3 images left for training, got 4; reduce it"):
        DataOrder(3, 4, 0, CPU)
    with pytest.raises(ValueError, match="variants: expected seeds of at least 0, got -1"):
        DataOrder(3, 2, 0, CPU, [0, -1])


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 2**31),
)
def test_split_is_stratified(labels: list[int], fraction: float, seed: int) -> None:
    tensor = torch.tensor(labels)
    training, validation = stratified_split(tensor, fraction, seed)
    assert sorted(training.tolist() + validation.tolist()) == list(range(len(labels)))
    assert len(validation) == round(fraction * len(labels))
    for value in set(labels):
        assert abs(int((tensor[validation] == value).sum()) - fraction * labels.count(value)) <= 1
    assert training.tolist() == sorted(training.tolist())
    again = stratified_split(tensor, fraction, seed)
    assert torch.equal(again[0], training)


def test_the_class_with_the_largest_remainder_gives_one_more() -> None:
    # A quarter of 9, 6 and 5 is 2.25, 1.5 and 1.25, and of all 20 it is 5.
    labels = torch.tensor([0] * 9 + [1] * 6 + [2] * 5)
    assert labels[stratified_split(labels, 0.25, 0)[1]].bincount().tolist() == [2, 2, 1]


def test_numbers_that_are_no_classes_are_split_as_one_class() -> None:
    expected = stratified_split(torch.zeros(40, dtype=torch.long), 0.25, 3)
    for targets in (torch.arange(40) / 40, torch.rand(40, 2), torch.zeros(40)):
        assert all(torch.equal(*parts) for parts in zip(stratified_split(targets, 0.25, 3), expected, strict=True))


def test_the_default_split_of_mnist_size_holds_out_5000() -> None:
    labels = torch.arange(60_000) % 10
    training, validation = stratified_split(labels, 1 / 12, 0)
    assert (len(training), len(validation)) == (55_000, 5_000)
    assert torch.bincount(labels[validation]).tolist() == [500] * 10
    assert not torch.equal(validation, stratified_split(labels, 1 / 12, 1)[1])
