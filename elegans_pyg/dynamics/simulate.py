"""Simulating a worm's nervous system under many stimuli at once."""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice, check_number
from elegans_pyg.dynamics.integrate import integrate
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL

LARGEST_ERROR_MV, FINEST = 1.0, 64
"""The error above which a simulation warns, and the largest number of internal steps in one of ``dt_ms``."""


class StepWarning(UserWarning):
    """The steps are so long that voltages may be off by more than ``LARGEST_ERROR_MV``, or the tolerance asked for."""


class _Voltages(NamedTuple):
    time_ms: Tensor
    voltage_mV: Tensor


class Simulation(_Voltages):
    """Result of :func:`simulate`. It unpacks into ``time_ms (T,)`` and ``voltage_mV (S, T, R)``; its attribute ``error_mV (S,)`` is the
    estimated largest error of each stimulus's voltages due to the length of the steps, NaN where it was not estimated."""

    error_mV: Tensor


def simulate(
    worm: Worm,
    current_pA: Tensor,
    inputs: Sequence[str],
    dt_ms: float = 0.05,
    duration_ms: float = 500.0,
    record: Sequence[str] | None = None,
    ablate: Sequence[str] = (),
    initial_state: State | None = None,
    backend: str = "auto",
    tolerance_mV: float | None = None,
    estimate: bool = True,
) -> Simulation:
    """Simulate a nervous system under a batch of stimuli, each independent of the others.

    Time is divided into ``T = duration_ms / dt_ms`` steps. ``current_pA[:, t]`` flows throughout step ``t``, from ``t dt_ms`` to
    ``(t + 1) dt_ms``, and the voltage returned at ``t`` is that at the step's end, ``time_ms[t] = (t + 1) dt_ms``: no voltage depends on a
    later current, and the initial state is not among the voltages.

    The scheme is of second order, and semi-implicit: it stays finite, bounded by the reversal potentials and ``I / g``, for conductances
    of any size, except that ``dt_ms`` may not exceed the time constant of a neuron's gap junctions. See
    :mod:`elegans_pyg.dynamics.integrate`. The error due to the length of the steps is estimated from the same simulation in steps twice as
    long: a third of the largest difference, since the error is four times as large there. If that is above 1 mV, steps half as long
    decide: four thirds of the largest difference, in double precision and on the CPU.

    Args:
        current_pA: ``(S, T, len(inputs))``, positive currents depolarise; its type and device are those of the computation.
        inputs: the neurons that they flow into: their somata, or, if neurons have their shape, c302's segments such as ``"PLML:17"``.
        dt_ms, duration_ms: length of a step, and of the simulation.
        record: neurons, or segments, whose voltages are returned; ``None`` for all neurons that are left, in the order of
            ``worm.without(ablate).neuron_name``.
        ablate: neurons, or classes such as ``"AVB"``, that are removed with all their synapses.
        initial_state: tensors of all neurons that are left; :meth:`Worm.initial_state` if ``None``.
        backend: ``"reference"``: PyTorch operations on any device; ``"fused"``: Numba kernels on the CPU, without gradients for neurons
            with their shape; ``"auto"``: fused if possible and Numba is installed, else reference. Differentiable, once, in ``current_pA``,
            ``initial_state`` and every tensor of ``worm.data``, with memory for the square root of ``T`` states besides the result.
        tolerance_mV: largest estimated error. Every stimulus is simulated with 1, 2, 4, ..., 64 internal steps in each of ``dt_ms`` until
            its error is below; gradients are those of the simulation with these steps. ``None``: one step.
        estimate: with ``tolerance_mV=None`` and neurons without shape, whether to estimate the error of the stimulus that jumps most.

    Returns:
        :class:`Simulation`: ``time_ms (T,)``, ``voltage_mV (S, T, R)``, and as an attribute ``error_mV (S,)``.

    Warns:
        StepWarning: if an estimated error is above 1 mV, or above ``tolerance_mV`` in spite of 64 internal steps.

    Raises:
        TypeError: if ``current_pA`` is not a floating-point tensor, or a table of ``worm.data`` is not float64.
        ValueError: for unknown, repeated or ablated neurons, a duration that is not a whole number of steps, currents of another shape or
            that are not finite, tables of ``worm.data`` of another shape, not finite or negative where they may not be, a step too long for
            the gap junctions, a tolerance that is not above 0, or a backend that is not possible here.
        ImportError: if the fused backend is asked for and Numba is missing.

    Example:
        >>> worm = Worm("c302-C1")
        >>> time_ms, voltage_mV = simulate(worm, torch.full((1, 10000, 2), 2.0), inputs=["PLML", "PLMR"], record=["DB1", "VB1"])
        >>> voltage_mV.shape
        torch.Size([1, 10000, 2])
    """
    steps = count_steps(dt_ms, duration_ms)
    intact, worm = worm, worm.without(ablate) if len(ablate) else worm
    into = _resolved(intact, worm, inputs, "inputs")
    check_current(current_pA, steps, into)
    recorded = worm.neuron_name if record is None else _resolved(intact, worm, record, "record")
    if not recorded:
        raise ValueError("record: expected at least one neuron, got none; name some, or give None for all")
    longest = _check_tables(worm, dt_ms)
    limit = LARGEST_ERROR_MV if tolerance_mV is None else check_number("tolerance_mV", tolerance_mV, above=True)
    input_rows, record_rows = (torch.tensor(worm.rows(names), dtype=torch.int64, device=current_pA.device) for names in (into, recorded))
    state = worm.initial_state(current_pA.dtype) if initial_state is None else _checked_state(initial_state, worm, current_pA)
    wanted = _wants_gradients(worm, state, current_pA)
    run = _runner(worm, current_pA, state, input_rows, record_rows, dt_ms, backend, wanted)
    # If neurons have their shape, long steps are subdivided anyway, so steps twice as long would tell nothing.
    doubled = steps > 1 and 2 * dt_ms <= longest and worm.compartments is None
    if tolerance_mV is None:
        voltage, error = _unrefined(run, current_pA, doubled and estimate, wanted)
    else:
        voltage, error = _refined(run, current_pA, doubled, limit, wanted)
    _warn(error, limit, dt_ms)
    return _simulation(voltage, error, dt_ms)


def _wants_gradients(worm: Worm, state: State, current: Tensor) -> bool:
    tables = [part for part in worm.data.to_dict().values() if isinstance(part, Tensor)]
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (current, *state, *tables))


def _simulation(voltage: Tensor, error: Tensor, dt_ms: float) -> Simulation:
    time_ms = torch.arange(1, voltage.size(1) + 1, dtype=torch.float64, device=voltage.device).mul(dt_ms).to(voltage.dtype)
    done = Simulation(time_ms, voltage)
    done.error_mV = error
    return done


def _runner(
    worm: Worm, current: Tensor, state: State, inputs: Tensor, record: Tensor, dt_ms: float, backend: str, wanted: bool
) -> Callable[..., Tensor]:
    """A function that simulates some of the stimuli; ``wanted``: whether gradients are needed in the end."""
    _fused(worm, backend, current, wanted)  # raises for a backend that is not possible
    # A state with one row per stimulus is indexed like the currents, and so has to be on their device.
    state = State(*(part.to(current) for part in state))
    several = [part.dim() > full.dim() for part, full in zip(state, worm.initial_state(), strict=True)]

    def run(own: Tensor, length: int = 1, repeats: int = 1, gradients: bool = False, double: bool = False) -> Tensor:
        """Simulate some stimuli in steps of ``length`` times ``dt_ms``, each with its mean current and subdivided into ``repeats``;
        ``double``: in double precision, which not every device has, on the CPU."""
        # With nothing that asks for a gradient, no state is kept for one.
        with torch.set_grad_enabled(gradients):
            flowing = current[own].cpu().double() if double else current[own]
            device = flowing.device
            if length > 1:
                flowing = flowing[:, : flowing.size(1) // length * length].unflatten(1, (-1, length)).mean(2)
            begin = State(*(part[own] if each else part for part, each in zip(state, several, strict=True)))
            walk = _walk(worm, backend, _fused(worm, backend, flowing, gradients), device)
            return walk(worm, begin, flowing, inputs.to(device), record.to(device), dt_ms * length, repeats)

    return run


def _unrefined(run: Callable[..., Tensor], current: Tensor, estimate: bool, wanted: bool) -> tuple[Tensor, Tensor]:
    """Voltages of all stimuli, and the error of the one whose voltages jump most, if ``estimate``."""
    voltage = run(torch.arange(len(current), device=current.device), gradients=wanted)
    error = torch.full((len(current),), math.nan)
    if estimate:
        sample = voltage.detach().diff(dim=1).abs().amax((1, 2)).argmax(0, keepdim=True)
        own = voltage[sample].detach()
        found = _error(own, run(sample, length=2), every=2)
        if float(found) > LARGEST_ERROR_MV:
            # Steps twice as long may miss plateaus that these follow; steps half as long decide, at a higher cost. There rounding to
            # single precision moves a plateau more than the steps do.
            found = 4 * _error(run(sample, repeats=2, double=True), run(sample, double=True), every=1)
        error[sample.cpu()] = found
    return voltage, error


def _refined(run: Callable[..., Tensor], current: Tensor, doubled: bool, tolerance_mV: float, wanted: bool) -> tuple[Tensor, Tensor]:
    """Voltages and errors of all stimuli, each with as few internal steps as the tolerance allows."""
    left, device = torch.arange(len(current), device=current.device), current.device
    count, every = (1, 2) if doubled else (2, 1)
    coarse = run(left, length=2) if doubled else run(left)
    error, repeats, voltage = torch.full((len(current),), math.nan), torch.ones_like(left), None
    while True:
        fine = run(left, repeats=count)
        voltage = fine if voltage is None else voltage.index_copy(0, left, fine)
        error[left.cpu()] = _error(fine, coarse, every)
        repeats[left] = count
        # A comparison with NaN, from a simulation that failed, is false: more steps would not help.
        more = (error > tolerance_mV)[left.cpu()].to(device)
        if count == FINEST or not bool(more.any()):
            break
        left, coarse, count, every = left[more], fine[more], 2 * count, 1
    if wanted:
        groups = [(repeats == count).nonzero().squeeze(1) for count in repeats.unique()]
        parts = [run(own, repeats=int(repeats[own[0]]), gradients=True) for own in groups]
        voltage = torch.cat(parts)[torch.cat(groups).argsort()]
    return voltage, error


def _error(fine: Tensor, coarse: Tensor, every: int) -> Tensor:
    """Largest error ``(S,)`` of voltages from a scheme of second order, given every second one (``every=2``) with steps twice as long, or
    each one with half as many."""
    return (fine[:, every - 1 :: every][:, : coarse.size(1)] - coarse).abs().amax((1, 2)).float().cpu() / 3


def _warn(error: Tensor, limit: float, dt_ms: float) -> None:
    worst = int(error.nan_to_num(-1).argmax())
    if float(error[worst]) > limit:
        found = f"voltages of stimulus {worst} may be off by {float(error[worst]):.2g} mV at dt_ms={dt_ms:g}"
        warnings.warn(f"{found}; give tolerance_mV={limit / 10:g}, or a shorter dt_ms", StepWarning, stacklevel=3)


def _walk(worm: Worm, backend: str, compiled: bool, device: torch.device) -> Callable[..., Tensor]:
    """The function that takes all steps, for neurons that are points or have their shape, compiled or differentiable."""
    if worm.compartments is None:
        if not compiled:
            return integrate
        from elegans_pyg.dynamics.fused import integrate_fused

        return integrate_fused
    if compiled:
        from elegans_pyg.dynamics.cables.fused import integrate_cables_fused

        return integrate_cables_fused
    from elegans_pyg.dynamics.cables.integrate import integrate_cables

    # With gradients, compiled code only solves the trees.
    return partial(integrate_cables, compiled=backend == "auto" and device.type == "cpu" and find_spec("numba") is not None)


def count_steps(dt_ms: float, duration_ms: float) -> int:
    for name, value in (("dt_ms", dt_ms), ("duration_ms", duration_ms)):
        if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: expected a finite number of ms above 0, got {value!r}; give one, such as 0.05")
    steps = round(duration_ms / dt_ms)
    if steps < 1 or not math.isclose(steps * dt_ms, duration_ms, rel_tol=1e-6):
        raise ValueError(f"duration_ms: expected a whole number of steps of {dt_ms} ms, got {duration_ms}; change one of them")
    return steps


def _resolved(intact: Worm, worm: Worm, names: Sequence[str], argument: str) -> list[str]:
    gone = set(intact.neuron_name) - set(worm.neuron_name)
    for name in names:
        if str(name).partition(":")[0] in gone:
            raise ValueError(f"{argument}: expected neurons that are left, got {name}, which ablate removes; leave it out of one of them")
    return worm.resolve(names, argument)


def check_current(current: Tensor, steps: int, inputs: list[str]) -> None:
    if not isinstance(current, Tensor) or current.dtype not in (torch.float32, torch.float64):
        got = str(current.dtype) if isinstance(current, Tensor) else type(current).__name__
        raise TypeError(f"current_pA: expected a tensor of float32 or float64, got {got}; convert it with .float()")
    if current.dim() != 3 or current.size(0) == 0 or current.size(1) != steps or current.size(2) != len(inputs):
        wanted = f"(stimuli, {steps} steps, {len(inputs)} inputs) for these dt_ms, duration_ms and inputs"
        raise ValueError(f"current_pA: expected {wanted}, got {tuple(current.shape)}; change one of them")
    bad = ~torch.isfinite(current.detach())
    if bool(bad.any()):
        stimulus, step, neuron = bad.nonzero()[0].tolist()
        got = f"{float(current[stimulus, step, neuron])} in stimulus {stimulus} at step {step} into {inputs[neuron]}"
        raise ValueError(f"current_pA: expected finite currents, got {got}; correct the stimulus")


def _check_tables(worm: Worm, dt_ms: float) -> float:
    """Check the tensors that users may replace, since the kernels do not check sizes; return the longest stable step in ms."""
    data = worm.data
    edges, neurons = (data.edge_index.size(1),), (len(worm.neuron_name),)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("conductance_nS", "reversal_mV"), edges)
    shapes |= dict.fromkeys(("capacitance_pF", "leak_nS", "threshold_mV"), neurons)
    if worm.membrane.channels is not None:
        shapes["channel_nS"] = (*neurons, 3)
    if worm.compartments is not None:
        shapes["resistivity_ohm_cm"] = neurons
    for name, shape in shapes.items():
        table = data.get(name)
        if not isinstance(table, Tensor) or table.dtype != torch.float64:
            got = str(table.dtype) if isinstance(table, Tensor) else type(table).__name__
            raise TypeError(f"worm.data.{name}: expected a float64 tensor, got {got}; convert it with .double()")
        if table.shape != shape:
            raise ValueError(f"worm.data.{name}: expected {shape}, got {tuple(table.shape)}; give a number for each")
        values = table.detach()
        if not bool(values.isfinite().all()):
            raise ValueError(f"worm.data.{name}: expected finite numbers, got some that are not; correct the tensor")
        if name not in ("reversal_mV", "threshold_mV") and bool((values < 0).any()):
            raise ValueError(f"worm.data.{name}: expected no negative number, got {float(values.min()):g}; correct the tensor")
    for name in shapes.keys() & {"capacitance_pF", "resistivity_ohm_cm"}:
        if not bool((data[name].detach() > 0).all()):
            raise ValueError(f"worm.data.{name}: expected numbers above 0, got 0; correct the tensor")
    shortest = longest_step_ms(worm)
    if dt_ms > shortest:
        limit = f"{shortest:.3g}, the shortest time constant of any neuron's gap junctions"
        raise ValueError(f"dt_ms: expected at most {limit}, got {dt_ms}; shorten it")
    return shortest


def longest_step_ms(worm: Worm) -> float:
    """The longest stable step: the shortest time constant of any neuron's gap junctions, in ms. Neighbours' voltages are extrapolated over
    half a step, which is stable only if the step is short compared with it."""
    data = worm.data
    capacitance = data.capacitance_pF.detach()
    if worm.compartments is not None:
        cables = worm.cables
        capacitance = capacitance * torch.from_numpy(cables.area_um2[cables.soma] / np.bincount(cables.neuron, cables.area_um2))
    gap = data.conductance_nS.detach() * (data.edge_type == ELECTRICAL)
    return float((capacitance / torch.zeros_like(capacitance).index_add_(0, data.edge_index[1], gap)).min())


def _checked_state(state: State, worm: Worm, current: Tensor) -> State:
    for name, given, pattern in zip(State._fields, state, worm.initial_state(), strict=True):
        if given.shape not in (pattern.shape, (current.size(0), *pattern.shape)):
            wanted = f"{tuple(pattern.shape)}, or {current.size(0)} of these, got {tuple(given.shape)}"
            raise ValueError(f"initial_state.{name}: expected {wanted}; start from worm.without(ablate).initial_state()")
        if not bool(torch.isfinite(given.detach()).all()):
            raise ValueError(f"initial_state.{name}: expected finite numbers, got some that are not; correct the state")
    return state


def _fused(worm: Worm, backend: str, current: Tensor, gradients: bool) -> bool:
    check_choice("backend", backend, ("auto", "reference", "fused"))
    refused = None
    if current.device.type != "cpu":
        refused = f"current_pA is on {current.device}"
    elif gradients and worm.compartments is not None:
        refused = "gradients are wanted of neurons with their shape"
    if backend == "fused" and refused:
        raise ValueError(f"backend: expected 'reference', since {refused}, got 'fused'; choose 'reference' or 'auto'")
    return backend == "fused" or (backend == "auto" and not refused and find_spec("numba") is not None)
