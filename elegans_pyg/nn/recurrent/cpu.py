"""Executor ``fused`` of recurrent layers: the replicas shared among as many threads as PyTorch uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor, get_num_threads

from elegans_pyg.nn.recurrent import kernels
from elegans_pyg.nn.recurrent.products import LANES

__all__ = ["LANES", "backward", "forward"]

_CELLS = {"rnn": kernels.RNN, "lstm": kernels.LSTM, "gru": kernels.GRU}
_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has no threads of its parent's.
os.register_at_fork(after_in_child=_pools.clear)


def forward(
    cell: str, x: Tensor, weight: Tensor, bias: Tensor, readout: Tensor, offset: Tensor, *, record: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs ``(R, T, O, S)`` and the history that :func:`backward` needs, see :func:`~elegans_pyg.nn.recurrent.kernels.forward`."""
    replicas, rows = bias.shape
    steps, _, lanes = x.shape
    outputs, units = readout.shape[1:]
    kept = steps if record else 0
    y = x.new_empty(replicas, steps, outputs, lanes)
    states, gates = x.new_empty(replicas, kept, units, lanes), x.new_empty(replicas, kept, rows, lanes)
    cells = x.new_empty(replicas, kept if cell == "lstm" else 0, units, lanes)
    _share(kernels.forward, replicas, _CELLS[cell], record, x, weight, bias, readout, offset, y, states, cells, gates)
    return y, states, cells, gates


def backward(cell: str, x: Tensor, weight: Tensor, readout: Tensor, states: Tensor, cells: Tensor, gates: Tensor, *grads: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.recurrent.kernels.backward`."""
    _share(kernels.backward, weight.size(0), _CELLS[cell], x, weight, readout, states, cells, gates, *grads)


def _share(kernel: Callable[..., None], replicas: int, *arguments: Any) -> None:
    """Run ``kernel(start, stop, *arguments)`` over the replicas, one at a time to whichever thread is free."""
    arguments = tuple(argument.numpy() if isinstance(argument, Tensor) else argument for argument in arguments)
    threads = min(get_num_threads(), replicas)
    if threads == 1:
        kernel(0, replicas, *arguments)
        return
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="elegans-recurrent")
    running = [_pools[threads].submit(kernel, replica, replica + 1, *arguments) for replica in range(replicas)]
    for future in running:
        future.result()
