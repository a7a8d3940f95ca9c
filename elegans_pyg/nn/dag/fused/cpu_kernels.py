"""Numba kernels of executor ``fused``: each call walks some (variant, channel) pairs through all levels of their DAG.

Maps are laid out ``(H, W, B)``. With the images innermost, a row of the map is one contiguous run in which the left and right neighbours of
a number are ``B`` places away, so that every inner loop is contiguous for any image size. No map is copied for normalisation: successors
apply a node's BatchNorm as a scale and a shift when they read it.

Only the rectified sums ``relu`` are kept for the backward pass, one map per node; those of a (variant, channel) pair are contiguous, node
after node. The convolutions ``z`` are stored in slots of a buffer ``room``, one per thread; a slot is reused as soon as no successor is
left to read it. The backward pass recomputes ``z`` from ``relu``: nine multiplications cost less than writing a map to memory and reading
it again. The gradients ``flow`` at the nodes' sums are stored in such slots too. While node ``n`` gathers the flows of its successors
``t``, each is read once, for the gradient at ``y_n`` and for that of the edge:

    dL/dw_(n,t) = <y_n, flow_t> = scale_n <z_n - mean_n, flow_t> + norm_bias_n sum(flow_t)

In the arguments, ``A`` counts nodes and ``M`` edges of all variants, in walk order: variant after variant, each by level.

Loops over pixels take four edges at a time, so that an accumulator is loaded and stored once for four sources. Reassociation is allowed (to
add in vector lanes); assumptions about NaN and infinity are not.
"""

import numpy as np
from torch import get_num_threads

from elegans_pyg._compiled import REASSOCIATION, compiled, prefetch_to_read, prefetch_to_write
from elegans_pyg._threads import share

# Numbers in a block of rows: the accumulator, and z in the backward pass, stay in a 32 KiB L1 cache.
_BLOCK = 2048
# Numbers from one prefetch to the next: a cache line of 64 bytes in float32.
_LINE = 16


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _zeros(count, dtype):
    """Return zeros aligned to a cache line: a vector across two lines takes two reads."""
    room = np.zeros(count + 16, dtype)
    start = -room.ctypes.data % 64 // room.itemsize
    return room[start : start + count]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _weighted_sum(block, bias, maps, starts, factors, count):
    """``block[i] = bias + sum over k < count of factors[k] * maps[starts[k] + i]``."""
    length = block.size
    k = count % 4
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    m0 = maps[starts[0] : starts[0] + length]
    m1 = maps[starts[1] : starts[1] + length]
    m2 = maps[starts[2] : starts[2] + length]
    if k == 0:
        for i in range(length):
            block[i] = bias
    elif k == 1:
        for i in range(length):
            block[i] = bias + f0 * m0[i]
    elif k == 2:
        for i in range(length):
            block[i] = (bias + f0 * m0[i]) + f1 * m1[i]
    else:
        for i in range(length):
            block[i] = (bias + f0 * m0[i]) + (f1 * m1[i] + f2 * m2[i])
    while k < count:
        f0, f1, f2, f3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        m0 = maps[starts[k] : starts[k] + length]
        m1 = maps[starts[k + 1] : starts[k + 1] + length]
        m2 = maps[starts[k + 2] : starts[k + 2] + length]
        m3 = maps[starts[k + 3] : starts[k + 3] + length]
        for i in range(length):
            block[i] += (f0 * m0[i] + f1 * m1[i]) + (f2 * m2[i] + f3 * m3[i])
        k += 4


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _weighted_sum_and_dots(block, z, dots, maps, starts, factors, count):
    """``block[i] += sum over k < count of factors[k] * m_k[i]`` and ``dots[k] += sum over i of z[i] * m_k[i]``, where ``m_k`` is ``maps``
    from ``starts[k]`` on; each is read once."""
    length = block.size
    zero = z.dtype.type(0)
    k = 0
    while k + 4 <= count:
        f0, f1, f2, f3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        m0 = maps[starts[k] : starts[k] + length]
        m1 = maps[starts[k + 1] : starts[k + 1] + length]
        m2 = maps[starts[k + 2] : starts[k + 2] + length]
        m3 = maps[starts[k + 3] : starts[k + 3] + length]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for i in range(length):
            v = z[i]
            g0, g1, g2, g3 = m0[i], m1[i], m2[i], m3[i]
            block[i] += (f0 * g0 + f1 * g1) + (f2 * g2 + f3 * g3)
            s0 += v * g0
            s1 += v * g1
            s2 += v * g2
            s3 += v * g3
        dots[k] += s0
        dots[k + 1] += s1
        dots[k + 2] += s2
        dots[k + 3] += s3
        k += 4
    while k < count:
        f0 = factors[k]
        m0 = maps[starts[k] : starts[k] + length]
        s0 = zero
        for i in range(length):
            g0 = m0[i]
            block[i] += f0 * g0
            s0 += z[i] * g0
        dots[k] += s0
        k += 1


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _convolve(out, padded, centre, taps, height, row, images, following):
    """Cross-correlate a padded map with a 3x3 kernel: ``out[y, i] = sum of taps[3 r + c] * padded[y + r, i + c * images] - centre``.

    Returns the sum of ``out``. Meanwhile the map ``following``, if any, is prefetched for writing. Indices are unsigned, so that none is
    tested for being negative; and as all reads are from one array, one test per row shows that none overlaps with ``out``.
    """
    step = row + 2 * images
    k0, k1, k2, k3, k4, k5, k6, k7, k8 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
    o1, o2, o3 = np.uintp(images), np.uintp(2 * images), np.uintp(step)
    o4, o5, o6 = o3 + o1, o3 + o2, np.uintp(2 * step)
    o7, o8 = o6 + o1, o6 + o2
    zero = out.dtype.type(0)
    total = zero
    for y in range(height):
        window = padded[y * step : (y + 3) * step]
        target = out[y * row : (y + 1) * row]
        if following.size:
            for i in range(0, row, _LINE):
                prefetch_to_write(following, y * row + i)
        # One sum per row: small numbers added to a large sum one by one would lose digits.
        of_row = zero
        for i in range(np.uintp(row)):
            upper = (k0 * window[i] - centre) + k1 * window[i + o1] + k2 * window[i + o2]
            inner = k3 * window[i + o3] + k4 * window[i + o4] + k5 * window[i + o5]
            lower = k6 * window[i + o6] + k7 * window[i + o7] + k8 * window[i + o8]
            value = upper + inner + lower
            target[i] = value
            of_row += value
        total += of_row
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _rectify(inside, source):
    """``inside[i] = max(source[i], 0)``, written so that NaN propagates."""
    zero = source.dtype.type(0)
    for i in range(source.size):
        value = source[i]
        inside[i] = zero if value <= zero else value


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _copy(target, source):
    for i in range(source.size):
        target[i] = source[i]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_scaled(target, factor, source):
    for i in range(source.size):
        target[i] += factor * source[i]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _squares_about(values, centre):
    total = values.dtype.type(0)
    for i in range(values.size):
        d = values[i] - centre
        total += d * d
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _dot(first, second):
    total = first.dtype.type(0)
    for i in range(first.size):
        total += first[i] * second[i]
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def forward_walks(first, last, shape, training, keep, eps, graph, parameters, x, relu, out, room):
    """Walk pairs ``first:last`` forward; pair ``v * C + c`` is channel ``c`` of variant ``v``.

    ``shape``, ``graph`` and ``parameters`` are the tuples of :mod:`~elegans_pyg.nn.dag.fused.walk`. ``mean`` and ``variance`` are read in
    evaluation and written in training (the biased variance). ``x`` and ``out`` are ``(V, C, H*W*B)``; ``relu`` holds, if ``keep``, ``C``
    runs of ``n_v`` maps for each variant; ``room`` holds the slots of the maps ``z``. All numbers, ``eps`` included, are of one
    floating-point type.
    """
    channels, height, width, images = shape
    node_ptr, in_ptr, in_source, _, _, _, is_input, is_output, output_share, slot, _ = graph
    edge_weight, conv_weight, norm_weight, norm_bias, mean, variance = parameters
    row = width * images
    size = height * row
    step = row + 2 * images
    rows_in_block = min(height, max(1, _BLOCK // row))
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    # In the maps' dtype: a plain quotient by an integer would turn every loop that uses it into float64.
    per_pixel = x.dtype.type(1 / size)
    most_nodes, most_edges = np.diff(node_ptr).max(), max(4, np.diff(in_ptr).max())
    block = _zeros(rows_in_block * row, x.dtype)
    # With a border of zeros, so that the convolution needs no special cases.
    padded = _zeros((height + 2) * step, x.dtype)
    scale = np.empty(most_nodes, x.dtype)
    shift = np.empty(most_nodes, x.dtype)
    factors = np.zeros(most_edges, x.dtype)
    starts = np.zeros(most_edges, np.int64)
    for pair in range(first, last):
        v, c = pair // channels, pair % channels
        begin = node_ptr[v]
        nodes = node_ptr[v + 1] - begin
        base = (begin * channels + c * nodes) * size
        x_map = x[v, c]
        out_map = out[v, c]
        out_map[:] = zero
        constant = zero
        for j in range(nodes):
            n = begin + j
            low = in_ptr[n]
            count = in_ptr[n + 1] - low
            bias = zero
            for k in range(count):
                m = in_source[low + k]
                factors[k] = edge_weight[low + k] * scale[m]
                bias += edge_weight[low + k] * shift[m]
            for y0 in range(0, height, rows_in_block):
                y1 = min(height, y0 + rows_in_block)
                offset = y0 * row
                sums = block[: (y1 - y0) * row]
                if is_input[n]:
                    sums = x_map[offset : y1 * row]
                else:
                    for k in range(count):
                        starts[k] = slot[begin + in_source[low + k]] * size + offset
                    _weighted_sum(sums, bias, room, starts, factors, count)
                for y in range(y0, y1):
                    inside = padded[(y + 1) * step + images : (y + 1) * step + images + row]
                    _rectify(inside, sums[(y - y0) * row : (y - y0 + 1) * row])
                    if keep:
                        here = base + j * size + y * row
                        _copy(relu[here : here + row], inside)
            z = room[slot[n] * size : (slot[n] + 1) * size]
            following = relu[base + (j + 1) * size : base + nodes * size]
            total = _convolve(z, padded, zero, conv_weight[n, c], height, row, images, following)
            if training:
                average = total * per_pixel
                mean[n, c] = average
                variance[n, c] = _squares_about(z, average) * per_pixel
            scale[j] = norm_weight[n, c] * (one / np.sqrt(variance[n, c] + eps))
            shift[j] = norm_bias[n, c] - mean[n, c] * scale[j]
            if is_output[n]:
                constant += shift[j] * output_share[v]
                _add_scaled(out_map, scale[j] * output_share[v], z)
        for i in range(size):
            out_map[i] += constant


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _through_norm(inside, gain, gradient, offset, slope, z):
    for i in range(gradient.size):
        inside[i] = gain * gradient[i] - offset - slope * z[i]


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _convolve_back(flow, sums, relu, gradient, taps, height, row, images, following):
    """Compute the transposed convolution, mask it by the ReLU, and add up the gradients of the nine taps; ``relu`` and ``gradient`` have a
    border of zeros.

    ``flow[i] = [relu[i] > 0] * sum over taps k of taps[k] * g_k[i]`` and ``sums[k] = sum over i of relu[i] * g_k[i]``, where ``g_k`` is the
    gradient at the convolution's output, shifted in the opposite direction. Returns the sum of ``flow``. Meanwhile the map ``following`` is
    prefetched for reading.
    """
    step = row + 2 * images
    zero = flow.dtype.type(0)
    k0, k1, k2, k3, k4, k5, k6, k7, k8 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
    # Tap (0, 0) of the convolution read the pixel one row up and one column left of its centre, and so on.
    o7, o6, o5 = np.uintp(images), np.uintp(2 * images), np.uintp(step)
    o4, o3, o2 = o5 + o7, o5 + o6, np.uintp(2 * step)
    o1, o0 = o2 + o7, o2 + o6
    total = zero
    sums[:] = zero
    for y in range(height):
        window = gradient[y * step : (y + 3) * step]
        kept = relu[(y + 1) * step + images : (y + 1) * step + images + row]
        target = flow[y * row : (y + 1) * row]
        for i in range(0, row, _LINE):
            prefetch_to_read(following, y * row + i)
        s0, s1, s2, s3, s4, s5, s6, s7, s8 = zero, zero, zero, zero, zero, zero, zero, zero, zero
        of_row = zero
        for i in range(np.uintp(row)):
            r = kept[i]
            g0, g1, g2 = window[i + o0], window[i + o1], window[i + o2]
            g3, g4, g5 = window[i + o3], window[i + o4], window[i + o5]
            g6, g7, g8 = window[i + o6], window[i + o7], window[i]
            value = (k0 * g0 + k1 * g1 + k2 * g2) + (k3 * g3 + k4 * g4 + k5 * g5) + (k6 * g6 + k7 * g7 + k8 * g8)
            value = zero if r <= zero else value
            target[i] = value
            of_row += value
            s0 += r * g0
            s1 += r * g1
            s2 += r * g2
            s3 += r * g3
            s4 += r * g4
            s5 += r * g5
            s6 += r * g6
            s7 += r * g7
            s8 += r * g8
        total += of_row
        for k, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8)):
            sums[k] += s
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def backward_walks(
    first,
    last,
    shape,
    training,
    eps,
    graph,
    parameters,
    grad_out,
    relu,
    grad_x,
    grad_edge,
    grad_conv,
    grad_norm_weight,
    grad_norm_bias,
    room,
):
    """Walk pairs ``first:last`` backward; ``room`` holds the slots of the flows.

    ``grad_edge (C, M)`` holds one term per channel; the other results have their parameters' shapes.
    """
    channels, height, width, images = shape
    node_ptr, _, _, out_ptr, out_target, out_edge, is_input, is_output, output_share, _, flow_slot = graph
    edge_weight, conv_weight, norm_weight, norm_bias, mean, variance = parameters
    row = width * images
    size = height * row
    step = row + 2 * images
    rows_in_block = min(height, max(1, _BLOCK // row))
    zero = relu.dtype.type(0)
    one = relu.dtype.type(1)
    per_pixel = relu.dtype.type(1 / size)
    most_nodes, most_edges = np.diff(node_ptr).max(), max(1, np.diff(out_ptr).max())
    gradient = _zeros(size, relu.dtype)
    z = _zeros(size, relu.dtype)
    padded = _zeros((height + 2) * step, relu.dtype)
    padded_gradient = _zeros((height + 2) * step, relu.dtype)
    factors = np.empty(most_edges, relu.dtype)
    starts = np.empty(most_edges, np.int64)
    dots = np.empty(most_edges, relu.dtype)
    flow_sum = np.empty(most_nodes, relu.dtype)
    for pair in range(first, last):
        v, c = pair // channels, pair % channels
        begin = node_ptr[v]
        nodes = node_ptr[v + 1] - begin
        base = (begin * channels + c * nodes) * size
        grad_x_map = grad_x[v, c]
        grad_out_map = grad_out[v, c]
        grad_x_map[:] = zero
        grad_out_sum = grad_out_map.sum()
        for j in range(nodes - 1, -1, -1):
            n = begin + j
            here = base + j * size
            inverse_std = one / np.sqrt(variance[n, c] + eps)

            # Recompute the centred convolution.
            taps = conv_weight[n, c]
            for y in range(height):
                inside = padded[(y + 1) * step + images : (y + 1) * step + images + row]
                _copy(inside, relu[here + y * row : here + (y + 1) * row])
            _convolve(z, padded, mean[n, c], taps, height, row, images, relu[:0])

            # Gather the gradient at y_n from the successors, with that of each edge and BatchNorm's two reductions.
            total = zero
            along = zero
            if is_output[n]:
                share = output_share[v]
                for i in range(size):
                    gradient[i] = share * grad_out_map[i]
                total += share * grad_out_sum
                along += share * _dot(z, grad_out_map)
            else:
                gradient[:] = zero
            low = out_ptr[n]
            count = out_ptr[n + 1] - low
            for k in range(count):
                factors[k] = edge_weight[out_edge[low + k]]
                dots[k] = zero
            for y0 in range(0, height, rows_in_block):
                offset = y0 * row
                end = min(height, y0 + rows_in_block) * row
                for k in range(count):
                    starts[k] = flow_slot[begin + out_target[low + k]] * size + offset
                _weighted_sum_and_dots(gradient[offset:end], z[offset:end], dots, room, starts, factors, count)
            scale = norm_weight[n, c] * inverse_std
            for k in range(count):
                flow_of = flow_sum[out_target[low + k]]
                total += factors[k] * flow_of
                along += factors[k] * dots[k]
                grad_edge[c, out_edge[low + k]] = scale * dots[k] + norm_bias[n, c] * flow_of
            along *= inverse_std
            grad_norm_weight[n, c] = along
            grad_norm_bias[n, c] = total

            # Back through BatchNorm, into a map with a border of zeros.
            offset_term = zero
            slope = zero
            if training:
                offset_term = scale * total * per_pixel
                slope = scale * along * inverse_std * per_pixel
            for y in range(height):
                inside = padded_gradient[(y + 1) * step + images : (y + 1) * step + images + row]
                _through_norm(inside, scale, gradient[y * row : (y + 1) * row], offset_term, slope, z[y * row : (y + 1) * row])

            # Back through the convolution and ReLU to the gradient at a_n.
            flow = room[flow_slot[n] * size : (flow_slot[n] + 1) * size]
            flow_sum[j] = _convolve_back(
                flow, grad_conv[n, c], padded, padded_gradient, taps, height, row, images, relu[max(0, here - size) :]
            )
            if is_input[n]:
                _add_scaled(grad_x_map, one, flow)


def pairs_at_once(count):
    """Return how many (variant, channel) pairs run at a time."""
    return get_num_threads()


def images_in_memory(images, dtype):
    """Return how many images a map holds; the CPU kernels add no padding."""
    return images


def forward(shape, training, record, eps, graph, parameters, x, relu, out, room):
    """See :func:`forward_walks`; the arguments are tensors, and ``room`` has a row per thread."""
    eps = x.numpy().dtype.type(eps)
    share(forward_walks, x.size(0) * shape.channels, shape, training, record, eps, graph, parameters, x, relu, out, room=room)


def backward(shape, training, eps, graph, parameters, grad, *rest):
    """See :func:`backward_walks`."""
    eps, (*maps, room) = grad.numpy().dtype.type(eps), rest
    share(backward_walks, grad.size(0) * shape.channels, shape, training, eps, graph, parameters, grad, *maps, room=room)
