"""Export of networks to ONNX, ``.pt2`` and NumPy files, each checked against the network before it is written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elegans_pyg._arguments import check_choice
from elegans_pyg._extras import require
from elegans_pyg._files import write_atomic
from elegans_pyg.models.export.arrays import forward_source, network_arrays
from elegans_pyg.models.export.inference import inference_form
from elegans_pyg.models.reduced_order import ReducedOrder
from elegans_pyg.nn.variants import VariantNetwork

FORMATS = {"onnx": ".onnx", "torch": ".pt2", "numpy": ".npz"}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """The files written, and how closely they reproduce the network.

    ``difference`` is the largest one on the sample inputs, relative to the largest output if that is above 1; ``None`` if onnxruntime is
    not installed.
    """

    paths: list[Path]
    difference: float | None


def export_network(
    model: VariantNetwork,
    path: str | Path,
    samples: Tensor,
    format: str = "onnx",
    *,
    before: nn.Module | None = None,
    names: tuple[str, str] = ("inputs", "outputs"),
    about: Mapping[str, Any] | None = None,
) -> Exported:
    r"""Write a network of one variant to a file that does not need this package.

    The file holds the network in evaluation mode, in the precision of its parameters, for any number of samples and time steps.

    ========= ======================== ===============================================================================================
    format    files                    to run it
    ========= ======================== ===============================================================================================
    ``onnx``  ``.onnx``                ``onnxruntime.InferenceSession(path).run(None, {"inputs": x})``, or any program that reads ONNX
    ``torch`` ``.pt2``                 ``torch.export.load(path).module()(x)``
    ``numpy`` ``.npz`` with parameters ``predict(dict(numpy.load("net.npz")), x)`` with ``from net import predict``, or
              and graph, and NumPy     ``python net.py inputs.npy``; the code describes the arrays
              code beside it, ``.py``
    ========= ======================== ===============================================================================================

    Before anything is written, the exported network is run on the samples, in onnxruntime for ONNX, and compared with the model.

    Args:
        model: one of :mod:`elegans_pyg.models`, such as ``load_run(folder).model(family="connectome", seed=0)``.
        path: of the main file, which is overwritten if it exists.
        samples: sample inputs ``(B, ...)``, at least one.
        before: module applied to the inputs first; the NumPy code has it built in.
        names: names of input and output in ONNX.
        about: plain values to store in the file.

    Raises:
        ValueError: for an unknown format, a model of several variants, a model that the format does not support, or outputs that differ by
            over 1e-4.
        TypeError: for a model of another kind.
        ImportError: if the extra ``onnx`` is needed and missing.
        OSError: if the file cannot be written.
    """
    check_choice("format", format, FORMATS)
    if model.num_variants != 1:
        raise ValueError(f"model: expected a single variant, got {model.num_variants}; take one with load_run(folder).model(variant=0)")
    for module in ("onnx", "onnxscript") if format == "onnx" else ():
        require(module, "onnx", "the format onnx")
    # A copy: a forward pass in training mode would change the statistics of the given model.
    model, path, about = deepcopy(model).eval(), Path(path), dict(about or {})
    with torch.no_grad():
        run = model.predict_mV if isinstance(model, ReducedOrder) else model
        expected = run(samples if before is None else before(samples))[0].numpy()
        if format == "numpy":
            contents, got = _numpy(model, path, samples, about)
        else:
            form = inference_form(model).requires_grad_(False)
            program = _trace(form if before is None else nn.Sequential(before, form), samples)
            contents, got = (_onnx if format == "onnx" else _torch)(program, path, samples, about, names)
    difference = None if got is None else float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max()))
    # Written so that NaN raises too.
    if difference is not None and not difference <= TOLERANCE:
        raise ValueError(
            f"format: {format} differs from the network by {difference:.2g}, expected at most {TOLERANCE:g}; use another format"
        )
    return Exported([write_atomic(own, content) for own, content in contents.items()], difference)


Made = tuple[dict[Path, bytes], np.ndarray | None]


def _trace(form: nn.Module, samples: Tensor) -> torch.export.ExportedProgram:
    """Trace the module for any number of samples and, for sequences, of time steps; with at least two of each, because PyTorch specialises
    on one."""
    sequences = samples.dim() == 3
    shapes = {0: torch.export.Dim("samples"), **({1: torch.export.Dim("steps")} if sequences else {})}
    shown = samples.new_zeros((2, 3 if sequences else samples.size(1), *samples.shape[2:]))
    return torch.export.export(form, (shown,), dynamic_shapes=(shapes,))


def _torch(program: torch.export.ExportedProgram, path: Path, samples: Tensor, about: dict[str, Any], names: tuple[str, str]) -> Made:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"about.json": json.dumps(about)})
    file.seek(0)
    return {path: file.getvalue()}, torch.export.load(file).module()(samples).numpy()


def _onnx(program: torch.export.ExportedProgram, path: Path, samples: Tensor, about: dict[str, Any], names: tuple[str, str]) -> Made:
    with _quiet():
        made = torch.onnx.export(program, input_names=[names[0]], output_names=[names[1]], dynamo=True, verbose=False)
    assert made is not None
    made.model.metadata_props.update({name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()})
    content = made.model_proto.SerializeToString()
    try:
        onnxruntime = require("onnxruntime", "onnx", "checking")
    except ImportError:
        return {path: content}, None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of unused constants of the exporter
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return {path: content}, session.run(None, {names[0]: samples.numpy()})[0]


def _numpy(model: nn.Module, path: Path, samples: Tensor, about: dict[str, Any]) -> Made:
    source = forward_source(model)
    arrays: dict[str, Any] = {**network_arrays(model), **{f"about.{name}": np.array(value) for name, value in about.items()}}
    file, page = io.BytesIO(), dict[str, Any]()
    np.savez(file, **arrays)
    exec(compile(source, "<page>", "exec"), page)
    return {path: file.getvalue(), path.with_suffix(".py"): source.encode()}, page["predict"](arrays, samples.numpy())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks about optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
