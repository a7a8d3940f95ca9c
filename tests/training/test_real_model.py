"""An ensemble is V independent experiments: the real classifier on the worm's wiring, a null, and a young worm's."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch

from elegans_pyg.datasets import Connectome, WiringEnsemble, load_images
from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.training import FitSettings, fit
from elegans_pyg.transforms import ConstrainedDAG
from tests.dags import random_dag
from tests.nn.dag.test_network import EXECUTORS


@pytest.mark.parametrize("executor", [pytest.param(name, marks=pytest.mark.slow if name == "scatter" else ()) for name in EXECUTORS])
@pytest.mark.parametrize("data_order", ["shared", "variant"])
def test_three_wirings_train_together_as_they_do_alone(data_order, executor):
    if executor == "levels":
        # PyTorch's float64 convolution goes group by group: a worm a minute. These are as different, and small.
        dags = [random_dag(1, 12, 0.4), random_dag(2, 20, 0.2), random_dag(3, 5, 0.6)]
    else:
        herm = Connectome("cook2019-hermaphrodite")[0]
        young = Connectome("witvliet2021-1")[0]
        dags = [ConstrainedDAG()(herm), WiringEnsemble(herm, "er", 1, seed=3)[0], ConstrainedDAG()(young)]
    seeds = [11, 5, 8]
    table = pd.DataFrame({"variant": range(3), "family": ["a", "b", "c"], "wiring_seed": [0, 0, 0], "seed": seeds})
    images = load_images("digits")
    config = FitSettings(iterations=6, batch_size=10, precision="float64", data_order=data_order, eval_every=6)

    def train(batch, which):
        model = ConnectomeClassifier(batch, 1, 10, channels=2, seeds=[seeds[v] for v in which], executor=executor)
        fit(model, images, config, variants=table.iloc[which].assign(variant=range(len(which))), quiet=True)
        return model

    together = train(Batch.from_data_list(dags), [0, 1, 2])
    for v in range(3):
        alone = train(dags[v], [v])
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(together.variant_state_dict(v)[name], tensor, rtol=0, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


def test_resume_refuses_another_wiring_of_the_same_size(tmp_path):
    images = load_images("digits")

    def train(seed, iterations):
        model = ConnectomeClassifier(random_dag(seed, 5, density=2), 1, 10, channels=2)
        fit(model, images, FitSettings(iterations=iterations), out=tmp_path, resume=iterations > 2, quiet=True)

    train(0, 2)
    with pytest.raises(ValueError, match=r"resume: wiring was '\w+' in the checkpoint and is '\w+' now; give the run's own inputs"):
        train(1, 4)
    train(0, 4)
