"""Vector instructions for the walk of a single sequence, for Numba kernels.

With one sequence there is no contiguous axis: synapses read scattered numbers, and a neuron has too few of them to fill vectors. Here
``WIDTH`` neurons of similar in-degree are processed side by side, which needs LLVM instructions written out.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from elegans_pyg.nn.recurrent.rows import WIDTH

_instruction: Callable[..., Any] = intrinsic
BLOCK = 64
"""Length of the rows that :func:`add_dots` multiplies."""


class _Arrays:
    """The arrays among an intrinsic's arguments as pointers, with vector loads and stores."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> None:
        self.builder, self.intp = builder, context.get_value_type(types.intp)
        self.data = {
            place: context.make_array(kind)(context, builder, value).data
            for place, (kind, value) in enumerate(zip(signature.args, arguments, strict=True))
            if isinstance(kind, types.Array)
        }
        number = next(context.get_data_type(kind.dtype) for kind in signature.args if isinstance(getattr(kind, "dtype", None), types.Float))
        self.vector, self.aligned = ir.VectorType(number, WIDTH), context.get_abi_sizeof(number)

    def at(self, array: int, index: Any, more: int = 0) -> Any:
        """Return the address of ``array[index + more]``."""
        return self.builder.gep(self.data[array], [self.builder.add(index, self.intp(more))])

    def place(self, array: int, index: Any, more: int = 0) -> Any:
        """Return the unsigned integer ``array[index + more]`` as an index."""
        return self.builder.zext(self.builder.load(self.at(array, index, more)), self.intp)

    def load(self, array: int, index: Any, more: int = 0) -> Any:
        return self.builder.load(self.builder.bitcast(self.at(array, index, more), self.vector.as_pointer()), align=self.aligned)

    def store(self, value: Any, array: int, index: Any) -> None:
        self.builder.store(value, self.builder.bitcast(self.at(array, index), self.vector.as_pointer()), align=self.aligned)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        return self.builder.fadd(total, self.builder.fmul(a, b, flags=("contract",)), flags=("contract",))

    def shuffle(self, a: Any, b: Any, places: list[int]) -> Any:
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), places))


@_instruction
def add_rows(context: Any, out: Any, row: Any, r: Any, z: Any, weight: Any, source: Any, start: Any, count: Any) -> Any:
    """``out[row[r + k]] += sum over c < count of weight[s + k] * z[source[s + k]]``, ``s = start + WIDTH * c``, for all ``k < WIDTH``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Arrays(context, builder, signature, arguments)
        _, _, r, _, _, _, start, count = arguments
        total = cgutils.alloca_once_value(builder, ir.Constant(own.vector, None))
        with cgutils.for_range(builder, count) as loop:
            s = builder.add(start, builder.mul(loop.index, own.intp(WIDTH)))
            read = ir.Constant(own.vector, ir.Undefined)
            for k in range(WIDTH):
                number = builder.load(own.at(3, own.place(5, s, k)))
                read = builder.insert_element(read, number, ir.IntType(32)(k))
            builder.store(own.add_product(builder.load(total), own.load(4, s), read), total)
        for k in range(WIDTH):
            place = own.at(0, own.place(1, r, k))
            builder.store(builder.fadd(builder.load(place), builder.extract_element(builder.load(total), ir.IntType(32)(k))), place)
        return context.get_dummy_value()

    return types.void(out, row, types.intp, z, weight, source, types.intp, types.intp), generate


@_instruction
def add_dots(context: Any, out: Any, a: Any, row: Any, first: Any, last: Any, b: Any, other: Any) -> Any:
    """``out[e] += sum over m < BLOCK of a[BLOCK * row[e] + m] * b[BLOCK * other + m]`` for all ``first <= e < last``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Arrays(context, builder, signature, arguments)
        _, _, _, first, last, _, other = arguments
        other = builder.mul(other, own.intp(BLOCK))
        right = [own.load(5, other, part) for part in range(0, BLOCK, WIDTH)]
        with cgutils.for_range(builder, last, start=first) as loop:
            left = builder.mul(own.place(2, loop.index), own.intp(BLOCK))
            totals = [ir.Constant(own.vector, None)] * 2
            for number, factor in enumerate(right):
                totals[number % 2] = own.add_product(totals[number % 2], own.load(1, left, number * WIDTH), factor)
            total = builder.fadd(*totals)
            for half in (4, 2, 1):
                total = builder.fadd(total, own.shuffle(total, total, [(k + half) % WIDTH for k in range(WIDTH)]))
            place = own.at(0, loop.index)
            builder.store(builder.fadd(builder.load(place), builder.extract_element(total, ir.IntType(32)(0))), place)
        return context.get_dummy_value()

    return types.void(out, a, row, types.intp, types.intp, b, types.intp), generate


@_instruction
def transpose(context: Any, out: Any, o: Any, stride: Any, a: Any, start: Any, step: Any) -> Any:
    """``out[o + stride * i + j] = a[start + step * j + i]`` for all ``i, j < WIDTH``."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Arrays(context, builder, signature, arguments)
        _, o, stride, _, start, step = arguments
        rows = [own.load(3, builder.add(start, builder.mul(step, own.intp(j)))) for j in range(WIDTH)]
        for half in (4, 2, 1):
            # Swap the off-diagonal quarters of blocks of 2 half x 2 half.
            low = [k if not k & half else WIDTH + k - half for k in range(WIDTH)]
            high = [k + half if not k & half else WIDTH + k for k in range(WIDTH)]
            pairs = [(rows[j & ~half], rows[j | half]) for j in range(WIDTH)]
            rows = [own.shuffle(*pair, high if j & half else low) for j, pair in enumerate(pairs)]
        for i, value in enumerate(rows):
            own.store(value, 0, builder.add(o, builder.mul(stride, own.intp(i))))
        return context.get_dummy_value()

    return types.void(out, types.intp, types.intp, a, types.intp, types.intp), generate
