"""Products of a small matrix and a few sequences, for Numba kernels, in tiles whose sums stay in registers.

With a loop over some 30 sequences inside a loop over sources, Numba loads and stores every sum at every source. Here the loop over sources
is the inner one and keeps the sums of a tile of rows and sequences in registers, which needs LLVM instructions written out.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""The number of sequences is padded with zeros to a multiple of this."""


def _tile(rows: int, vectors: int) -> Callable[..., None]:
    """Build :func:`add_products` for this many rows and ``LANES * vectors`` sequences."""
    width = LANES

    @intrinsic
    def tile(context: Any, out: Any, o: Any, weight: Any, w: Any, stride: Any, v: Any, a: Any, lanes: Any, count: Any) -> Any:
        signature = types.void(out, types.intp, weight, types.intp, types.intp, v, types.intp, types.intp, types.intp)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            arrays = {
                name: context.make_array(signature.args[position])(context, builder, arguments[position]).data
                for name, position in (("out", 0), ("weight", 2), ("v", 5))
            }
            _, o, _, w, stride, _, a, lanes, count = arguments
            number = context.get_data_type(out.dtype)
            vector, integer = ir.VectorType(number, width), count.type
            aligned = context.get_abi_sizeof(number)

            def address(name: str, index: Any) -> Any:
                return builder.bitcast(builder.gep(arrays[name], [index]), vector.as_pointer())

            places = []
            for j in range(rows):
                row = builder.add(o, builder.mul(lanes, integer(j)))
                places += [address("out", builder.add(row, integer(part * width))) for part in range(vectors)]
            starts = [builder.load(place, align=aligned) for place in places]
            before = builder.block
            loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
            builder.cbranch(builder.icmp_signed(">", count, integer(0)), loop, after)

            builder.position_at_end(loop)
            k = builder.phi(integer)
            sums = [builder.phi(vector) for _ in places]
            source = builder.add(a, builder.mul(lanes, k))
            parts = [builder.load(address("v", builder.add(source, integer(part * width))), align=aligned) for part in range(vectors)]
            results = []
            for j in range(rows):
                index = builder.add(builder.add(w, builder.mul(stride, integer(j))), k)
                factor = builder.load(builder.gep(arrays["weight"], [index]))
                first = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
                spread = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
                everywhere = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), spread)
                for part in range(vectors):
                    product = builder.fmul(everywhere, parts[part], flags=("contract",))
                    results.append(builder.fadd(sums[j * vectors + part], product, flags=("contract",)))
            following = builder.add(k, integer(1))
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            k.add_incoming(integer(0), before)
            k.add_incoming(following, loop)

            builder.position_at_end(after)
            # Phi nodes come first in a block.
            totals = [builder.phi(vector) for _ in places]
            for total, start, result in zip(sums + totals, starts * 2, results * 2, strict=True):
                total.add_incoming(start, before)
                total.add_incoming(result, loop)
            for place, total in zip(places, totals, strict=True):
                builder.store(total, place, align=aligned)
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_4x32, _tile_4x16, _tile_1x32, _tile_1x16 = _tile(4, 2), _tile(4, 1), _tile(1, 2), _tile(1, 1)


@numba.njit(nogil=True)
def add_products(out, o, weight, w, stride, v, a, rows, count, lanes):
    """``out[o + j * lanes + s] += sum over k < count of weight[w + j * stride + k] * v[a + k * lanes + s]`` for all ``j < rows`` and
    ``s < lanes``. All three arrays are flat; ``lanes`` is a multiple of :data:`LANES`.
    """
    j = 0
    while j < rows:
        four = j + 4 <= rows
        to, start = o + j * lanes, w + j * stride
        s = 0
        while s + 32 <= lanes:
            if four:
                _tile_4x32(out, to + s, weight, start, stride, v, a + s, lanes, count)
            else:
                _tile_1x32(out, to + s, weight, start, stride, v, a + s, lanes, count)
            s += 32
        if s < lanes:
            if four:
                _tile_4x16(out, to + s, weight, start, stride, v, a + s, lanes, count)
            else:
                _tile_1x16(out, to + s, weight, start, stride, v, a + s, lanes, count)
        j += 4 if four else 1
