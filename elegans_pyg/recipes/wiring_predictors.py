"""Models that predict a wiring's performance: from its size, from its structural measures, and PyG graph networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn
    from torch_geometric.data import Data

    Parts = dict[str, np.ndarray]

SIZE = ("nodes", "edges", "levels")
PENALTIES = tuple(10.0**power for power in range(-2, 5))
LEAVES, FIRST_TREES, TREES = (1, 5), 25, 100
"""Forests of the first number of trees choose the size of the leaves; the best one then gets the others."""
LEARNING_RATES = (0.003, 0.01)
GRAPH_NETWORKS = ("gin", "gcn", "gat", "dir-gnn", "gps", "dag-gin")
OF_MEASURES = ("ridge", "forest")
DETERMINISTIC = ("mean", "size", "ridge")
"""Models that draw nothing: one run tells all."""
MODELS = ("mean", "size", *OF_MEASURES, *GRAPH_NETWORKS)
HIDDEN, LAYERS, GPS_LAYERS = 32, 3, 2
VALID = 256
"""On how many validation wirings a graph network is evaluated after each epoch, at most."""


@dataclass(frozen=True)
class Problem:
    """Wirings in one order: values ``(n, T)`` of ``T`` targets, NaN where missing; positions of each part; structural measures; and the
    graphs, which are made when a graph network needs them."""

    values: np.ndarray
    parts: Parts
    measures: pd.DataFrame
    graphs: Callable[[], Sequence[Data]]

    def known(self, part: str, target: int) -> np.ndarray:
        """Positions of the wirings of a part that have that target."""
        import numpy as np

        positions = self.parts[part]
        return positions[~np.isnan(self.values[positions, target])]


@dataclass(frozen=True)
class Prediction:
    """Predictions ``(n, T)`` for all wirings, the hyperparameters chosen on the validation part, and the importance ``(M, T)`` of each
    measure."""

    values: np.ndarray
    chosen: list[str]
    importance: np.ndarray | None = None


def predict_all(name: str, problem: Problem, seed: int, epochs: int, batch_size: int) -> Prediction:
    """Train a model on the training part, choose its hyperparameters on the validation part, and predict every wiring."""
    import numpy as np

    wirings, targets = problem.values.shape
    if name == "mean":
        means = [problem.values[problem.known("train", target), target].mean() for target in range(targets)]
        return Prediction(np.tile(means, (wirings, 1)), [""] * targets)
    if name in GRAPH_NETWORKS:
        return train_network(name, problem, seed, epochs, batch_size)
    table = problem.measures[list(SIZE)] if name == "size" else problem.measures
    fits = [_fit_table(name, problem, table.to_numpy(float), target, seed) for target in range(targets)]
    values, chosen, importance = zip(*fits, strict=True)
    return Prediction(np.stack(values, axis=1), list(chosen), np.stack(importance, axis=1) if name == "forest" else None)


def _fit_table(name: str, problem: Problem, x: np.ndarray, target: int, seed: int) -> tuple[np.ndarray, str, Any]:
    """Fit ridge regressions or random forests, and choose the one with the smallest validation error."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    y, train, valid = problem.values[:, target], problem.known("train", target), problem.known("valid", target)
    models: dict[str, Any] = {f"penalty {value:g}": make_pipeline(StandardScaler(), Ridge(value)) for value in PENALTIES}
    if name == "forest":
        options = {"n_estimators": FIRST_TREES, "max_features": 0.3, "random_state": seed % 2**32, "n_jobs": 1, "warm_start": True}
        models = {f"leaves of {value}": RandomForestRegressor(min_samples_leaf=value, **options) for value in LEAVES}
    errors = {key: float(((model.fit(x[train], y[train]).predict(x[valid]) - y[valid]) ** 2).mean()) for key, model in models.items()}
    best = min(errors, key=errors.__getitem__)
    if name == "forest":
        models[best].set_params(n_estimators=TREES).fit(x[train], y[train])
    return models[best].predict(x), best, models[best].feature_importances_ if name == "forest" else None


def with_levels(dag: Data) -> Data:
    """Add the level of each node to a DAG whose sources are its inputs."""
    from torch_geometric.utils import degree

    from elegans_pyg.transforms.levels import mark_dag

    return mark_dag(dag, degree(dag.edge_index[1], dag.num_nodes) == 0)


def node_features(data: Data) -> Data:
    """Node features ``x (N, F)``: neuron type, whether it is inhibitory, and logarithms of its numbers of edges and synapses in and out."""
    import torch
    from torch_geometric.utils import scatter

    source, target = data.edge_index
    weight, nodes = data.edge_weight, data.num_nodes
    sums = [scatter(value, end, dim_size=nodes) for end in (source, target) for value in (torch.ones_like(weight), weight)]
    x = torch.cat([data.x, data.inhibitory[:, None].float(), torch.stack(sums, dim=1).log1p()], dim=1)
    return type(data)(x=x, edge_index=data.edge_index, level=data.get("level"), num_nodes=nodes)


def graph_network(name: str, features: int, targets: int) -> nn.Module:
    """Build a graph network of :mod:`torch_geometric.nn` that maps a ``Batch`` to ``(graphs, targets)``. Messages follow the wiring's edges
    (``dir-gnn``: both directions, with separate weights; ``dag-gin``: the DAG's edges, with every node's depth as features)."""
    import torch
    from torch import nn
    from torch_geometric.nn import GAT, GCN, GIN, DirGNNConv, GPSConv, GraphConv, global_mean_pool

    if name == "dir-gnn":
        convs = [DirGNNConv(GraphConv(features if layer == 0 else HIDDEN, HIDDEN)) for layer in range(LAYERS)]
        body: Any = nn.ModuleList(convs)
    elif name == "gps":
        body = nn.ModuleList(
            [nn.Linear(features, HIDDEN), *(GPSConv(HIDDEN, GraphConv(HIDDEN, HIDDEN), heads=2) for _ in range(GPS_LAYERS))]
        )
    else:
        kind = {"gin": GIN, "dag-gin": GIN, "gcn": GCN, "gat": GAT}[name]
        body = kind(features, HIDDEN, LAYERS, norm="batch_norm", jk="cat")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body
            self.head = nn.Sequential(nn.Linear(2 * HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, targets))

        def forward(self, batch: Any) -> Tensor:
            x, edges = batch.x, batch.edge_index
            if isinstance(self.body, nn.ModuleList):
                for layer in self.body:
                    x = (
                        layer(x)
                        if isinstance(layer, nn.Linear)
                        else layer(x, edges, batch.batch)
                        if name == "gps"
                        else layer(x, edges).relu()
                    )
            else:
                x = self.body(x, edges)
            spread = global_mean_pool(x.square(), batch.batch) - global_mean_pool(x, batch.batch).square()
            return self.head(torch.cat([global_mean_pool(x, batch.batch), spread.clamp_min(1e-8).sqrt()], dim=1))

    return Network()


def train_network(name: str, problem: Problem, seed: int, epochs: int, batch_size: int) -> Prediction:
    """Train one network for all targets on standardised values: one epoch at each learning rate, then the others at the better one. Of all
    its epochs, the weights with the smallest validation error, averaged over targets, are used."""
    import numpy as np
    import torch

    train, valid = problem.parts["train"], np.random.default_rng(0).permutation(problem.parts["valid"])[:VALID]
    mean, sd = np.nanmean(problem.values[train], axis=0), np.nanstd(problem.values[train], axis=0)
    y = torch.from_numpy((problem.values - mean) / np.where(sd > 0, sd, 1)).float()
    graphs = _prepared(name, problem, train)

    def training(rate: float) -> Iterator[tuple[float, nn.Module]]:
        """Validation error and network after each epoch."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = graph_network(name, graphs[0].x.size(1), y.size(1))
        optimizer, rng, size = torch.optim.Adam(network.parameters(), rate), np.random.default_rng(seed), min(batch_size, len(train))
        while True:
            order = rng.permutation(train)
            network.train()
            for first in range(0, len(order) - size + 1, size):
                batch = order[first : first + size]
                loss = _error(network(_joined(graphs, batch)), y[batch])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
            error = float(_error(_run(network, graphs, valid, batch_size), y[valid]))
            yield error if np.isfinite(error) else np.inf, network

    started = {rate: training(rate) for rate in LEARNING_RATES}
    first = {rate: next(run) for rate, run in started.items()}
    rate = min(first, key=lambda rate: first[rate][0])
    best, best_state, chosen = np.inf, None, ""
    for epoch, (error, network) in enumerate(chain([first[rate]], islice(started[rate], epochs - 1)), 1):
        if error < best:
            best, chosen = error, f"rate {rate:g}, epoch {epoch}"
            best_state = {key: value.clone() for key, value in network.state_dict().items()}
    if best_state is None:
        raise ValueError(f"epochs: expected a finite validation error of {name}, got none in {epochs}; leave this model out")
    network.load_state_dict(best_state)
    values = _run(network, graphs, np.arange(len(graphs)), batch_size).numpy()
    return Prediction(values * sd + mean, [chosen] * y.size(1))


def _prepared(name: str, problem: Problem, train: np.ndarray) -> list[Data]:
    """The graphs with node features, standardised by mean and standard deviation of the training part."""
    import torch

    found = [copy(data) for data in _featured(problem.graphs, name == "dag-gin")]
    known = torch.cat([found[position].x for position in train])
    mean, sd = known.mean(0), known.std(0).clamp_min(1e-6)
    for data in found:
        data.x = (data.x - mean) / sd
    return found


@lru_cache(maxsize=2)
def _featured(graphs: Callable[[], Sequence[Data]], dag: bool) -> list[Data]:
    """The graphs or their DAGs with node features, those of a DAG with the depth; computed once in each process."""
    import torch

    from elegans_pyg.transforms import ConstrainedDAG

    if not dag:
        return [node_features(data) for data in graphs()]
    dags = [with_levels(copy(data)) if data.family == "random_dag" else ConstrainedDAG()(data) for data in graphs()]
    found = [node_features(data) for data in dags]
    for data in found:
        depth = data.level[:, None] / torch.tensor([[1.0, 4.0, 16.0, 64.0]])
        data.x = torch.cat([data.x, depth.sin(), depth.cos()], dim=1)
    return found


def _joined(graphs: Sequence[Data], positions: np.ndarray) -> Any:
    from torch_geometric.data import Batch

    return Batch.from_data_list([graphs[position] for position in positions], exclude_keys=["level"])


def _error(predicted: Tensor, y: Tensor) -> Tensor:
    """Mean squared error over the values that are not NaN."""
    import torch

    known = ~y.isnan()
    return torch.where(known, predicted - y.nan_to_num(), 0.0).square().sum() / known.sum()


def _run(network: nn.Module, graphs: Sequence[Data], positions: np.ndarray, size: int) -> Tensor:
    import torch

    network.eval()
    with torch.inference_mode():
        found = [network(_joined(graphs, positions[first : first + size])) for first in range(0, len(positions), size)]
    return torch.cat(found).clone()
