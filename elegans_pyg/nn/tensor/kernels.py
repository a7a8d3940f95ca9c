"""Numba kernels of a tensor network's executor ``fused``: products of many rows, computed block by block so that each stays in the cache.

A row is ``(B, width)``, here flat; a call computes the blocks ``first`` to ``last``, of ``size`` numbers each, of all products of a group.
"""

import numpy as np

from elegans_pyg._compiled import compiled


@compiled(error_model="numpy")
def products(first, last, size, table, source, ptr, factors, gain, gated, out):
    """``out[i]`` is row ``source[i]`` times rows ``factors[ptr[i]:ptr[i + 1]]``, or times ``1 + gain[i] * row`` if ``gated``."""
    one = table.dtype.type(1)
    for block in range(first, last):
        low, high = block * size, min((block + 1) * size, table.shape[1])
        for i in range(len(source)):
            total = out[i, low:high]
            total[:] = table[source[i], low:high]
            g = gain[i]
            for k in range(ptr[i], ptr[i + 1]):
                factor = table[factors[k], low:high]
                for j in range(high - low):
                    total[j] *= one + g * factor[j] if gated else factor[j]


@compiled(error_model="numpy")
def products_backward(first, last, size, table, source, ptr, factors, gain, gated, out_grad, table_grad):
    """Add the gradients of the rows to ``table_grad``.

    A factor's gradient is the product of those before it times the gradient after it.
    """
    one = table.dtype.type(1)
    before = np.empty((np.diff(ptr).max(), size), table.dtype)
    running = np.empty(size, table.dtype)
    for block in range(first, last):
        low, high = block * size, min((block + 1) * size, table.shape[1])
        n = high - low
        for i in range(len(source)):
            start, stop, g = ptr[i], ptr[i + 1], gain[i]
            running[:n] = table[source[i], low:high]
            for k in range(start, stop):
                factor = table[factors[k], low:high]
                kept = before[k - start]
                for j in range(n):
                    kept[j] = running[j]
                    running[j] *= one + g * factor[j] if gated else factor[j]
            running[:n] = out_grad[i, low:high]
            for k in range(stop - 1, start - 1, -1):
                factor = table[factors[k], low:high]
                share = table_grad[factors[k], low:high]
                kept = before[k - start]
                for j in range(n):
                    share[j] += g * running[j] * kept[j] if gated else running[j] * kept[j]
                    running[j] *= one + g * factor[j] if gated else factor[j]
            share = table_grad[source[i], low:high]
            for j in range(n):
                share[j] += running[j]
