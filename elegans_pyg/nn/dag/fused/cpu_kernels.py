"""Numba kernels of executor ``fused``: each call walks some (variant, channel) pairs through all levels of their DAG.

Maps of one (variant, channel) pair are contiguous, node after node, and laid out ``(H, W, B)``: with the images innermost, a row of the map
is one long run of numbers whose neighbours to the left and right are ``B`` numbers away, so that every inner loop is contiguous whatever
the image size. No map is copied for normalisation: readers apply a node's BatchNorm as a scale and a shift on the way in.

In the arguments, ``A`` counts nodes and ``M`` edges of all variants, in walk order: variant after variant, each by level.

Loops over pixels come in groups of four edges, so that an accumulator is loaded and stored once for four sources.
Reassociation is allowed (to add in vector lanes), assumptions about NaN and infinity are not.
"""

import numpy as np

from elegans_pyg._compiled import REASSOCIATION, compiled
from elegans_pyg._threads import share

NEEDS_RELU = False
"""Whether a forward pass needs room for the rectified sums even if no gradient is wanted."""

# Numbers in a block of rows: with four sources and the accumulator it stays in a 32 KiB first-level cache.
_BLOCK = 1024


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _add_scaled(acc, maps, starts, factors, count, length):
    """``acc[i] += sum over k < count of factors[k] * maps[starts[k] + i]`` for ``i < length``."""
    k = 0
    while k + 4 <= count:
        f0, f1, f2, f3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        m0 = maps[starts[k] : starts[k] + length]
        m1 = maps[starts[k + 1] : starts[k + 1] + length]
        m2 = maps[starts[k + 2] : starts[k + 2] + length]
        m3 = maps[starts[k + 3] : starts[k + 3] + length]
        for i in range(length):
            acc[i] += (f0 * m0[i] + f1 * m1[i]) + (f2 * m2[i] + f3 * m3[i])
        k += 4
    while k < count:
        f0 = factors[k]
        m0 = maps[starts[k] : starts[k] + length]
        for i in range(length):
            acc[i] += f0 * m0[i]
        k += 1


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _dots(result, a, maps, starts, count, length):
    """``result[k] += sum over i < length of a[i] * maps[starts[k] + i]`` for ``k < count``."""
    zero = a.dtype.type(0)
    k = 0
    while k + 4 <= count:
        m0 = maps[starts[k] : starts[k] + length]
        m1 = maps[starts[k + 1] : starts[k + 1] + length]
        m2 = maps[starts[k + 2] : starts[k + 2] + length]
        m3 = maps[starts[k + 3] : starts[k + 3] + length]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for i in range(length):
            v = a[i]
            s0 += v * m0[i]
            s1 += v * m1[i]
            s2 += v * m2[i]
            s3 += v * m3[i]
        for m, s in enumerate((s0, s1, s2, s3)):
            result[k + m] += s
        k += 4
    while k < count:
        m0 = maps[starts[k] : starts[k] + length]
        s0 = zero
        for i in range(length):
            s0 += a[i] * m0[i]
        result[k] += s0
        k += 1


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _row_taps(out, above, middle, below, taps, step, length):
    """One row of a 3x3 cross-correlation: ``out[i] = sum of taps[3 r + c] * row_r[i + c * step]``; returns the row's sum."""
    k0, k1, k2, k3, k4, k5, k6, k7, k8 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
    a0, a1, a2 = above[:length], above[step : step + length], above[2 * step : 2 * step + length]
    b0, b1, b2 = middle[:length], middle[step : step + length], middle[2 * step : 2 * step + length]
    c0, c1, c2 = below[:length], below[step : step + length], below[2 * step : 2 * step + length]
    total = out.dtype.type(0)
    for i in range(length):
        upper = k0 * a0[i] + k1 * a1[i] + k2 * a2[i]
        inner = k3 * b0[i] + k4 * b1[i] + k5 * b2[i]
        lower = k6 * c0[i] + k7 * c1[i] + k8 * c2[i]
        value = upper + inner + lower
        out[i] = value
        total += value
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _gather(block, maps, base, size, offset, length, neighbours, factors, count, starts):
    """Add to ``block`` the stretch ``offset : offset + length`` of the neighbours' maps, each times its factor."""
    for k in range(count):
        starts[k] = base + neighbours[k] * size + offset
    _add_scaled(block, maps, starts, factors, count, length)


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def forward_walks(first, last, shape, training, keep, eps, graph, parameters, x, z, relu, out):
    """Walk pairs ``first:last`` forward; pair ``v * C + c`` is channel ``c`` of variant ``v``.

    ``shape``, ``graph`` and ``parameters`` are the tuples of :mod:`~elegans_pyg.nn.dag.fused.walk`. ``mean`` and ``variance`` are read in
    evaluation, and written in training (the biased variance). ``x``, ``out`` ``(V, C, H*W*B)``; ``z`` and, if ``keep``, ``relu`` hold
    ``C`` runs of ``n_v`` maps for each variant. All numbers are of one floating-point type, ``eps`` too.
    """
    channels, height, width, images = shape
    node_ptr, in_ptr, in_source, _, _, _, is_input, is_output, output_share = graph
    edge_weight, conv_weight, norm_weight, norm_bias, mean, variance = parameters
    row = width * images
    size = height * row
    step = row + 2 * images
    rows_in_block = min(height, max(1, _BLOCK // row))
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    # In the maps' own type: a plain quotient by an integer would carry every loop it enters into float64.
    per_pixel = x.dtype.type(1 / size)
    most_nodes, most_edges = np.diff(node_ptr).max(), max(1, np.diff(in_ptr).max())
    block = np.empty(rows_in_block * row, x.dtype)
    # A border of zeros all around, so that the convolution needs no special cases.
    padded = np.zeros((height + 2, step), x.dtype)
    scale = np.empty(most_nodes, x.dtype)
    shift = np.empty(most_nodes, x.dtype)
    factors = np.empty(most_edges, x.dtype)
    starts = np.empty(most_edges, np.int64)
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
            here = base + j * size
            for y0 in range(0, height, rows_in_block):
                y1 = min(height, y0 + rows_in_block)
                length = (y1 - y0) * row
                offset = y0 * row
                if is_input[n]:
                    for i in range(length):
                        block[i] = x_map[offset + i]
                else:
                    for i in range(length):
                        block[i] = bias
                    _gather(block, z, base, size, offset, length, in_source[low : low + count], factors, count, starts)
                # Written so that NaN passes.
                for i in range(length):
                    block[i] = zero if block[i] <= zero else block[i]
                if keep:
                    kept = relu[here + offset : here + offset + length]
                    for i in range(length):
                        kept[i] = block[i]
                for y in range(y0, y1):
                    inside = padded[y + 1, images : images + row]
                    source = block[(y - y0) * row : (y - y0 + 1) * row]
                    for i in range(row):
                        inside[i] = source[i]
            total = zero
            taps = conv_weight[n, c]
            for y in range(height):
                target = z[here + y * row : here + (y + 1) * row]
                total += _row_taps(target, padded[y], padded[y + 1], padded[y + 2], taps, images, row)
            if training:
                z_map = z[here : here + size]
                average = total * per_pixel
                squares = zero
                for i in range(size):
                    d = z_map[i] - average
                    squares += d * d
                mean[n, c] = average
                variance[n, c] = squares * per_pixel
            scale[j] = norm_weight[n, c] * (one / np.sqrt(variance[n, c] + eps))
            shift[j] = norm_bias[n, c] - mean[n, c] * scale[j]
            if is_output[n]:
                share = scale[j] * output_share[v]
                constant += shift[j] * output_share[v]
                z_map = z[here : here + size]
                for i in range(size):
                    out_map[i] += share * z_map[i]
        for i in range(size):
            out_map[i] += constant


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def _back_taps(gradient, sums, relu, above, middle, below, taps, step, length):
    """One row of the transposed convolution, the ReLU's mask, and the nine taps' gradients.

    ``gradient[i] = [relu[i] > 0] * sum over taps k of taps[k] * g_k[i]`` and ``sums[k] += sum over i of relu[i] * g_k[i]``, where ``g_k``
    is the gradient at the convolution's output, shifted the other way. Returns the row's sum of ``gradient``.
    """
    zero = gradient.dtype.type(0)
    k0, k1, k2, k3, k4, k5, k6, k7, k8 = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8]
    c0, c1, c2 = above[:length], above[step : step + length], above[2 * step : 2 * step + length]
    b0, b1, b2 = middle[:length], middle[step : step + length], middle[2 * step : 2 * step + length]
    a0, a1, a2 = below[:length], below[step : step + length], below[2 * step : 2 * step + length]
    s0, s1, s2, s3, s4, s5, s6, s7, s8 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    total = zero
    for i in range(length):
        r = relu[i]
        # Tap (row, column) of the convolution read the pixel one row up and one column left of its centre for (0, 0), and so on.
        g0, g1, g2 = a2[i], a1[i], a0[i]
        g3, g4, g5 = b2[i], b1[i], b0[i]
        g6, g7, g8 = c2[i], c1[i], c0[i]
        value = (k0 * g0 + k1 * g1 + k2 * g2) + (k3 * g3 + k4 * g4 + k5 * g5) + (k6 * g6 + k7 * g7 + k8 * g8)
        value = zero if r <= zero else value
        gradient[i] = value
        total += value
        s0 += r * g0
        s1 += r * g1
        s2 += r * g2
        s3 += r * g3
        s4 += r * g4
        s5 += r * g5
        s6 += r * g6
        s7 += r * g7
        s8 += r * g8
    for k, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8)):
        sums[k] += s
    return total


@compiled(fastmath=REASSOCIATION, error_model="numpy")
def backward_walks(
    first, last, shape, training, eps, graph, parameters, grad_out, z, relu, grad_x, grad_edge, grad_conv, grad_norm_weight, grad_norm_bias
):
    """Walk pairs ``first:last`` backward. A node's gradient at its weighted sum replaces its map in ``relu``, which only it needs.

    ``grad_edge (C, M)`` holds one term a channel; the other results have their parameters' shapes.
    """
    channels, height, width, images = shape
    node_ptr, in_ptr, in_source, out_ptr, out_target, out_edge, is_input, is_output, output_share = graph
    edge_weight, conv_weight, norm_weight, norm_bias, mean, variance = parameters
    row = width * images
    size = height * row
    step = row + 2 * images
    rows_in_block = min(height, max(1, _BLOCK // row))
    zero = z.dtype.type(0)
    one = z.dtype.type(1)
    per_pixel = z.dtype.type(1 / size)
    most_edges = max(1, np.diff(in_ptr).max(), np.diff(out_ptr).max())
    gradient = np.empty(size, z.dtype)
    padded = np.zeros((height + 2, step), z.dtype)
    factors = np.empty(most_edges, z.dtype)
    starts = np.empty(most_edges, np.int64)
    products = np.empty(most_edges, z.dtype)
    sums = np.empty(9, z.dtype)
    for pair in range(first, last):
        v, c = pair // channels, pair % channels
        begin = node_ptr[v]
        nodes = node_ptr[v + 1] - begin
        base = (begin * channels + c * nodes) * size
        grad_x_map = grad_x[v, c]
        grad_out_map = grad_out[v, c]
        grad_x_map[:] = zero
        for j in range(nodes - 1, -1, -1):
            n = begin + j
            here = base + j * size
            z_map = z[here : here + size]
            average = mean[n, c]
            inverse_std = one / np.sqrt(variance[n, c] + eps)

            # The gradient at y_n, gathered from the successors, and BatchNorm's two reductions.
            low = out_ptr[n]
            count = out_ptr[n + 1] - low
            for k in range(count):
                factors[k] = edge_weight[out_edge[low + k]]
            total = zero
            along = zero
            for y0 in range(0, height, rows_in_block):
                offset = y0 * row
                length = (min(height, y0 + rows_in_block) - y0) * row
                block = gradient[offset : offset + length]
                if is_output[n]:
                    share = output_share[v]
                    for i in range(length):
                        block[i] = share * grad_out_map[offset + i]
                else:
                    for i in range(length):
                        block[i] = zero
                _gather(block, relu, base, size, offset, length, out_target[low : low + count], factors, count, starts)
                z_block = z_map[offset : offset + length]
                for i in range(length):
                    g = block[i]
                    total += g
                    along += g * (z_block[i] - average)
            along *= inverse_std
            grad_norm_weight[n, c] = along
            grad_norm_bias[n, c] = total

            # Through BatchNorm, into a map with a border of zeros.
            gain = norm_weight[n, c] * inverse_std
            if training:
                offset_term = gain * total * per_pixel
                slope = gain * along * inverse_std * per_pixel
            else:
                offset_term = zero
                slope = zero
            for y in range(height):
                inside = padded[y + 1, images : images + row]
                source = gradient[y * row : (y + 1) * row]
                z_row = z_map[y * row : (y + 1) * row]
                for i in range(row):
                    inside[i] = gain * source[i] - offset_term - slope * (z_row[i] - average)

            # Through the convolution and ReLU; `relu` becomes the gradient at a_n.
            sums[:] = zero
            flow = zero
            taps = conv_weight[n, c]
            for y in range(height):
                kept = relu[here + y * row : here + (y + 1) * row]
                target = gradient[y * row : (y + 1) * row]
                flow += _back_taps(target, sums, kept, padded[y], padded[y + 1], padded[y + 2], taps, images, row)
            for k in range(9):
                grad_conv[n, c, k] = sums[k]
            kept = relu[here : here + size]
            for i in range(size):
                kept[i] = gradient[i]

            if is_input[n]:
                for i in range(size):
                    grad_x_map[i] += gradient[i]
            low = in_ptr[n]
            count = in_ptr[n + 1] - low
            if count > 0:
                products[:count] = zero
                for k in range(count):
                    starts[k] = base + in_source[low + k] * size
                for i0 in range(0, size, _BLOCK):
                    length = min(_BLOCK, size - i0)
                    _dots(products, gradient[i0 : i0 + length], z, starts, count, length)
                    for k in range(count):
                        starts[k] += length
                for k in range(count):
                    m = begin + in_source[low + k]
                    scale = norm_weight[m, c] * (one / np.sqrt(variance[m, c] + eps))
                    grad_edge[c, low + k] = scale * products[k] + (norm_bias[m, c] - mean[m, c] * scale) * flow


def forward(shape, training, record, eps, graph, parameters, x, *maps):
    """See :func:`forward_walks`; the arguments are tensors."""
    share(forward_walks, x.size(0) * shape.channels, shape, training, record, x.numpy().dtype.type(eps), graph, parameters, x, *maps)


def backward(shape, training, eps, graph, parameters, grad, *rest):
    """See :func:`backward_walks`."""
    share(backward_walks, grad.size(0) * shape.channels, shape, training, grad.numpy().dtype.type(eps), graph, parameters, grad, *rest)
