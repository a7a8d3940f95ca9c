"""Export of trained networks of finished runs to files that run without this package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from elegans_pyg import __version__
from elegans_pyg._arguments import check_choice
from elegans_pyg.datasets import ImageKind
from elegans_pyg.models import ConnectomeRNN, EchoStateNetwork, ElegansM2, ReducedOrder
from elegans_pyg.models.export import FORMATS, Exported, export_network
from elegans_pyg.studies.fitting import precision_of
from elegans_pyg.studies.saved import Run
from elegans_pyg.training.objective import Autoencoding, scale_pixels


@dataclass(frozen=True)
class _Ends:
    """Inputs and outputs of an exported network: their names, sample inputs, and a module applied to the inputs first."""

    names: tuple[str, str]
    samples: Tensor
    before: nn.Module | None = None


def export_run(
    run: Run,
    format: str = "onnx",
    out: str | Path | None = None,
    *,
    family: str | None = None,
    seed: int | None = None,
    variant: int | None = None,
    task: str | None = None,
) -> tuple[Exported, pd.Series]:
    """Export one trained network of a finished run to a file; see :func:`~elegans_pyg.models.export.export_network`.

    ================ =============================================== ===========================================================
    networks         input                                           output
    ================ =============================================== ===========================================================
    classifiers      ``images (B, C, H, W)``, uint8 from 0 to 255    ``logits (B, K)``
    autoencoders     the same; binarised in the network              ``logits (B, C, H, W)``; their sigmoid is the share of ink
    reservoirs       ``inputs (B, T, F)``, float64                   ``outputs (B, T, K)``
    recurrent        ``inputs (B, T, F)``, float32                   ``outputs (B, T, K)``; digits: logits of the last step, ``(B, K)``
    reduced-order    ``current_pA (S, T, I)``, float32               ``voltage_mV (S, T, O)``
    ================ =============================================== ===========================================================

    Args:
        run: from :func:`~elegans_pyg.studies.load_run`.
        format: ``"onnx"``, ``"torch"`` or ``"numpy"``.
        out: output file, with the suffix of the format; by default in the current folder, named after run, family and unit.
        family, seed, variant, task: which unit, as in :meth:`Run.select`; of several, the first whose training was not stopped.

    Returns:
        the exported files, and the unit's row of ``results.csv``.

    Raises:
        FileNotFoundError: if the run is not finished.
        ValueError: if the run trained no network, there is no such unit, ``out`` has another suffix, or as :func:`export_network`.
        ImportError, OSError: as :func:`export_network`.
    """
    check_choice("format", format, FORMATS)
    row = run.trained(family, seed, variant, task).iloc[0]
    unit = run.results.loc[row.name]
    name = re.sub(r"\W+", "_", f"{run.folder.path.resolve().name} {unit['family']} {unit['variant']}")
    path = Path(f"{name}{FORMATS[format]}" if out is None else out).expanduser()
    if path.suffix != FORMATS[format]:
        raise ValueError(f"out: expected a file ending in {FORMATS[format]} for the format {format}, got {str(path)!r}; rename it")
    labels = unit.filter(["family", "wiring_seed", "seed", "task"]).to_dict()
    model, about = run.model(variant=int(unit["variant"])), {"elegans_pyg": __version__, "study": run.study.name, **labels}
    ends = _sequences(model)
    if ends is None:
        ends, about["classes"] = _images(model, run.image_kind), run.image_kind.classes
    if row["wiring"] >= 0 and (neurons := run.units.wirings[row["wiring"]].get("neuron_name")) is not None:
        about["neuron_name"] = list(neurons)
    if isinstance(model, ReducedOrder):
        about |= {"inputs": model.input_names, "outputs": model.output_names}
    return export_network(model, path, ends.samples, format, before=ends.before, names=ends.names, about=about), unit


class FromPixels(nn.Module):
    """Convert pixels from 0 to 255 to the values that a network was trained on."""

    def __init__(self, binarised: bool, precision: str) -> None:
        super().__init__()
        self.binarised, self.precision = binarised, precision

    def forward(self, pixels: Tensor) -> Tensor:
        return Autoencoding().targets(pixels, self.precision) if self.binarised else scale_pixels(pixels, self.precision)


def _images(model: Any, kind: ImageKind) -> _Ends:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, kind.channels, *kind.size), generator=generator, dtype=torch.uint8)
    return _Ends(("images", "logits"), pixels, FromPixels(isinstance(model, ElegansM2), precision_of(model)))


def _sequences(model: Any) -> _Ends | None:
    generator = torch.Generator().manual_seed(0)
    if isinstance(model, EchoStateNetwork):
        own = model.reservoir
        return _Ends(("inputs", "outputs"), torch.rand(3, 40, own.in_features, generator=generator, dtype=own.bias.dtype))
    if isinstance(model, ConnectomeRNN):
        return _Ends(("inputs", "outputs"), torch.rand(3, 40, model.in_features, generator=generator, dtype=model.bias.dtype))
    if isinstance(model, ReducedOrder):
        current = 2 * torch.rand(3, 40, len(model.input_names), generator=generator, dtype=model.weight.dtype)
        return _Ends(("current_pA", "voltage_mV"), current)
    return None
