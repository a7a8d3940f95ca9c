"""The targets of WiringBench, in groups that are measured for many wirings and seeds side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import elegans_pyg as ep
from elegans_pyg.studies.study import Interrupted

if TYPE_CHECKING:
    import numpy as np
    from torch_geometric.data import Data

    Scores = dict[str, np.ndarray]

BUDGETS = (20, 40, 80, 120)
"""Iterations after which digits are scored; multiples of the first."""
CHANNELS, DIGITS_BATCH, EXECUTOR = 4, 50, "auto"
RNN_ITERATIONS, RNN_BATCH = 100, 50
TASK_SEED, TRAIN, VALIDATION, TEST = 0, 1_000, 200, 1_000
RADIUS, LEAK, INPUT_SCALE, BIAS_SCALE = 0.9, 1.0, 0.3, 0.1
RESPONSE_GAIN = 0.5
SIDE_BY_SIDE = 16
"""Networks that run at once; their states fit in a few hundred MB."""

TASKS = {
    "memory": "memory capacity of an echo-state network over 100 delays",
    "narma10": "NRMSE, at most 1, of an echo-state network on NARMA-10",
    "mackey-glass": "NRMSE, at most 1, of an echo-state network 84 steps ahead on the Mackey-Glass equation",
    "lorenz": "NRMSE, at most 1, of an echo-state network on the Lorenz equations",
    "parity": "share of correct signs of an echo-state network on the parity of three bits",
}


@dataclass(frozen=True)
class Group:
    """Targets that are measured together.

    Args:
        targets: name to description.
        repeats: runs per wiring, each with its own seed; 1 where nothing is random.
        measure: function from ``n`` graphs and ``n`` seeds to values ``(n,)`` by target, NaN where a wiring has none.
        dag: whether the graphs are DAGs.
    """

    targets: dict[str, str]
    repeats: int
    measure: Callable[[Sequence[Data], Sequence[int]], Scores]
    dag: bool = False


def measure_reservoirs(graphs: Sequence[Data], seeds: Sequence[int]) -> Scores:
    """Score echo-state networks by each task's metric on its test segment, with a ridge readout of the motor neurons; the validation
    segment chooses its penalty. All reservoirs get the same sequence; a wiring's runs differ in input weights and biases. An NRMSE above 1,
    that of predicting the target's mean, counts as 1: a single readout that fails on the test segment would outweigh all others. NaN for
    DAGs."""
    import numpy as np
    import torch

    scores = {name: np.full(len(graphs), np.nan) for name in TASKS}
    cyclic = [number for number, graph in enumerate(graphs) if "level" not in graph]
    if not cyclic:
        return scores
    options: dict[str, Any] = {"radius": RADIUS, "leak": LEAK, "input_scale": INPUT_SCALE, "bias_scale": BIAS_SCALE}
    tasks = _tasks()
    reservoir = ep.models.Reservoir(
        [graphs[number] for number in cyclic], seeds=[seeds[number] for number in cyclic], dtype=torch.float64, **options
    )
    states = reservoir(torch.stack([task.inputs for task in tasks]))
    for number, task in enumerate(tasks):
        x, y = states[:, number], task.targets
        readout = ep.models.RidgeReadout.select(x[:, task.train], y[task.train], x[:, task.validation], y[task.validation])
        score = task.score(readout(x[:, task.test]), task.test)
        scores[task.name][cyclic] = (score.clamp_max(1) if task.metric == "NRMSE" else score).numpy()
    return scores


@lru_cache(maxsize=1)
def _tasks() -> list[ep.datasets.SequenceTask]:
    return [ep.datasets.sequence_task(name, TASK_SEED, train=TRAIN, validation=VALIDATION, test=TEST) for name in TASKS]


def measure_digits(graphs: Sequence[Data], seeds: Sequence[int]) -> Scores:
    """Score image classifiers after each number of iterations: accuracy on a held-out quarter of the training images, and mean training
    loss since the previous evaluation."""
    images = ep.datasets.load_images("digits", quiet=True)
    model = _classifiers(graphs, seeds)
    settings = ep.training.FitSettings(
        iterations=BUDGETS[-1], batch_size=DIGITS_BATCH, lr_decay=1.0, eval_every=BUDGETS[0], validation_fraction=0.25,
        eval_images=len(images.train_images), eval_batch_size=len(images.train_images), device="cpu",
    )  # fmt: skip
    metrics = fitted(model, images, settings).metrics
    scores = {}
    for split, column, name in (("validation", "accuracy", "accuracy"), ("train", "loss", "loss")):
        table = metrics[metrics["split"] == split].pivot(index="variant", columns="iteration", values=column)
        ends = [0, *BUDGETS]
        for before, budget in zip(ends, BUDGETS, strict=False):
            part = table[budget] if split == "validation" else table.loc[:, before + 1 : budget].mean(axis=1)
            scores[f"digits-{name}-{budget}"] = part.to_numpy()
    return scores


def _classifiers(graphs: Sequence[Data], seeds: Sequence[int]) -> ep.models.ConnectomeClassifier:
    return ep.models.ConnectomeClassifier(list(graphs), 1, 10, CHANNELS, seeds=list(seeds), executor=EXECUTOR)


def measure_start(graphs: Sequence[Data], seeds: Sequence[int]) -> Scores:
    """Measure the same classifiers before training, on the first 100 images: common logarithms of the norm of the loss's gradient with
    respect to the edge weights, and of the root mean square of the gradient of a random projection of the DAG's output with respect to its
    input."""
    import torch

    from elegans_pyg.training.objective import scale_pixels

    images = ep.datasets.load_images("digits", quiet=True)
    model = _classifiers(graphs, seeds)
    inputs, labels = scale_pixels(images.train_images[:100], "float32"), images.train_labels[:100]
    maps = model.source(inputs).detach().requires_grad_()
    out = model.dag(maps)
    ups = [torch.randn(out.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    (slope,) = torch.autograd.grad(out, maps, torch.stack(ups), retain_graph=True)
    logits = model.linear(model.sink(out).mean((-2, -1)))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(graphs)), reduction="sum") / len(labels)
    (gradient,) = torch.autograd.grad(loss, model.dag.edge_weight)
    ends = model.dag.edge_ptr
    norms = torch.stack([gradient[low:high].norm() for low, high in pairwise(ends)])
    return {"gradient": norms.log10().numpy(), "jacobian": slope.square().mean((1, 2, 3, 4)).sqrt().log10().numpy()}


def measure_rnns(graphs: Sequence[Data], seeds: Sequence[int]) -> Scores:
    """Score recurrent networks trained to classify digits row by row: accuracy on the test images, and mean training loss."""
    import numpy as np

    from elegans_pyg.training.data import FitData
    from elegans_pyg.training.objective import scale_pixels

    images = ep.datasets.load_images("digits", quiet=True)
    train, test = (scale_pixels(part[:, 0], "float32") for part in (images.train_images, images.test_images))
    data = FitData("digit rows", (train, images.train_labels), (test, images.test_labels))
    model = ep.models.ConnectomeRNN(list(graphs), train.size(-1), 10, dt=1.0, last=True, seeds=list(seeds))
    settings = ep.training.FitSettings(
        iterations=RNN_ITERATIONS, batch_size=RNN_BATCH, learning_rate=0.01, lr_decay=1.0, eval_every=RNN_ITERATIONS, device="cpu",
    )  # fmt: skip
    done = fitted(model, data, settings)
    losses = done.metrics[done.metrics["split"] == "train"].sort_values("variant")["loss"]
    return {"rnn-accuracy": done.results["accuracy"].to_numpy(), "rnn-loss": np.asarray(losses)}


def fitted(model: Any, data: Any, settings: Any) -> Any:
    """Train a model; raises :class:`Interrupted` if a signal stopped it."""
    done = ep.training.fit(model, data, settings, quiet=True)
    if done.signal is not None:
        raise Interrupted(done.signal)
    return done


def measure_propagation(graphs: Sequence[Data], seeds: Sequence[int]) -> Scores:
    """Area under the ROC curve with which the absolute responses of a :class:`~elegans_pyg.models.LinearPropagation` with nothing fitted
    separate significant pairs (q < 0.05) from others, among pairs of the signal propagation atlas observed at least twice."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    atlas, found = ep.datasets.SignalPropagation(), []
    for graph in graphs:
        seen = atlas.align(graph)
        with torch.no_grad():
            response = ep.models.LinearPropagation([graph], gain=RESPONSE_GAIN).double().responses(torch.arange(int(graph.num_nodes or 0)))
        significant = (seen.q < 0.05)[seen.pair_mask]
        both = 0 < int(significant.sum()) < len(significant)
        # Rounded, so that errors of unconnected pairs do not rank them. Responses are from column to row, the atlas is from row to column.
        size = response[0, 0].T[seen.pair_mask].abs().round(decimals=12)
        found.append(roc_auc_score(significant, size) if both else math.nan)
    return {"propagation": np.array(found)}


_DIGITS = {
    **{f"digits-accuracy-{budget}": f"accuracy on digits after {budget} iterations" for budget in BUDGETS},
    **{
        f"digits-loss-{budget}": f"mean training loss on digits, iterations {before + 1} to {budget}"
        for before, budget in zip((0, *BUDGETS), BUDGETS, strict=False)
    },
}
_START = {
    "gradient": "log10 of the norm of the gradient by the edge weights before training",
    "jacobian": "log10 of the size of the derivative of the output by the input before training",
}
_RNN = {
    "rnn-accuracy": f"accuracy of a recurrent network on rows of digits after {RNN_ITERATIONS} iterations",
    "rnn-loss": "its mean training loss",
}
GROUPS = {
    "reservoir": Group(TASKS, 6, measure_reservoirs),
    "start": Group(_START, 6, measure_start, dag=True),
    "digits": Group(_DIGITS, 5, measure_digits, dag=True),
    "rnn": Group(_RNN, 2, measure_rnns),
    "propagation": Group({"propagation": "AUC of a linear response for the signal propagation atlas"}, 1, measure_propagation),
}
UNDIRECTED = tuple(_START)
"""Targets of which neither more nor less is better."""
LESS_IS_BETTER = ("narma10", "mackey-glass", "lorenz", "rnn-loss", *(f"digits-loss-{budget}" for budget in BUDGETS))


def measure_group(name: str, graphs: Sequence[Data], seeds: Sequence[int]) -> Scores:
    """Measure a group of targets for graphs and their seeds, :data:`SIDE_BY_SIDE` at a time; cyclic graphs become DAGs if the group needs
    them."""
    import numpy as np

    group, parts = GROUPS[name], []
    if group.dag:
        graphs = as_dags(graphs)
    for _, numbers in groupby(range(len(graphs)), key=lambda number: number // SIDE_BY_SIDE):
        chosen = list(numbers)
        parts.append(group.measure([graphs[number] for number in chosen], [seeds[number] for number in chosen]))
    return {target: np.concatenate([part[target] for part in parts]) for target in group.targets}


def as_dags(graphs: Sequence[Data]) -> list[Data]:
    """Convert cyclic wirings to DAGs by :class:`~elegans_pyg.transforms.ConstrainedDAG`; DAGs are not changed."""
    made = {id(graph): graph if "level" in graph else ep.transforms.ConstrainedDAG()(graph) for graph in graphs}
    return [made[id(graph)] for graph in graphs]
