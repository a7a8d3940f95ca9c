#!/usr/bin/env python3
"""Compile the CUDA kernels of executor `fused` without a GPU, count what their loops do, and predict how long a step takes.

    python scripts/model_gpu.py                        # the hermaphrodite, 78 channels, 14x14 maps, batch 100, 30 variants
    python scripts/model_gpu.py --json - --counts      # what the compiler made of each kernel, for sm_80, sm_90 and sm_100

Triton's wheel brings the compiler and the disassembler; Linux on x86-64 is all that is needed. The prediction is the largest of three
times: memory (each map that an edge reads comes from memory; scratch maps of programs under way stay in the second-level cache, if half of
it holds them), instructions issued, and integer instructions, of which a multiprocessor does half as many. Latency is not in it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
# The interpreter, which tests turn on, would take the compiler's place.
os.environ["TRITON_INTERPRET"] = "0"

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from elegans_pyg.nn.dag.fused import cuda_kernels as cuda
from elegans_pyg.nn.dag.fused.walk import Shape

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
KERNELS = {"forward": cuda.forward_walks, "backward": cuda.backward_walks}
LONG = {"node_ptr", "in_ptr", "in_source", "out_ptr", "out_target", "out_edge", "slot", "flow_slot"}
FLOATING = re.compile(r"(FFMA|FMUL|FADD|FSEL|FSETP|FMNMX)(2?)$")
INTEGER = re.compile(r"(U?(IADD3?|IMAD|ISETP|IMNMX|LOP3|LEA|SHF|SEL|PRMT|PLOP3)|VIADD|VIMNMX|SHL|SHR|BFE|I2FP|SGXT)$")


class Gpu(NamedTuple):
    """Of the vendor's data sheets: bytes of memory a second, multiprocessors, boost clock in Hz, bytes of second-level cache."""

    architecture: int
    bandwidth: float
    processors: int
    clock: float
    cache: float


GPUS = {
    "A100 SXM 80 GB": Gpu(80, 2.039e12, 108, 1.41e9, 40e6),
    "H100 SXM": Gpu(90, 3.35e12, 132, 1.98e9, 50e6),
    "H200 SXM": Gpu(90, 4.8e12, 132, 1.98e9, 50e6),
}


class Loop(NamedTuple):
    """Addresses of a loop's first and last instruction, the loops around it, and its own instructions without those of inner loops."""

    first: int
    last: int
    depth: int
    kind: str
    own: Counter[str]


def compiled(name: str, dtype: torch.dtype, architecture: int, padded: bool = False) -> Any:
    """A kernel as a launch in training compiles it, for maps of many images."""
    kernel = KERNELS[name]
    sizes, limits = cuda.blocks(kernel, dtype, 10**6)
    constants = {"TRAINING": True, "KEEP": True, "PADDED": padded, **sizes}
    constants = {key: value for key, value in constants.items() if key in kernel.arg_names}

    def kind(argument: str) -> str:
        if argument in constants:
            return "constexpr"
        if argument in ("eps", "pixels"):
            return "fp32"
        if argument.isupper():
            return "i32"
        pointers = {"is_input": "u8", "is_output": "u8", "in_slot": "i32", "out_slot": "i32"}
        stored = dict.fromkeys(("relu", "room", "z"), TYPES[dtype])
        return "*" + {**dict.fromkeys(LONG, "i64"), **pointers, **stored}.get(argument, "fp32")

    signature = {argument: kind(argument) for argument in kernel.arg_names}
    attributes = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(key),): value for key, value in constants.items()}, attributes)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=limits)


def disassembled(kernel: Any) -> tuple[list[tuple[int, str, str]], dict[str, int]]:
    """Instructions as address, name and operands; registers and bytes of stack of a thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(kernel.asm["cubin"])
        texts = [
            subprocess.run([TOOLS / "cuobjdump", flag, path], capture_output=True, text=True, check=True).stdout
            for flag in ("-sass", "-res-usage")
        ]
    found = re.finditer(r"/\*([0-9a-f]{4,5})\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)([^;]*);", texts[0])
    usage = {key.lower(): int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", texts[1])}
    return [(int(line[1], 16), line[2], line[3]) for line in found], usage


def loops(instructions: list[tuple[int, str, str]]) -> list[Loop]:
    """Loops by address: a branch back closes one."""
    ends: dict[int, int] = {}
    for address, name, operands in instructions:
        target = re.findall(r"0x([0-9a-f]+)", operands) if name.startswith("BRA") else []
        if target and int(target[-1], 16) < address:
            first = int(target[-1], 16)
            ends[first] = max(address, ends.get(first, 0))
    spans = sorted(ends.items())
    found = []
    for first, last in spans:
        inner = [span for span in spans if first <= span[0] and span[1] <= last and span != (first, last)]
        own = Counter(
            name for address, name, _ in instructions if first <= address <= last and not any(low <= address <= high for low, high in inner)
        )
        depth = sum(low <= first and last <= high for low, high in spans) - 1
        found.append(Loop(first, last, depth, "outer" if inner else kind_of(own), own))
    return found


def kind_of(own: Counter[str]) -> str:
    """Which of the kernels' inner loops it is, by its loads and stores of maps."""
    loads, stores = (sum(n for name, n in own.items() if name.startswith(kind) and "128" in name) for kind in ("LDG", "STG"))
    if not loads:
        return "parameters"
    if not stores:
        return "edges"
    return "elements" if stores > 1 else "convolution" if loads == 3 else "convolution back"


def mix(own: Counter[str]) -> tuple[int, int, int]:
    """All instructions, integer ones and floating-point ones, of which some do two at a time; moves are neither."""
    integer = floating = 0
    for name, count in own.items():
        stem = name.split(".")[0]
        integer += count if INTEGER.match(stem) and not name.startswith("IMAD.MOV") else 0
        hit = FLOATING.match(stem)
        floating += count * (2 if hit[2] else 1) if hit else 0
    return own.total(), integer, floating


def wide_loads(kernel: Any, vector: int) -> tuple[int, int]:
    """Loads of 16 bytes per thread, and how many it would be if every load of a map were one."""
    threads = 32 * kernel.metadata.num_warps
    wide = len(re.findall(r"ld\.global\S*\.v4\.b32", kernel.asm["ptx"])) + 2 * len(re.findall(r"ld\.global\S*\.v8\.b32", kernel.asm["ptx"]))
    wanted = 0
    for shape, number in re.findall(r"tt\.load .*: tensor<([\dx]+)x!tt\.ptr<(f32|bf16)>", kernel.asm["ttgir"]):
        sides = [int(side) for side in shape.split("x")]
        # Maps come as columns of a row or as tiles of three dimensions; edges' factors and products do not.
        if len(sides) == 3 or sides == [threads * vector]:
            wanted += math.prod(sides) // threads * (4 if number == "f32" else 2) // 16
    return wide, wanted


def counted(name: str, dtype: torch.dtype, architecture: int, padded: bool = False) -> dict[str, Any]:
    """What the compiler made of a kernel."""
    kernel = compiled(name, dtype, architecture, padded)
    instructions, usage = disassembled(kernel)
    wide, wanted = wide_loads(kernel, 16 // dtype.itemsize)
    inner = {loop.kind: mix(loop.own) for loop in loops(instructions) if loop.kind not in ("outer", "parameters")}
    spills = sum(opcode.startswith(("LDL", "STL")) for _, opcode, _ in instructions)
    return {
        "kernel": name,
        "dtype": TYPES[dtype],
        "architecture": architecture,
        "registers": usage["reg"],
        "stack": usage["stack"] + usage["local"],
        "spills": spills,
        "wide_loads": wide,
        "wanted_wide_loads": wanted,
        "loops": {kind: dict(zip(("all", "integer", "floating"), numbers, strict=True)) for kind, numbers in inner.items()},
    }


class Work(NamedTuple):
    """Of one walk of one (variant, channel) pair."""

    nodes: int
    edges: int
    inputs: int
    outputs: int


@functools.cache
def loops_of(name: str, dtype: torch.dtype, architecture: int) -> list[Loop]:
    return loops(disassembled(compiled(name, dtype, architecture))[0])


def warp_instructions(name: str, dtype: torch.dtype, architecture: int, shape: Shape, work: Work) -> tuple[float, float]:
    """Instructions that all warps of a program issue for one pair, and the integer ones among them."""
    images = cuda.images_in_memory(shape.images, dtype)
    row = shape.width * images
    sizes, limits = cuda.blocks(KERNELS[name], dtype, shape.height * row)
    block = 32 * sizes["VECTOR"] * sizes["WARPS"]
    tiles, columns = math.ceil(shape.height * row / (block * sizes["REPEATS"])), math.ceil(row / block)
    found = loops_of(name, dtype, architecture)
    some = work.outputs if name == "forward" else work.inputs
    inner_trips = {
        "edges": work.edges * tiles,
        "convolution": work.nodes * columns * shape.height,
        "convolution back": work.nodes * columns * shape.height,
        "elements": some * tiles,
        "parameters": work.nodes,
    }
    total = whole = 0.0
    for loop in found:
        children = {other.kind for other in found if loop.first <= other.first and other.last <= loop.last and other.kind != "outer"}
        outer = work.nodes * (tiles if "edges" in children else columns)
        trips = inner_trips.get(loop.kind, (1, work.nodes)[loop.depth] if loop.depth < 2 else outer)
        everything, integer, _ = mix(loop.own)
        total += trips * everything * limits["num_warps"]
        whole += trips * integer * limits["num_warps"]
    return total, whole


def map_bytes(shape: Shape, dtype: torch.dtype, work: Work, programs: int, cache: float) -> float:
    """Bytes that one pair moves from and to memory, forward and backward."""
    size = shape.height * shape.width * cuda.images_in_memory(shape.images, dtype)
    kept, wide = size * dtype.itemsize, size * 4
    # Forth: a map per edge, relu and z written, x read, out written. Back: a map per edge, relu read, flow written, the borders likewise.
    moved = 2 * work.edges * kept + 4 * work.nodes * kept + (work.inputs + work.outputs) * wide * 2
    if programs * (kept + wide) > cache / 2:
        # Forth, relu and z are read again; back, relu is, z is written and read twice, and the gradient at y_n is written and read.
        moved += work.nodes * (6 * kept + 2 * wide)
    return moved


def predicted(gpu: Gpu, dtype: torch.dtype, shape: Shape, work: Work, variants: int) -> dict[str, Any]:
    """Milliseconds of a step per variant, by what bounds it."""
    pairs, programs = variants * shape.channels, gpu.processors * cuda._PROGRAMS
    # The last round of programs leaves some of the GPU idle.
    uneven = math.ceil(pairs / programs) * programs / pairs
    issued, whole = (
        sum(numbers) for numbers in zip(*(warp_instructions(name, dtype, gpu.architecture, shape, work) for name in KERNELS), strict=True)
    )
    moved = map_bytes(shape, dtype, work, min(pairs, programs), gpu.cache)
    cycles = gpu.processors * gpu.clock
    times = {
        "memory": moved * shape.channels / gpu.bandwidth,
        # Four warps issue at a time; integer units take two.
        "instructions": issued * shape.channels / (4 * cycles) * uneven,
        "integer": whole * shape.channels / (2 * cycles) * uneven,
    }
    bound = max(times, key=lambda name: times[name])
    return {
        **{f"{name}_ms": time * 1e3 for name, time in times.items()},
        "bytes": moved * shape.channels,
        "bound": bound,
        "ms": times[bound] * 1e3,
    }


def hermaphrodite() -> Work:
    """Nodes and edges that a walk of the constrained DAG visits."""
    from elegans_pyg.datasets import Connectome
    from elegans_pyg.nn.dag.schedule import Schedule
    from elegans_pyg.transforms import ConstrainedDAG

    schedule = Schedule.from_batch(ConstrainedDAG()(Connectome()[0]))
    return Work(schedule.order.numel(), schedule.source.numel(), int(schedule.level_ptr[1]), schedule.output.numel())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", action="store_true", help="only what the compiler made of each kernel")
    parser.add_argument("--channels", type=int, default=78)
    parser.add_argument("--size", type=int, default=14, help="height and width of the maps")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--variants", type=int, default=30)
    parser.add_argument("--json", help="write the numbers here; - for the standard output, and no table")
    arguments = parser.parse_args()
    if arguments.counts:
        rows = [counted(name, dtype, arch) for arch in (80, 90, 100) for dtype in TYPES for name in KERNELS]
    else:
        shape, work = Shape(arguments.channels, arguments.size, arguments.size, arguments.batch_size), hermaphrodite()
        rows = [
            {"gpu": name, "maps": TYPES[dtype], **predicted(gpu, dtype, shape, work, arguments.variants)}
            for name, gpu in GPUS.items()
            for dtype in TYPES
        ]
    if arguments.json == "-":
        print(json.dumps(rows))
        return
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for row in rows:
        print("  ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
