"""Triton kernels of executor ``fused``: one program walks one channel of one variant through all levels of its DAG.

The algorithm and the layout of maps are those of the CPU kernels. A node takes three passes forward (weighted sum and ReLU; convolution and
its sum; variance) and four backward, with a barrier between passes, because a pass reads what other threads of the same program wrote.
Maps may be stored in bfloat16; sums and statistics are float32.
"""

# Annotations are Triton's own here, read when a kernel is compiled: no `from __future__ import annotations`.
import torch
import triton
import triton.language as tl

NEEDS_RELU = True
"""The convolution reads its neighbours' rectified sums from memory, even if no gradient is wanted."""

_BLOCK = 1024
_WARPS = 8


@triton.jit
def _weighted_sum(acc, maps, base, size, index, inside, low, high, neighbour, factor):
    """``acc + sum over k in low:high of factor[k] * maps[base + neighbour[k] * size + index]``."""
    for k in range(low, high):
        f = tl.load(factor + k)
        m = tl.load(neighbour + k)
        acc += f * tl.load(maps + base + m * size + index, mask=inside, other=0.0).to(tl.float32)
    return acc


@triton.jit
def _tap(maps, start, index, inside, row, column, HEIGHT, WIDTH, IMAGES, DY: tl.constexpr, DX: tl.constexpr):
    """The map at ``start``, moved by ``(DY, DX)`` pixels, zero outside."""
    y, x = row + DY, column + DX
    valid = inside & (y >= 0) & (y < HEIGHT) & (x >= 0) & (x < WIDTH)
    return tl.load(maps + start + index + (DY * WIDTH + DX) * IMAGES, mask=valid, other=0.0).to(tl.float32)


@triton.jit
def forward_walk(
    node_ptr,
    in_ptr,
    in_source,
    out_ptr,
    out_target,
    out_edge,
    is_input,
    is_output,
    output_share,
    edge_weight,
    conv_weight,
    norm_weight,
    norm_bias,
    mean,
    variance,
    x,
    z,
    relu,
    out,
    scale,
    factors,
    eps,
    CHANNELS,
    HEIGHT,
    WIDTH,
    IMAGES,
    TRAINING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program ``(v, c)``; arguments as in the CPU's ``forward_walks``, plus room: ``scale (A, C)``, ``factors (C, M)``."""
    v, c = tl.program_id(0), tl.program_id(1)
    begin = tl.load(node_ptr + v)
    nodes = tl.load(node_ptr + v + 1) - begin
    size = HEIGHT * WIDTH * IMAGES
    base = (begin * CHANNELS + c * nodes).to(tl.int64) * size
    border = (v * CHANNELS + c).to(tl.int64) * size
    last_edge = tl.load(in_ptr + tl.load(node_ptr + tl.num_programs(0)))
    factors += c * last_edge
    share = tl.load(output_share + v)
    lanes = tl.arange(0, BLOCK)
    for start in range(0, size, BLOCK):
        tl.store(out + border + start + lanes, tl.zeros([BLOCK], tl.float32), mask=start + lanes < size)
    constant = 0.0
    for j in range(0, nodes):
        n = begin + j
        here = base + j * size
        low, high = tl.load(in_ptr + n), tl.load(in_ptr + n + 1)
        bias = 0.0
        for k in range(low, high):
            m = (begin + tl.load(in_source + k)) * CHANNELS + c
            w = tl.load(edge_weight + k)
            s = tl.load(scale + m)
            tl.store(factors + k, w * s)
            bias += w * (tl.load(norm_bias + m) - tl.load(mean + m) * s)
        tl.debug_barrier()

        entering = tl.where(tl.load(is_input + n) != 0, size, 0)  # how much of the input map enters here
        for start in range(0, size, BLOCK):
            index = start + lanes
            inside = index < size
            acc = tl.load(x + border + index, mask=index < entering, other=0.0).to(tl.float32) + bias
            acc = _weighted_sum(acc, z, base, size, index, inside, low, high, in_source, factors)
            # Written so that NaN passes.
            acc = tl.where(acc <= 0.0, 0.0, acc)
            tl.store(relu + here + index, acc, mask=inside)
        tl.debug_barrier()

        at = n * CHANNELS + c
        taps = conv_weight + at * 9
        k0, k1, k2 = tl.load(taps), tl.load(taps + 1), tl.load(taps + 2)
        k3, k4, k5 = tl.load(taps + 3), tl.load(taps + 4), tl.load(taps + 5)
        k6, k7, k8 = tl.load(taps + 6), tl.load(taps + 7), tl.load(taps + 8)
        sums = tl.zeros([BLOCK], tl.float32)
        for start in range(0, size, BLOCK):
            index = start + lanes
            inside = index < size
            pixel = index // IMAGES
            row, column = pixel // WIDTH, pixel % WIDTH
            value = k0 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, -1, -1)
            value += k1 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, -1, 0)
            value += k2 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, -1, 1)
            value += k3 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 0, -1)
            value += k4 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 0, 0)
            value += k5 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 0, 1)
            value += k6 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 1, -1)
            value += k7 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 1, 0)
            value += k8 * _tap(relu, here, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 1, 1)
            # The mean of what is stored: deviations that do not add up to nothing would lead the gradients astray.
            value = value.to(z.dtype.element_ty)
            tl.store(z + here + index, value, mask=inside)
            sums += value.to(tl.float32)
        tl.debug_barrier()
        if TRAINING:
            average = tl.sum(sums, 0) / size
            squares = tl.zeros([BLOCK], tl.float32)
            for start in range(0, size, BLOCK):
                index = start + lanes
                inside = index < size
                d = tl.load(z + here + index, mask=inside, other=0.0).to(tl.float32) - average
                squares += tl.where(inside, d * d, 0.0)
            spread = tl.sum(squares, 0) / size
            tl.store(mean + at, average)
            tl.store(variance + at, spread)
        else:
            average = tl.load(mean + at)
            spread = tl.load(variance + at)
        gain = tl.load(norm_weight + at) / tl.sqrt(spread + eps)
        tl.store(scale + at, gain)
        if tl.load(is_output + n) != 0:
            constant += share * (tl.load(norm_bias + at) - average * gain)
            for start in range(0, size, BLOCK):
                index = start + lanes
                inside = index < size
                held = tl.load(out + border + index, mask=inside, other=0.0)
                value = tl.load(z + here + index, mask=inside, other=0.0).to(tl.float32)
                tl.store(out + border + index, held + share * gain * value, mask=inside)
        tl.debug_barrier()
    for start in range(0, size, BLOCK):
        index = start + lanes
        inside = index < size
        tl.store(out + border + index, tl.load(out + border + index, mask=inside, other=0.0) + constant, mask=inside)


@triton.jit
def _back_tap(maps, start, index, inside, row, column, HEIGHT, WIDTH, IMAGES, DY: tl.constexpr, DX: tl.constexpr, tap, r, value, total):
    """``value`` and ``total`` with one tap's share of the gradient at the input, and of the tap's own gradient."""
    g = _tap(maps, start, index, inside, row, column, HEIGHT, WIDTH, IMAGES, DY, DX)
    return value + tl.load(tap) * g, total + r * g


@triton.jit
def backward_walk(
    node_ptr,
    in_ptr,
    in_source,
    out_ptr,
    out_target,
    out_edge,
    is_input,
    is_output,
    output_share,
    edge_weight,
    conv_weight,
    norm_weight,
    norm_bias,
    mean,
    variance,
    grad_out,
    z,
    relu,
    grad_x,
    grad_edge,
    grad_conv,
    grad_norm_weight,
    grad_norm_bias,
    room,
    eps,
    CHANNELS,
    HEIGHT,
    WIDTH,
    IMAGES,
    TRAINING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program ``(v, c)``; arguments as in the CPU's ``backward_walks``, plus ``room (V, C, H*W*B)`` for the map in hand."""
    v, c = tl.program_id(0), tl.program_id(1)
    begin = tl.load(node_ptr + v)
    nodes = tl.load(node_ptr + v + 1) - begin
    size = HEIGHT * WIDTH * IMAGES
    base = (begin * CHANNELS + c * nodes).to(tl.int64) * size
    border = (v * CHANNELS + c).to(tl.int64) * size
    grad_edge += c * tl.load(in_ptr + tl.load(node_ptr + tl.num_programs(0)))
    share = tl.load(output_share + v)
    lanes = tl.arange(0, BLOCK)
    for start in range(0, size, BLOCK):
        tl.store(grad_x + border + start + lanes, tl.zeros([BLOCK], tl.float32), mask=start + lanes < size)
    for back in range(0, nodes):
        j = nodes - 1 - back
        n = begin + j
        here = base + j * size
        at = n * CHANNELS + c
        average = tl.load(mean + at)
        inverse_std = 1.0 / tl.sqrt(tl.load(variance + at) + eps)

        # The gradient at y_n, gathered from the successors, and BatchNorm's two reductions.
        low, high = tl.load(out_ptr + n), tl.load(out_ptr + n + 1)
        leaving = tl.where(tl.load(is_output + n) != 0, size, 0)
        totals = tl.zeros([BLOCK], tl.float32)
        alongs = tl.zeros([BLOCK], tl.float32)
        for start in range(0, size, BLOCK):
            index = start + lanes
            inside = index < size
            g = share * tl.load(grad_out + border + index, mask=index < leaving, other=0.0).to(tl.float32)
            for k in range(low, high):
                w = tl.load(edge_weight + tl.load(out_edge + k))
                t = tl.load(out_target + k)
                g += w * tl.load(relu + base + t * size + index, mask=inside, other=0.0).to(tl.float32)
            tl.store(room + border + index, g, mask=inside)
            d = tl.load(z + here + index, mask=inside, other=0.0).to(tl.float32) - average
            totals += g
            alongs += tl.where(inside, g * d, 0.0)
        total = tl.sum(totals, 0)
        along = tl.sum(alongs, 0) * inverse_std
        tl.store(grad_norm_weight + at, along)
        tl.store(grad_norm_bias + at, total)
        tl.debug_barrier()

        # Through BatchNorm.
        gain = tl.load(norm_weight + at) * inverse_std
        for start in range(0, size, BLOCK):
            index = start + lanes
            inside = index < size
            g = gain * tl.load(room + border + index, mask=inside, other=0.0)
            if TRAINING:
                d = tl.load(z + here + index, mask=inside, other=0.0).to(tl.float32) - average
                g -= gain * (total + along * inverse_std * d) / size
            tl.store(room + border + index, g, mask=inside)
        tl.debug_barrier()

        # Through the convolution and ReLU; `relu` becomes the gradient at a_n. The nine taps look the other way.
        taps = conv_weight + at * 9
        zeros = tl.zeros([BLOCK], tl.float32)
        s0, s1, s2, s3, s4, s5, s6, s7, s8, flows = zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros
        entering = tl.where(tl.load(is_input + n) != 0, size, 0)  # how much of the input map enters here
        for start in range(0, size, BLOCK):
            index = start + lanes
            inside = index < size
            pixel = index // IMAGES
            row, column = pixel // WIDTH, pixel % WIDTH
            r = tl.load(relu + here + index, mask=inside, other=0.0).to(tl.float32)
            value, s0 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 1, 1, taps, r, zeros, s0)
            value, s1 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 1, 0, taps + 1, r, value, s1)
            value, s2 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 1, -1, taps + 2, r, value, s2)
            value, s3 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 0, 1, taps + 3, r, value, s3)
            value, s4 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 0, 0, taps + 4, r, value, s4)
            value, s5 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, 0, -1, taps + 5, r, value, s5)
            value, s6 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, -1, 1, taps + 6, r, value, s6)
            value, s7 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, -1, 0, taps + 7, r, value, s7)
            value, s8 = _back_tap(room, border, index, inside, row, column, HEIGHT, WIDTH, IMAGES, -1, -1, taps + 8, r, value, s8)
            # As stored, for the same reason as the mean: sums of it are set off against each other.
            kept = tl.where(r <= 0.0, 0.0, value).to(relu.dtype.element_ty)
            tl.store(relu + here + index, kept, mask=inside)
            value = kept.to(tl.float32)
            flows += value
            held = tl.load(grad_x + border + index, mask=index < entering, other=0.0)
            tl.store(grad_x + border + index, held + value, mask=index < entering)
        sums = grad_conv + at * 9
        tl.store(sums, tl.sum(s0, 0))
        tl.store(sums + 1, tl.sum(s1, 0))
        tl.store(sums + 2, tl.sum(s2, 0))
        tl.store(sums + 3, tl.sum(s3, 0))
        tl.store(sums + 4, tl.sum(s4, 0))
        tl.store(sums + 5, tl.sum(s5, 0))
        tl.store(sums + 6, tl.sum(s6, 0))
        tl.store(sums + 7, tl.sum(s7, 0))
        tl.store(sums + 8, tl.sum(s8, 0))
        flow = tl.sum(flows, 0)
        tl.debug_barrier()

        low, high = tl.load(in_ptr + n), tl.load(in_ptr + n + 1)
        for k in range(low, high):
            m = tl.load(in_source + k)
            product = tl.zeros([BLOCK], tl.float32)
            for start in range(0, size, BLOCK):
                index = start + lanes
                inside = index < size
                g = tl.load(relu + here + index, mask=inside, other=0.0).to(tl.float32)
                product += g * tl.load(z + base + m * size + index, mask=inside, other=0.0).to(tl.float32)
            source = (begin + m) * CHANNELS + c
            s = tl.load(norm_weight + source) / tl.sqrt(tl.load(variance + source) + eps)
            tl.store(grad_edge + k, s * tl.sum(product, 0) + (tl.load(norm_bias + source) - tl.load(mean + source) * s) * flow)


def _launch(kernel, shape, training, eps, graph, *arguments):
    size = shape.height * shape.width * shape.images
    block = min(_BLOCK, 1 << max(5, (size - 1).bit_length()))
    grid, warps = (len(graph.output_share), shape.channels), max(1, min(_WARPS, block // 128))
    kernel[grid](*graph, *arguments, eps, *shape, TRAINING=training, BLOCK=block, num_warps=warps)


def forward(shape, training, record, eps, graph, parameters, x, *maps):
    """See :func:`forward_walk`; what a backward pass needs is recorded in any case."""
    room = (torch.empty_like(parameters.mean), x.new_empty(shape.channels, graph.in_source.numel()))
    _launch(forward_walk, shape, training, eps, graph, *parameters, x, *maps, *room)


def backward(shape, training, eps, graph, parameters, grad, *rest):
    """See :func:`backward_walk`."""
    _launch(backward_walk, shape, training, eps, graph, *parameters, grad, *rest, torch.empty_like(grad))
