"""Triton kernels of executor ``fused``: each program walks some (variant, channel) pairs through all levels of their DAG.

The algorithm is that of the CPU kernels. Maps are laid out ``(H, W, B)`` with the images padded to whole vectors of 16 bytes, so that every
thread moves ``VECTOR`` numbers at a time and a row's left and right neighbours are whole vectors too. There are as many programs as the GPU
runs at once, each with its own scratch maps, so that little memory is used beside what is kept for the backward pass.

A node takes two passes forward (weighted sum and ReLU; convolution and its statistics) and three backward (the convolution again; the flows
of the successors and the dot products with them; BatchNorm, the transposed convolution and the taps' gradients). A barrier separates
passes, because a pass reads what other threads of the same program wrote.

Padding is zero in ``x``, and so in ``relu``, in the convolutions and in the flows; only the constants of the sums and BatchNorm's
statistics have to exclude it. Maps may be stored in bfloat16; sums and statistics are float32.
"""

# Triton reads these annotations when it compiles a kernel: no `from __future__ import annotations`.
import torch
import triton
import triton.language as tl
from torch.nn.functional import pad

from elegans_pyg.nn.dag.fused.cuda_convolutions import convolve, convolve_back, wide

_WARPS = 4
_PROGRAMS = 3  # per multiprocessor: while one waits for its slowest warp, the others read
_REGISTERS = 168  # per thread, so that this many programs fit
_VECTOR = 16  # bytes that a thread moves at a time
_EDGES = 32  # edges whose factors are computed at a time


@triton.jit
def _tile(start, size, VECTOR: tl.constexpr, REPEATS: tl.constexpr, WARPS: tl.constexpr):
    """Return indices ``(REPEATS, WARPS, 32 * VECTOR)`` from ``start`` on and which lie inside; each warp can reduce its part alone."""
    lane = tl.arange(0, 32 * VECTOR)[None, None, :]
    warp = tl.arange(0, WARPS)[None, :, None] * (32 * VECTOR)
    repeat = tl.arange(0, REPEATS)[:, None, None] * (32 * VECTOR * WARPS)
    index = start + repeat + warp + lane
    return index, index < size


@triton.jit
def _pair(pair, node_ptr, size, CHANNELS):
    """Return a pair's variant and channel, the variant's first node and number of nodes, and the offset of the pair's maps ``relu``."""
    v, c = pair // CHANNELS, pair % CHANNELS
    begin = tl.load(node_ptr + v).to(tl.int32)
    nodes = tl.load(node_ptr + v + 1).to(tl.int32) - begin
    return v, c, begin, nodes, (begin * CHANNELS + c * nodes) * size


@triton.jit
def forward_walks(
    node_ptr,
    in_ptr,
    in_source,
    is_input,
    is_output,
    output_share,
    in_slot,
    slot,
    edge_weight,
    conv_weight,
    norm_weight,
    norm_bias,
    mean,
    variance,
    x,
    relu,
    out,
    room,
    held,
    scale,
    shift,
    factors,
    eps,
    pixels,
    EDGES,
    PAIRS,
    SLOTS,
    CHANNELS,
    HEIGHT,
    WIDTH,
    VECTORS,
    TRAINING: tl.constexpr,
    KEEP: tl.constexpr,
    PADDED: tl.constexpr,
    VECTOR: tl.constexpr,
    REPEATS: tl.constexpr,
    WARPS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Walk pairs forward; arguments as in the CPU's ``forward_walks``, except for these.

    ``in_slot (M,)`` is the slot of each edge's source. Without ``KEEP``, ``relu`` has one map per program. ``held (H*W*B,)`` is one for
    images and zero for padding; ``pixels`` is the number of ones. Scratch: ``scale``, ``shift`` ``(A, C)``, ``factors (C, M)``. ``VECTORS``
    is ``B`` in vectors, so that the compiler knows what divides the size of a map.
    """
    images = VECTORS * VECTOR
    row = WIDTH * images
    size = (HEIGHT * row).to(tl.int64)
    room += tl.program_id(0) * SLOTS * size
    for pair in range(tl.program_id(0), PAIRS, tl.num_programs(0)):
        v, c, begin, nodes, base = _pair(pair, node_ptr, size, CHANNELS)
        border = pair * size
        factor = factors + c.to(tl.int64) * EDGES
        share = tl.load(output_share + v)
        for j in range(0, nodes):
            n = begin + j
            at = n * CHANNELS + c
            low, high = tl.load(in_ptr + n).to(tl.int32), tl.load(in_ptr + n + 1).to(tl.int32)
            bias = 0.0
            for first in range(low, high, CHUNK):
                k = first + tl.arange(0, CHUNK)
                m = (begin + tl.load(in_source + k, mask=k < high, other=0).to(tl.int32)) * CHANNELS + c
                w = tl.load(edge_weight + k, mask=k < high, other=0.0)
                tl.store(factor + k, w * tl.load(scale + m, mask=k < high, other=0.0), mask=k < high)
                bias += tl.sum(w * tl.load(shift + m, mask=k < high, other=0.0), 0)
            tl.debug_barrier()

            rectified = relu + (base + j * size if KEEP else tl.program_id(0) * size)
            entering = tl.load(is_input + n) != 0
            for start in range(0, HEIGHT * row, VECTOR * REPEATS * WARPS * 32):
                index, inside = _tile(start, HEIGHT * row, VECTOR, REPEATS, WARPS)
                acc = tl.zeros([REPEATS, WARPS, 32 * VECTOR], tl.float32) + bias
                if PADDED:
                    acc = bias * tl.load(held + index, mask=inside)
                if entering:
                    acc = wide(tl.load(x + border + index, mask=inside))
                for k in range(low, high):
                    f = tl.load(factor + k)
                    source = room + tl.load(in_slot + k) * size
                    acc += f * wide(tl.load(source + index, mask=inside))
                # Written so that NaN propagates.
                acc = tl.where(acc <= 0.0, 0.0, acc)
                tl.store(rectified + index, acc.to(relu.dtype.element_ty), mask=inside)
            tl.debug_barrier()

            z = room + tl.load(slot + n) * size
            counts, averages, spreads = convolve(z, rectified, conv_weight + at * 9, held, HEIGHT, row, images, 32 * VECTOR * WARPS)
            if TRAINING:
                average = tl.sum(counts * averages, 0) / pixels
                d = averages - average
                spread = tl.sum(spreads + counts * d * d, 0) / pixels
                tl.store(mean + at, average)
                tl.store(variance + at, spread)
            else:
                average = tl.load(mean + at)
                spread = tl.load(variance + at)
            gain = tl.load(norm_weight + at) / tl.sqrt(spread + eps)
            constant = tl.load(norm_bias + at) - average * gain
            tl.store(scale + at, gain)
            tl.store(shift + at, constant)
            tl.debug_barrier()
            if tl.load(is_output + n) != 0:
                for start in range(0, HEIGHT * row, VECTOR * REPEATS * WARPS * 32):
                    index, inside = _tile(start, HEIGHT * row, VECTOR, REPEATS, WARPS)
                    value = tl.load(out + border + index, mask=inside) + share * constant
                    tl.store(out + border + index, value + share * gain * wide(tl.load(z + index, mask=inside)), mask=inside)
                tl.debug_barrier()


@triton.jit
def backward_walks(
    node_ptr,
    out_ptr,
    out_target,
    out_edge,
    is_input,
    is_output,
    output_share,
    out_weight,
    out_slot,
    flow_slot,
    conv_weight,
    norm_weight,
    norm_bias,
    mean,
    variance,
    grad_out,
    relu,
    grad_x,
    grad_edge,
    grad_conv,
    grad_norm_weight,
    grad_norm_bias,
    room,
    held,
    gradient,
    z,
    dots,
    flow_sum,
    eps,
    pixels,
    EDGES,
    PAIRS,
    SLOTS,
    CHANNELS,
    HEIGHT,
    WIDTH,
    VECTORS,
    TRAINING: tl.constexpr,
    VECTOR: tl.constexpr,
    REPEATS: tl.constexpr,
    WARPS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Walk pairs backward; arguments as in the CPU's ``backward_walks`` and in :func:`forward_walks`, except for these.

    ``out_weight``, ``out_slot`` ``(M,)`` are the weight of each outgoing edge and the slot of its target's flow. Scratch: ``gradient`` and
    ``z``, one map per program; ``dots (C, WARPS, M)``, ``flow_sum (A, C)``.
    """
    images = VECTORS * VECTOR
    row = WIDTH * images
    size = (HEIGHT * row).to(tl.int64)
    room += tl.program_id(0) * SLOTS * size
    gradient += tl.program_id(0) * size
    z += tl.program_id(0) * size
    warps = tl.arange(0, WARPS)[:, None]
    edges = tl.arange(0, 32 * VECTOR)[None, :]
    for pair in range(tl.program_id(0), PAIRS, tl.num_programs(0)):
        v, c, begin, nodes, base = _pair(pair, node_ptr, size, CHANNELS)
        border = pair * size
        of_edges = c.to(tl.int64) * EDGES
        share = tl.load(output_share + v)
        for back in range(0, nodes):
            j = nodes - 1 - back
            n = begin + j
            at = n * CHANNELS + c
            rectified = relu + base + j * size
            average = tl.load(mean + at)
            inverse_std = 1.0 / tl.sqrt(tl.load(variance + at) + eps)
            convolve(z, rectified, conv_weight + at * 9, held, HEIGHT, row, images, 32 * VECTOR * WARPS)
            tl.debug_barrier()

            # Gather the gradient at y_n from the successors; each flow is read once, for this and for its edge.
            low, high = tl.load(out_ptr + n).to(tl.int32), tl.load(out_ptr + n + 1).to(tl.int32)
            leaving = tl.load(is_output + n) != 0
            totals = tl.zeros([REPEATS, WARPS, 32 * VECTOR], tl.float32)
            alongs = tl.zeros([REPEATS, WARPS, 32 * VECTOR], tl.float32)
            for start in range(0, HEIGHT * row, VECTOR * REPEATS * WARPS * 32):
                index, inside = _tile(start, HEIGHT * row, VECTOR, REPEATS, WARPS)
                d = tl.where(inside, wide(tl.load(z + index, mask=inside)) - average, 0.0)
                g = tl.zeros([REPEATS, WARPS, 32 * VECTOR], tl.float32)
                if leaving:
                    g = share * tl.load(grad_out + border + index, mask=inside, other=0.0)
                    totals += g
                    alongs += g * d
                for first in range(low, high, 32 * VECTOR):
                    # The dot products of this tile, one row per warp and one column per edge: one store for all of them.
                    products = tl.zeros([WARPS, 32 * VECTOR], tl.float32)
                    last = tl.minimum(first + 32 * VECTOR, high)
                    for k in range(first, last):
                        w = tl.load(out_weight + k)
                        flow = wide(tl.load(room + tl.load(out_slot + k) * size + index, mask=inside, other=0.0))
                        g += w * flow
                        product = tl.sum(tl.sum(d * flow, 0), 1)
                        products = tl.where(edges == k - first, product[:, None], products)
                    own = dots + of_edges * WARPS + warps * EDGES + first + edges
                    known = first + edges < high
                    tl.store(own, products + tl.load(own, mask=known & (start + edges >= 32 * VECTOR), other=0.0), mask=known)
                tl.store(gradient + index, g, mask=inside)
            total = tl.sum(tl.sum(tl.sum(totals, 0), 1), 0)
            along = tl.sum(tl.sum(tl.sum(alongs, 0), 1), 0)
            tl.debug_barrier()

            gain = tl.load(norm_weight + at) * inverse_std
            for first in range(low, high, CHUNK):
                k = first + tl.arange(0, CHUNK)
                known = k < high
                dot = tl.sum(tl.load(dots + of_edges * WARPS + warps * EDGES + k[None, :], mask=known[None, :], other=0.0), 0)
                w = tl.load(out_weight + k, mask=known, other=0.0)
                target = (begin + tl.load(out_target + k, mask=known, other=0).to(tl.int32)) * CHANNELS + c
                flows = tl.load(flow_sum + target, mask=known, other=0.0)
                total += tl.sum(w * flows, 0)
                along += tl.sum(w * dot, 0)
                edge = tl.load(out_edge + k, mask=known, other=0)
                tl.store(grad_edge + of_edges + edge, gain * dot + tl.load(norm_bias + at) * flows, mask=known)
            along *= inverse_std
            tl.store(grad_norm_weight + at, along)
            tl.store(grad_norm_bias + at, total)

            # Back through BatchNorm, the convolution and ReLU.
            offset = 0.0
            slope = 0.0
            if TRAINING:
                slope = gain * along * inverse_std / pixels
                offset = gain * total / pixels - slope * average
            flow = room + tl.load(flow_slot + n) * size
            passed = convolve_back(
                flow,
                rectified,
                gradient,
                z,
                conv_weight + at * 9,
                grad_conv + at * 9,
                gain,
                offset,
                slope,
                HEIGHT,
                row,
                images,
                32 * VECTOR * WARPS,
                VECTOR,
            )
            tl.store(flow_sum + at, passed)
            tl.debug_barrier()
            if tl.load(is_input + n) != 0:
                for start in range(0, HEIGHT * row, VECTOR * REPEATS * WARPS * 32):
                    index, inside = _tile(start, HEIGHT * row, VECTOR, REPEATS, WARPS)
                    value = tl.load(grad_x + border + index, mask=inside) + wide(tl.load(flow + index, mask=inside))
                    tl.store(grad_x + border + index, value, mask=inside)


def pairs_at_once(count):
    """Return how many (variant, channel) pairs run at a time."""
    processors = torch.cuda.get_device_properties().multi_processor_count if torch.cuda.is_available() else 1
    return min(count, _PROGRAMS * processors)


def images_in_memory(images, dtype):
    """Return how many images a map holds, padding included."""
    vector = _VECTOR // dtype.itemsize
    return -(-images // vector) * vector


def blocks(kernel, dtype, numbers):
    """Return the compile-time sizes and limits of a kernel for maps of this many ``numbers``, stored in ``dtype``."""
    vector = _VECTOR // dtype.itemsize
    warps = min(_WARPS, triton.next_power_of_2(triton.cdiv(numbers, 32 * vector)))
    # The registers of a thread hold four vectors of sources forward, and 16 numbers of three maps backward.
    repeats = 4 if kernel is forward_walks else 16 // vector
    sizes = {"VECTOR": vector, "REPEATS": repeats, "WARPS": warps, "CHUNK": _EDGES}
    return sizes, {"num_warps": warps, "maxnreg": _REGISTERS, "enable_fp_fusion": True}


def _padded(maps, shape, dtype):
    """Pad maps ``(V, C, H*W*B)`` with zeros, so that the images fill whole vectors."""
    missing = images_in_memory(shape.images, dtype) - shape.images
    return pad(maps.view(*maps.shape[:2], -1, shape.images), (0, missing)).flatten(2) if missing else maps


def _launch(kernel, shape, room, *arguments, **options):
    images = images_in_memory(shape.images, room.dtype)
    size = shape.height * shape.width * images
    sizes, limits = blocks(kernel, room.dtype, size)
    *rest, eps, pairs, edges = arguments
    counts = (edges, pairs, room.size(1) // size, *shape[:3], images // sizes["VECTOR"])
    pixels = float(shape.height * shape.width * shape.images)
    with torch.cuda.device_of(room):
        kernel[(room.size(0),)](*rest, eps, pixels, *counts, **options, **sizes, **limits)


def _slots_of(graph, slot, ends):
    """Return the slot of the node at the other end of each edge ``(M,)``; edges are sorted by variant, ``ends`` numbered inside it."""
    edges = graph.in_ptr[graph.node_ptr].diff()
    begin = torch.repeat_interleave(graph.node_ptr[:-1], edges, output_size=ends.numel())
    return slot[begin + ends].int()


def forward(shape, training, record, eps, graph, parameters, x, relu, out, room):
    """See :func:`forward_walks`; ``room`` has a row per program, and the maps of one per pair."""
    dtype, edges = room.dtype, graph.in_source.numel()
    x_padded = _padded(x, shape, dtype)
    sums = torch.zeros_like(x_padded)
    held = _padded(x.new_ones(1, 1, x.size(2)), shape, dtype)
    if not record:
        relu = room.new_empty(room.size(0) * x_padded.size(2))
    places = graph.node_ptr, graph.in_ptr, graph.in_source, graph.is_input, graph.is_output, graph.output_share
    slots = _slots_of(graph, graph.slot, graph.in_source), graph.slot
    scratch = held, torch.empty_like(parameters.mean), torch.empty_like(parameters.mean), x.new_empty(shape.channels, edges)
    arguments = *places, *slots, *parameters, x_padded, relu, sums, room, *scratch, eps, x[..., 0].numel(), edges
    _launch(forward_walks, shape, room, *arguments, TRAINING=training, KEEP=record, PADDED=x_padded is not x)
    out.view(*out.shape[:2], -1, shape.images).copy_(sums.view(*out.shape[:2], shape.height * shape.width, -1)[..., : shape.images])


def backward(shape, training, eps, graph, parameters, grad, relu, grad_x, *rest):
    """See :func:`backward_walks`."""
    *results, room = rest
    dtype, edges = room.dtype, graph.in_source.numel()
    grad_padded = _padded(grad, shape, dtype)
    sums = torch.zeros_like(grad_padded)
    held = _padded(grad.new_ones(1, 1, grad.size(2)), shape, dtype)
    places = graph.node_ptr, graph.out_ptr, graph.out_target, graph.out_edge, graph.is_input, graph.is_output, graph.output_share
    of_edges = parameters.edge_weight[graph.out_edge], _slots_of(graph, graph.flow_slot, graph.out_target), graph.flow_slot
    maps = grad.new_empty(room.size(0), grad_padded.size(2)), room.new_empty(room.size(0), grad_padded.size(2))
    scratch = *maps, grad.new_empty(shape.channels * edges * _WARPS), torch.empty_like(parameters.mean)
    numbers = eps, grad[..., 0].numel(), edges
    arguments = *places, *of_edges, *parameters[1:], grad_padded, relu, sums, *results, room, held, *scratch, *numbers
    _launch(backward_walks, shape, room, *arguments, TRAINING=training)
    grad_x.view(*grad.shape[:2], -1, shape.images).copy_(sums.view(*grad.shape[:2], shape.height * shape.width, -1)[..., : shape.images])
