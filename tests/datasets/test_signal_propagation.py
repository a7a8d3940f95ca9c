"""The atlas of responses: published counts, its pairs in the order of a wiring, and what the wiring says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg._files import data_folder
from elegans_pyg.datasets import Connectome, SignalPropagation
from elegans_pyg.transforms import Rewired

# strain: pairs of two neurons that were tested, trials; pairs seen at least twice, of these q < 0.05; the last two without AWC
COUNTS = {"wild-type": (23902, 109271, 18974, 1022, 18559, 992), "unc-31": (9119, 16713, 4850, 209, 4716, 202)}


@pytest.fixture(scope="module")
def worm() -> Data:
    return Connectome("cook2019-hermaphrodite", synapses="both", pharynx=True)[0]


def without_awc(seen: Data) -> Tensor:
    known = torch.tensor([not name.startswith("AWC") for name in seen.neuron_name])
    return seen.pair_mask & known[:, None] & known[None, :]


@pytest.mark.parametrize("strain", COUNTS)
def test_counts(strain, worm):
    tested, trials, twice, significant, twice_no_awc, significant_no_awc = COUNTS[strain]
    dataset = SignalPropagation(strain)
    data, seen = dataset[0], dataset.align(worm)
    assert int(dataset.align(worm, at_least=1).pair_mask.sum()) == tested
    assert len(data.trial_dff) == data.trial_pair.shape[1] == trials
    assert int(seen.pair_mask.sum()) == twice
    assert int((seen.q < 0.05)[seen.pair_mask].sum()) == significant
    mask = without_awc(seen)
    assert (int(mask.sum()), int((seen.q < 0.05)[mask].sum())) == (twice_no_awc, significant_no_awc)
    assert len(set(data.neuron_name)) == data.num_nodes == 300
    assert set(worm.neuron_name) - set(data.neuron_name) == {"CANL", "CANR"}


def test_files_are_compact():
    assert sum(path.stat().st_size for path in data_folder("activity").iterdir()) < 1_000_000


def test_means_are_those_of_the_trials():
    data = SignalPropagation("unc-31")[0]
    trials: dict[tuple[int, int], list[float]] = {}
    for pair, value in zip(data.trial_pair.T.tolist(), data.trial_dff.tolist(), strict=True):
        trials.setdefault(tuple(pair), []).append(value)
    assert {tuple(pair) for pair in (~data.q.isnan()).nonzero().tolist()} == trials.keys()
    for matrix, part in ((data.dff, slice(None)), (data.dff_odd, slice(0, None, 2)), (data.dff_even, slice(1, None, 2))):
        expected = np.full((300, 300), np.nan)
        for pair, values in trials.items():
            expected[pair] = np.mean(values[part]) if values[part] else np.nan
        np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_pairs_line_up_with_a_wiring():
    dataset = SignalPropagation()
    data = dataset[0]
    # With zeros, as other files write it, a neuron that the atlas lacks, and one that nobody has.
    names = ["RMDVL", "CANL", "VB02", "AVAL", "nobody", "AVDR"]
    seen = dataset.align(Data(edge_index=torch.tensor([[0], [3]]), num_nodes=6, neuron_name=names))
    for m, first in enumerate(("RMDVL", None, "VB2", "AVAL", None, "AVDR")):
        for n, second in enumerate(("RMDVL", None, "VB2", "AVAL", None, "AVDR")):
            if first is None or second is None:
                assert bool(seen.q[m, n].isnan())
                assert seen["count"][m, n] == 0
                assert not bool(seen.pair_mask[m, n])
                continue
            here = data.neuron_name.index(first), data.neuron_name.index(second)
            for name in ("dff", "dff_odd", "dff_even", "q", "q_equal", "count"):
                np.testing.assert_equal(seen[name][m, n].item(), data[name][here].item())
            assert bool(seen.pair_mask[m, n]) == (m != n and data["count"][here] >= 2 and bool(data.q[here] >= 0))
    assert bool(seen.pair_mask.any())
    assert seen.neuron_name == names


def test_rows_are_the_stimulated_neurons(worm):
    # Fewer neurons were stimulated than recorded. Nearly all respond to their own stimulation, and few to another's.
    data = SignalPropagation()[0]
    tested = ~data.q.isnan()
    assert (int(tested.any(1).sum()), int(tested.any(0).sum())) == (173, 207)
    own = torch.eye(300, dtype=torch.bool)
    assert float((data.q[tested & own] < 0.05).float().mean()) > 0.9
    assert float((data.q[tested & ~own] < 0.05).float().mean()) < 0.05


def propagation(wiring: Data, alpha: float = 0.8) -> Tensor:
    """``(I - alpha W)^-1``: what a unit of steady input to the row's neuron does to the column's, if a neuron's activity is its input and
    ``alpha`` times the mean of its predecessors', weighted by the logarithm of the synapse counts."""
    counts = torch.zeros(wiring.num_nodes, wiring.num_nodes, dtype=torch.float64)
    weight = counts.index_put(tuple(wiring.edge_index), wiring.edge_weight.double(), accumulate=True).log1p().fill_diagonal_(0)
    return torch.linalg.inv(torch.eye(len(weight), dtype=torch.float64) - alpha * weight / weight.sum(0).clamp(min=1e-9))


def test_the_wiring_predicts_propagation_and_rewired_ones_do_not(worm):
    seen = SignalPropagation().align(worm)
    mask = without_awc(seen)
    significant = (seen.q < 0.05)[mask]
    real, *nulls = (roc_auc_score(significant, propagation(graph)[mask]) for graph in (worm, *(Rewired(seed)(worm) for seed in range(20))))
    assert 0.64 < real < 0.65
    assert np.mean(nulls) == pytest.approx(0.511, abs=0.005)
    assert np.std(nulls, ddof=1) == pytest.approx(0.005, abs=0.003)
    assert max(nulls) < 0.53


def test_transforms_and_refusals(worm):
    dataset = SignalPropagation("unc-31", transform=lambda data: Data(q=data.q))
    assert dataset[0].keys() == ["q"]
    assert int(dataset.align(worm).pair_mask.sum()) == COUNTS["unc-31"][2]
    assert repr(dataset) == "SignalPropagation('unc-31')"
    with pytest.raises(ValueError, match="strain: expected one of wild-type, unc-31, got 'wt'"):
        SignalPropagation("wt")
    with pytest.raises(ValueError, match=r"wiring\.neuron_name: expected names of the worm's neurons, got '0'"):
        dataset.align(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
    with pytest.raises(ValueError, match="at_least: expected 1 or more, got 0"):
        dataset.align(worm, at_least=0)
