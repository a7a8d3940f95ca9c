"""Sequence tasks for reservoirs: inputs, targets, segments and scores."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice, check_number, check_seed, check_whole

Series = npt.NDArray[np.float64]

METRICS: Mapping[str, tuple[str, bool]] = {
    "memory capacity": ("sum over delays of the squared correlation", True),
    "NRMSE": ("root mean squared error over the target's standard deviation, mean over targets", False),
    "accuracy": ("share of correct signs, mean over targets", True),
}
"""Description of each metric, and whether more is better."""


@dataclass(frozen=True)
class SequenceTask:
    """One sequence to learn: a washout to forget the initial state, then training, validation and test segments, without gaps.

    Attributes:
        inputs, targets: ``(T, F)`` and ``(T, K)`` float64; targets inside the washout are never used, since their past may be incomplete.
        name, metric, settings: one of :data:`SEQUENCE_TASKS`, one of :data:`METRICS`, and the settings of the sequence.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    washout: slice
    train: slice
    validation: slice
    test: slice
    metric: str
    settings: dict[str, float] = field(default_factory=dict)

    @property
    def more_is_better(self) -> bool:
        return METRICS[self.metric][1]

    def score(self, predictions: Tensor, segment: slice) -> Tensor:
        """Compute the metric ``(V,)`` of predictions ``(V, n, K)`` for a segment of ``n`` steps; raises ``ValueError`` for another
        shape."""
        targets = self.targets[segment]
        if predictions.dim() != 3 or predictions.shape[1:] != targets.shape:
            wanted, got = f"(V, {targets.size(0)}, {targets.size(1)})", tuple(predictions.shape)
            raise ValueError(f"predictions must be {wanted}, got {got}; predict only this segment")
        predictions = predictions.double()
        if self.metric == "accuracy":
            return ((predictions > 0) == (targets > 0)).double().mean((1, 2))
        if self.metric == "NRMSE":
            return ((predictions - targets).square().mean(1) / targets.var(0, correction=0)).sqrt().mean(1)
        return squared_correlation(predictions, targets).sum(1)


def squared_correlation(predictions: Tensor, targets: Tensor) -> Tensor:
    """Compute the squared Pearson correlation over time, ``(V, K)``, of ``(V, n, K)`` with ``(n, K)``; 0 for a constant prediction."""
    p = predictions - predictions.mean(1, keepdim=True)
    y = targets - targets.mean(0)
    spread = p.square().sum(1) * y.square().sum(0)
    # A readout that learned nothing is constant up to rounding.
    flat = p.square().sum(1) <= 1e-20 * predictions.square().sum(1)
    return torch.where(flat, 0.0, (p * y).sum(1).square() / spread)


def memory_capacity(rng: np.random.Generator, steps: int, delays: int = 100) -> tuple[Series, Series]:
    r"""Short-term memory capacity, :math:`MC = \sum_{k=1}^{K} r^2(u_{t-k}, \hat{y}_k)`, for independent inputs uniform in ±1, with one
    target per delay.

    "Short term memory in echo state networks" (Jaeger 2001, GMD Report 152). It cannot exceed the number of neurons read; on ``n`` test
    steps, chance adds about ``1/n`` per delay.
    """
    u = rng.uniform(-1, 1, steps + delays)
    return u[delays:, None], np.stack([u[delays - k : delays - k + steps] for k in range(1, delays + 1)], axis=1)


def narma10(rng: np.random.Generator, steps: int) -> tuple[Series, Series]:
    r"""Nonlinear autoregressive moving average of order 10; the next value is predicted from the input only:

    .. math:: y_{t+1} = 0.3\, y_t + 0.05\, y_t \sum_{i=0}^{9} y_{t-i} + 1.5\, u_t u_{t-9} + 0.1, \qquad u_t \sim U(0, 0.5)

    "New results on recurrent network training" (Atiya & Parlos 2000, doi:10.1109/72.846741). For rare inputs it diverges; then new ones are
    drawn from the same stream.
    """
    while True:
        u = rng.uniform(0, 0.5, steps)
        y = np.zeros(steps + 1)
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(9, steps):
                y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * y[t - 9 : t + 1].sum() + 1.5 * u[t] * u[t - 9] + 0.1
        if np.all(np.abs(y) < 2):  # False for NaN too
            return u[:, None], y[1:, None]


def mackey_glass(rng: np.random.Generator, steps: int, tau: float = 17.0, horizon: int = 84) -> tuple[Series, Series]:
    r"""Predict the Mackey-Glass equation ``horizon`` time units ahead from its present value minus 1, with one sample per time unit:

    .. math:: \dot{x} = 0.2\, x_{t-\tau} / (1 + x_{t-\tau}^{10}) - 0.1\, x

    "Oscillation and chaos in physiological control systems" (Mackey & Glass 1977, doi:10.1126/science.267326). See
    :func:`integrate_mackey_glass`; the initial value is random around 1.2, and the first 1,000 time units are dropped.
    """
    x = integrate_mackey_glass(1.2 + 0.2 * rng.uniform(-1, 1), 1_000 + steps + horizon, tau)[1_000:]
    return x[:steps, None] - 1, x[horizon : horizon + steps, None]


def lorenz(rng: np.random.Generator, steps: int, horizon: float = 0.5) -> tuple[Series, Series]:
    r"""Predict all three variables of the Lorenz equations ``horizon`` time units ahead from ``x`` only, sampled every 0.02 time units:

    .. math:: \dot{x} = 10 (y - x), \qquad \dot{y} = x (28 - z) - y, \qquad \dot{z} = x y - \tfrac{8}{3} z

    "Deterministic nonperiodic flow" (Lorenz 1963, doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2). The input is divided by 20, to about
    ±1; the first 20 time units are dropped.
    """
    ahead = round(horizon / 0.02)
    if ahead == 0:
        raise ValueError(f"horizon: expected 0.02 time units or more, got {horizon}; look at least one sample ahead")
    path = integrate_lorenz(rng.uniform(-1, 1, 3) + np.array([0.0, 0.0, 25.0]), 1_000 + steps + ahead)[1_000:]
    return path[:steps, :1] / 20, path[ahead : ahead + steps]


def temporal_parity(rng: np.random.Generator, steps: int, order: int = 3, delays: int = 10) -> tuple[Series, Series]:
    r"""Predict the parity of ``order`` successive bits at ``delays`` delays: :math:`y_{k,t} = \prod_{i=0}^{order-1} u_{t-k-i}`, ``k`` from
    1, bits ±1.

    "Real-time computation at the edge of chaos in recurrent neural networks" (Bertschinger & Natschläger 2004,
    doi:10.1162/089976604323057443); no linear function of the bits is better than chance.
    """
    past = delays + order - 1
    u = rng.choice([-1.0, 1.0], steps + past)
    product = np.prod([u[i : len(u) - order + 1 + i] for i in range(order)], axis=0)  # product[j] = u[j] ... u[j + order - 1]
    ends = past - order + 1
    return u[past:, None], np.stack([product[ends - k : ends - k + steps] for k in range(1, delays + 1)], axis=1)


def integrate_mackey_glass(start: float, samples: int, tau: float = 17.0, substeps: int = 10) -> Series:
    """Integrate the Mackey-Glass equation from the constant history ``start``, sampled at times 0, 1, ...; returns ``(samples,)``.

    Classical Runge-Kutta with ``substeps`` steps per time unit; between steps the history is interpolated by cubic Hermite polynomials, so
    that the error is of fourth order. Raises ``ValueError`` if ``tau`` is not a positive multiple of the step.
    """
    lag = round(tau * substeps)
    if lag < 1 or abs(lag - tau * substeps) > 1e-9:
        raise ValueError(f"tau must be a positive multiple of the step 1/{substeps}, got {tau}; change tau or substeps")
    h, steps = 1 / substeps, (samples - 1) * substeps
    x, slope = [start] * (lag + 1), [0.0] * (lag + 1)

    def rate(now: float, delayed: float) -> float:
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * now

    for n in range(lag, lag + steps):
        now, old, following = x[n], x[n - lag], x[n - lag + 1]
        # The slope jumps at time 0, where the constant history ends, so each side has its own.
        after = 0.0 if n - lag + 1 == lag else slope[n - lag + 1]
        middle = (old + following) / 2 + h * (slope[n - lag] - after) / 8
        k1 = slope[n] = rate(now, old)
        k2 = rate(now + h / 2 * k1, middle)
        k3 = rate(now + h / 2 * k2, middle)
        k4 = rate(now + h * k3, following)
        x.append(now + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        slope.append(rate(x[n + 1], following))
    return np.array(x[lag::substeps])


def integrate_lorenz(start: npt.ArrayLike, samples: int, interval: float = 0.02, substeps: int = 4) -> Series:
    """Integrate the Lorenz equations from ``start`` by classical Runge-Kutta, sampled every ``interval``; returns ``(samples, 3)``."""
    h = interval / substeps

    def rate(p: Series) -> Series:
        x, y, z = p.tolist()
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    path = np.empty((samples, 3))
    path[0] = p = np.asarray(start, dtype=np.float64)
    for sample in range(1, samples):
        for _ in range(substeps):
            k1 = rate(p)
            k2 = rate(p + h / 2 * k1)
            k3 = rate(p + h / 2 * k2)
            p = p + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(p + h * k3))
        path[sample] = p
    return path


SEQUENCE_TASKS: Mapping[str, tuple[Callable[..., tuple[Series, Series]], str]] = {
    "memory": (memory_capacity, "memory capacity"),
    "narma10": (narma10, "NRMSE"),
    "mackey-glass": (mackey_glass, "NRMSE"),
    "lorenz": (lorenz, "NRMSE"),
    "parity": (temporal_parity, "accuracy"),
}


def sequence_task(
    name: str, seed: int = 0, washout: int = 200, train: int = 1_500, validation: int = 500, test: int = 1_000, **settings: float
) -> SequenceTask:
    """Generate the sequence of a task.

    Args:
        name: ``"memory"`` (:func:`memory_capacity`), ``"narma10"`` (:func:`narma10`), ``"mackey-glass"`` (:func:`mackey_glass`),
            ``"lorenz"`` (:func:`lorenz`) or ``"parity"`` (:func:`temporal_parity`).
        seed: non-negative integer; each task draws its own stream from it.
        washout, train, validation, test: lengths of the segments, in time steps.
        **settings: arguments of the task's function, such as ``delays``.

    Raises:
        ValueError: for an unknown name, a negative seed, an empty segment or a setting out of range.
        TypeError: for a setting that the task does not have, or a length, seed, delay or order that is not an integer.
    """
    check_choice("name", name, SEQUENCE_TASKS)
    check_seed(seed)
    lengths = {"washout": washout, "train": train, "validation": validation, "test": test}
    for part, length in lengths.items():
        check_whole(part, length, 0 if part == "washout" else 2)
    make, metric = SEQUENCE_TASKS[name]
    known = make.__code__.co_varnames[2 : make.__code__.co_argcount]
    for key, value in settings.items():
        if key not in known:
            raise TypeError(f"{key} must be a setting of {name!r} ({', '.join(known) or 'it has none'}), got {value}; leave it out")
        if make.__annotations__[key] is int:
            check_whole(key, value, 1)  # type: ignore[arg-type]
        else:
            check_number(key, value, above=True)
    rng = np.random.default_rng([list(SEQUENCE_TASKS).index(name), seed])
    inputs, targets = make(rng, sum(lengths.values()), **settings)
    ends = itertools.accumulate(lengths.values(), initial=0)
    first, second, third, fourth = itertools.starmap(slice, itertools.pairwise(ends))
    tensors = torch.from_numpy(inputs.copy()), torch.from_numpy(targets.copy())
    return SequenceTask(name, *tensors, first, second, third, fourth, metric, {"seed": seed, **lengths, **settings})
