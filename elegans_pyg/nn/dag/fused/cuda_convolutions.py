"""Triton functions of executor ``fused`` that convolve one map, forward and backward, for a program of :mod:`.cuda_kernels`.

They walk down the rows of a block of columns: each row is read once and added to its three neighbouring rows of the output, and the masks
and addresses of the columns are the same for all rows. Maps may be stored in bfloat16; sums and statistics are float32.
"""

# Triton reads these annotations when it compiles a kernel: no `from __future__ import annotations`.
import triton
import triton.language as tl

_COMPILED = tl.constexpr(not triton.knobs.runtime.interpret)


@triton.jit
def wide(numbers):
    """Convert stored numbers to float32.

    Two bfloat16 numbers share a register, whose upper half is the second one's float32 once masked.
    """
    if _COMPILED and numbers.dtype == tl.bfloat16:
        return tl.inline_asm_elementwise(
            "shl.b32 $0, $2, 16; and.b32 $1, $2, 0xffff0000;", "=r,=r,r", [numbers], dtype=tl.float32, is_pure=True, pack=2
        )
    return numbers.to(tl.float32)


@triton.jit
def _columns(start, row, images, BLOCK: tl.constexpr):
    """Return indices ``(BLOCK,)`` into a row, which lie inside, and which have a left and a right neighbour."""
    lanes = start + tl.arange(0, BLOCK)
    inside = lanes < row
    return lanes, inside, inside & (lanes >= images), lanes < row - images


@triton.jit
def _neighbours(maps, lanes, images, inside, left, right):
    """Return each pixel's left neighbour, the pixel, and its right neighbour; zero outside."""
    a = wide(tl.load(maps + (lanes - images), mask=left, other=0.0))
    b = wide(tl.load(maps + lanes, mask=inside, other=0.0))
    c = wide(tl.load(maps + (lanes + images), mask=right, other=0.0))
    return a, b, c


@triton.jit
def _taps(taps):
    """Load the nine numbers of a 3x3 kernel."""
    k0, k1, k2 = tl.load(taps), tl.load(taps + 1), tl.load(taps + 2)
    k3, k4, k5 = tl.load(taps + 3), tl.load(taps + 4), tl.load(taps + 5)
    return k0, k1, k2, k3, k4, k5, tl.load(taps + 6), tl.load(taps + 7), tl.load(taps + 8)


@triton.jit
def _put(target, value, inside, average, spread, count):
    """Store a row, and update the mean and the sum of squares about it of each column's ``count`` numbers (Welford)."""
    # Of the numbers as stored: deviations that do not sum to zero would bias the gradients.
    value = value.to(target.dtype.element_ty)
    tl.store(target, value, mask=inside)
    value = wide(value)
    d = value - average
    average += d * (1.0 / count)
    return average, spread + d * (value - average)


@triton.jit
def convolve(target, source, taps, held, height, row, images, BLOCK: tl.constexpr):
    """Cross-correlate a map with a 3x3 kernel. Returns for each lane the count, the mean, and the sum of squares about the mean."""
    k0, k1, k2, k3, k4, k5, k6, k7, k8 = _taps(taps)
    counts = tl.zeros([BLOCK], tl.float32)
    averages = tl.zeros([BLOCK], tl.float32)
    spreads = tl.zeros([BLOCK], tl.float32)
    for start in range(0, row, BLOCK):
        lanes, inside, left, right = _columns(start, row, images, BLOCK)
        average = tl.zeros([BLOCK], tl.float32)
        spread = tl.zeros([BLOCK], tl.float32)
        a, b, c = _neighbours(source, lanes, images, inside, left, right)
        here = k3 * a + k4 * b + k5 * c
        below = k0 * a + k1 * b + k2 * c
        for y in range(1, height):
            a, b, c = _neighbours(source + y * row, lanes, images, inside, left, right)
            value = here + k6 * a + k7 * b + k8 * c
            here = below + k3 * a + k4 * b + k5 * c
            below = k0 * a + k1 * b + k2 * c
            average, spread = _put(target + (y - 1) * row + lanes, value, inside, average, spread, y)
        average, spread = _put(target + (height - 1) * row + lanes, here, inside, average, spread, height)
        # The rule of Chan, Golub and LeVeque for two samples. Padding does not count.
        counted = tl.load(held + lanes, mask=inside, other=0.0)
        share = counted * height / tl.maximum(counts + counted * height, 1.0)
        d = average - averages
        averages += d * share
        spreads += counted * spread + d * d * counts * share
        counts += counted * height
    return counts, averages, spreads


@triton.jit
def _through_norm(gradient, z, gain, offset, slope, lanes, images, inside, left, right):
    """Return the gradient at a row of the convolution: of each pixel's left neighbour, the pixel, and its right neighbour; zero outside."""
    a, b, c = _neighbours(gradient, lanes, images, inside, left, right)
    d, e, f = _neighbours(z, lanes, images, inside, left, right)
    a = tl.where(left, gain * a - offset - slope * d, 0.0)
    c = tl.where(right, gain * c - offset - slope * f, 0.0)
    return a, gain * b - offset - slope * e, c


@triton.jit
def _of_thread(numbers, BLOCK: tl.constexpr, VECTOR: tl.constexpr):
    """Sum over each thread's vector: one register instead of one per number."""
    return tl.sum(tl.reshape(numbers, [BLOCK // VECTOR, VECTOR]), 1)


@triton.jit
def _pass_back(target, value, r, inside, total, BLOCK: tl.constexpr, VECTOR: tl.constexpr):
    """Store a row of the gradient at a node's sum, masked by the ReLU, and add it to ``total``."""
    # Of the numbers as stored, as for the mean: differences of such sums are taken.
    value = tl.where(wide(r) <= 0.0, 0.0, value).to(target.dtype.element_ty)
    tl.store(target, value, mask=inside)
    return total + _of_thread(wide(value), BLOCK, VECTOR)


@triton.jit
def _add_ten(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9):
    """Add ten sums in one reduction, with one barrier."""
    return a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5, a6 + b6, a7 + b7, a8 + b8, a9 + b9


@triton.jit
def _along(r, a, b, c, right, middle, left, BLOCK: tl.constexpr, VECTOR: tl.constexpr):
    """Add the products of a row of ``relu``, as stored, and three shifted rows of the gradient to the gradients of three taps."""
    r = wide(r)
    right += _of_thread(r * c, BLOCK, VECTOR)
    middle += _of_thread(r * b, BLOCK, VECTOR)
    return right, middle, left + _of_thread(r * a, BLOCK, VECTOR)


@triton.jit
def convolve_back(
    target, relu, gradient, z, taps, grad_taps, gain, offset, slope, height, row, images, BLOCK: tl.constexpr, VECTOR: tl.constexpr
):
    """Compute from the gradient at ``y_n`` those at ``a_n`` and of the taps, by the flipped kernel. Returns the sum of ``target``."""
    k0, k1, k2, k3, k4, k5, k6, k7, k8 = _taps(taps)
    zeros = tl.zeros([BLOCK // VECTOR], tl.float32)
    s0, s1, s2, s3, s4, s5, s6, s7, s8, total = zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros
    for start in range(0, row, BLOCK):
        lanes, inside, left, right = _columns(start, row, images, BLOCK)
        r = tl.load(relu + lanes, mask=inside, other=0.0)
        after = tl.load(relu + row + lanes, mask=lanes < tl.where(height > 1, row, 0), other=0.0)
        a, b, c = _through_norm(gradient, z, gain, offset, slope, lanes, images, inside, left, right)
        here = k3 * c + k4 * b + k5 * a
        below = k6 * c + k7 * b + k8 * a
        s3, s4, s5 = _along(r, a, b, c, s3, s4, s5, BLOCK, VECTOR)
        s6, s7, s8 = _along(after, a, b, c, s6, s7, s8, BLOCK, VECTOR)
        for y in range(1, height):
            a, b, c = _through_norm(gradient + y * row, z + y * row, gain, offset, slope, lanes, images, inside, left, right)
            value = here + k0 * c + k1 * b + k2 * a
            here = below + k3 * c + k4 * b + k5 * a
            below = k6 * c + k7 * b + k8 * a
            after = tl.load(relu + (y + 1) * row + lanes, mask=lanes < tl.where(y + 1 < height, row, 0), other=0.0)
            s6, s7, s8 = _along(after, a, b, c, s6, s7, s8, BLOCK, VECTOR)
            r = tl.load(relu + y * row + lanes, mask=inside, other=0.0)
            s3, s4, s5 = _along(r, a, b, c, s3, s4, s5, BLOCK, VECTOR)
            before = tl.load(relu + (y - 1) * row + lanes, mask=inside, other=0.0)
            s0, s1, s2 = _along(before, a, b, c, s0, s1, s2, BLOCK, VECTOR)
            total = _pass_back(target + (y - 1) * row + lanes, value, before, inside, total, BLOCK, VECTOR)
        r = tl.load(relu + (height - 1) * row + lanes, mask=inside, other=0.0)
        total = _pass_back(target + (height - 1) * row + lanes, here, r, inside, total, BLOCK, VECTOR)
    s0, s1, s2, s3, s4, s5, s6, s7, s8, total = tl.reduce((s0, s1, s2, s3, s4, s5, s6, s7, s8, total), 0, _add_ten)
    tl.store(grad_taps, s0)
    tl.store(grad_taps + 1, s1)
    tl.store(grad_taps + 2, s2)
    tl.store(grad_taps + 3, s3)
    tl.store(grad_taps + 4, s4)
    tl.store(grad_taps + 5, s5)
    tl.store(grad_taps + 6, s6)
    tl.store(grad_taps + 7, s7)
    tl.store(grad_taps + 8, s8)
    return total
