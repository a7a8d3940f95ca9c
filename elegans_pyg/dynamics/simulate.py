"""Simulating a worm's nervous system under many stimuli at once."""

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice
from elegans_pyg.dynamics.integrate import integrate
from elegans_pyg.dynamics.worm import State, Worm
from elegans_pyg.wirings import ELECTRICAL


def simulate(
    worm: Worm,
    current_pA: Tensor,
    inputs: Sequence[str],
    dt_ms: float = 0.05,
    duration_ms: float = 500.0,
    record: Sequence[str] | None = None,
    ablate: Sequence[str] = (),
    initial_state: State | None = None,
    executor: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Simulate a nervous system under a batch of stimuli, each independent of the others.

    Time is cut into ``T = duration_ms / dt_ms`` steps. ``current_pA[:, t]`` flows throughout step ``t``, from ``t dt_ms`` to
    ``(t + 1) dt_ms``, and the voltage returned at ``t`` is that at the step's end, ``time_ms[t] = (t + 1) dt_ms``: no voltage depends on a
    later current, and the initial state is not among the voltages.

    The scheme is of second order, and semi-implicit: it stays finite, bounded by the reversal potentials and ``I / g``, for conductances
    of any size, except that ``dt_ms`` may not exceed the time constant of a neuron's gap junctions. See
    :mod:`elegans_pyg.dynamics.integrate`.

    Args:
        current_pA: ``(S, T, len(inputs))``, positive currents depolarise; its type and device are those of the computation.
        inputs: the neurons that they flow into: their somata, or, where neurons have their shape, c302's segments such as ``"PLML:17"``.
        dt_ms, duration_ms: of a step, and of the whole.
        record: neurons, or segments, whose voltages are returned; ``None`` for all neurons that are left, in the order of
            ``worm.without(ablate).neuron_name``.
        ablate: neurons, or classes such as ``"AVB"``, that are removed with all their synapses.
        initial_state: tensors of all neurons that are left; :meth:`Worm.initial_state` if ``None``.
        executor: ``"plain"``: PyTorch operations, differentiable in ``current_pA``, ``initial_state`` and every tensor of ``worm.data``,
            with memory that grows with the square root of ``T`` (beside the result). ``"fused"``: one Numba kernel for all steps, on the
            CPU and without gradients. ``"auto"``: fused where it can, if Numba is there, else plain.

    Returns:
        ``time_ms (T,)`` and ``voltage_mV (S, T, R)``

    Raises:
        TypeError: if ``current_pA`` is no floating-point tensor, or a table of ``worm.data`` no float64 one.
        ValueError: for unknown, repeated or ablated neurons, a duration that is no whole number of steps, currents of another shape or that
            are not finite, tables of ``worm.data`` of another shape, not finite or negative where they may not be, a step too long for the
            gap junctions, or an executor that cannot do it.
        ImportError: if the fused executor is asked for and Numba is missing.

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
    _check_tables(worm, dt_ms)
    device = current_pA.device
    input_rows, record_rows = (torch.tensor(worm.rows(names), dtype=torch.int64, device=device) for names in (into, recorded))
    state = worm.initial_state(current_pA.dtype) if initial_state is None else _checked_state(initial_state, worm, current_pA)
    tables = [part for part in worm.data.to_dict().values() if isinstance(part, Tensor)]
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (current_pA, *state, *tables))
    if worm.compartments is not None:
        voltage = _along_cables(worm, state, current_pA, input_rows, record_rows, dt_ms, executor, wanted)
    elif _fused(executor, current_pA, wanted):
        from elegans_pyg.dynamics.fused import integrate_fused

        voltage = integrate_fused(worm, state, current_pA, input_rows, record_rows, dt_ms)
    else:
        with torch.set_grad_enabled(wanted):
            voltage = integrate(worm, state, current_pA, input_rows, record_rows, dt_ms)
    time_ms = torch.arange(1, steps + 1, dtype=torch.float64, device=device).mul(dt_ms).to(current_pA.dtype)
    return time_ms, voltage


def _along_cables(
    worm: Worm, state: State, current: Tensor, inputs: Tensor, record: Tensor, dt_ms: float, executor: str, gradients: bool
) -> Tensor:
    """Voltages of a worm whose neurons have their shape; with gradients, only the trees are swept by compiled code."""
    from elegans_pyg.dynamics.cables.integrate import integrate_cables

    if _fused(executor, current, gradients):
        from elegans_pyg.dynamics.cables.fused import integrate_cables_fused

        return integrate_cables_fused(worm, state, current, inputs, record, dt_ms)
    compiled = executor == "auto" and current.device.type == "cpu" and find_spec("numba") is not None
    with torch.set_grad_enabled(gradients):
        return integrate_cables(worm, state, current, inputs, record, dt_ms, compiled=compiled)


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
        if name in gone:
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
        raise ValueError(f"current_pA: expected finite currents, got {got}; mend the stimulus")


def _check_tables(worm: Worm, dt_ms: float) -> None:
    """What users may replace: the kernels read these without looking at their sizes."""
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
            raise ValueError(f"worm.data.{name}: expected finite numbers, got some that are not; mend the tensor")
        if name not in ("reversal_mV", "threshold_mV") and bool((values < 0).any()):
            raise ValueError(f"worm.data.{name}: expected no negative number, got {float(values.min()):g}; mend the tensor")
    capacitance = data.capacitance_pF.detach()
    for name in shapes.keys() & {"capacitance_pF", "resistivity_ohm_cm"}:
        if not bool((data[name].detach() > 0).all()):
            raise ValueError(f"worm.data.{name}: expected numbers above 0, got 0; mend the tensor")
    if worm.compartments is not None:
        cables = worm.cables
        capacitance = capacitance * torch.from_numpy(cables.area_um2[cables.soma] / np.bincount(cables.neuron, cables.area_um2))
    # Neighbours' voltages are extrapolated over half a step, which is stable only while the step is short beside the gap junctions.
    gap = data.conductance_nS.detach() * (data.edge_type == ELECTRICAL)
    shortest = float((capacitance / torch.zeros_like(capacitance).index_add_(0, data.edge_index[1], gap)).min())
    if dt_ms > shortest:
        limit = f"{shortest:.3g}, the shortest time constant of any neuron's gap junctions"
        raise ValueError(f"dt_ms: expected at most {limit}, got {dt_ms}; shorten it")


def _checked_state(state: State, worm: Worm, current: Tensor) -> State:
    for name, given, pattern in zip(State._fields, state, worm.initial_state(), strict=True):
        if given.shape not in (pattern.shape, (current.size(0), *pattern.shape)):
            wanted = f"{tuple(pattern.shape)}, or {current.size(0)} of these, got {tuple(given.shape)}"
            raise ValueError(f"initial_state.{name}: expected {wanted}; start from worm.without(ablate).initial_state()")
        if not bool(torch.isfinite(given.detach()).all()):
            raise ValueError(f"initial_state.{name}: expected finite numbers, got some that are not; mend the state")
    return state


def _fused(executor: str, current: Tensor, gradients: bool) -> bool:
    check_choice("executor", executor, ("auto", "plain", "fused"))
    possible = current.device.type == "cpu" and not gradients
    if executor == "fused" and not possible:
        reason = "gradients are wanted" if gradients else f"current_pA is on {current.device}"
        raise ValueError(f"executor: expected 'plain', since {reason}, got 'fused'; choose 'plain' or 'auto'")
    return executor == "fused" or (executor == "auto" and possible and find_spec("numba") is not None)
