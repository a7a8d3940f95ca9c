"""Predictions of a run's trained networks on the user's own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from elegans_pyg import plots
from elegans_pyg._extras import require
from elegans_pyg._files import write_content
from elegans_pyg.datasets import read_images
from elegans_pyg.datasets.own_images import OwnImages
from elegans_pyg.dynamics.waveforms import read_currents
from elegans_pyg.studies.fitting import precision_of
from elegans_pyg.studies.run import entitle
from elegans_pyg.studies.saved import Run, load_run
from elegans_pyg.studies.study import Report
from elegans_pyg.studies.tables import bullets, make_table
from elegans_pyg.training.objective import Autoencoding, evaluate, scale_pixels

ROWS, SHOWN, BATCH = 60, 12, 100
"""Most rows of a printed table, most images or lines of a figure, and images per batch."""


@dataclass(frozen=True)
class _Used:
    """Networks side by side, their units, and the files given."""

    run: Run
    network: Any
    units: pd.DataFrame
    files: Sequence[str | Path]

    def images(self) -> tuple[OwnImages, list[str]]:
        kind = self.run.image_kind
        return read_images(self.files, kind), kind.classes

    def sequences(self) -> dict[str, tuple[list[str], Tensor]]:
        """Columns' names and values ``(T, columns)``, float64, of each file, by its name."""
        names = [Path(file).name for file in self.files]
        unique = len(set(names)) == len(names)
        pairs = zip(names, self.files, strict=True)
        # Late times in float32 would be off by more than a hundredth of a step.
        return {name if unique else str(file): read_currents(file, torch.float64) for name, file in pairs}

    def families(self) -> Mapping[str, np.ndarray]:
        """Positions of each family's units among the networks."""
        return {str(family): np.flatnonzero(self.units["family"] == family) for family in self.units["family"].unique()}

    def both(self, by_family: list[Any], by_unit: list[Any]) -> list[Any]:
        """The tables by family and by unit; the latter alone where no family has two units, as both would be equal."""
        return [*by_family, *by_unit] if len(self.units) > len(self.families()) else by_unit

    def label(self, row: Any) -> dict[str, Any]:
        """The columns that identify a unit in a table."""
        return {name: getattr(row, name) for name in ("variant", "family", "task", "wiring_seed", "seed") if name in self.units}


def predict(
    run: Run | str | Path,
    files: Sequence[str | Path],
    family: str | None = None,
    seed: int | None = None,
    variant: int | None = None,
    task: str | None = None,
) -> Report:
    """Apply a run's trained networks to your own files.

    ================ ========================================== ====================================================================
    networks         files                                      results
    ================ ========================================== ====================================================================
    classifiers      images, see :func:`~datasets.read_images`  ``predictions.csv``: every class's probability by image and unit
    autoencoders     images                                     ``predictions.csv``: scores by image and unit; the reconstructed images
    reservoirs, RNNs CSV, a column per input, a row per step    ``predictions.csv``: outputs by step and unit
    reduced-order    CSV, a column per input neuron in pA       ``predictions.csv``: voltages in mV by time and unit
    ================ ========================================== ====================================================================

    Units whose training was stopped are left out. Nothing is written, see :func:`write_report`.

    Args:
        run: a finished run, or its folder.
        files: the files, at least one.
        family, seed, variant, task: which units, as in :meth:`Run.select`; by default all.

    Returns:
        tables, notes (among them how the images were converted), files and figures; ``files["predictions.csv"]`` is a data frame.

    Raises:
        FileNotFoundError: if there is no such run or file, or the run is not finished.
        ValueError: if the run trained no network, there is no such unit, or a file does not fit the networks' inputs.
    """
    run = run if isinstance(run, Run) else load_run(run)
    if not files:
        raise ValueError("files: expected at least one file, got none; name some")
    units = run.trained(family, seed, variant, task)
    with torch.inference_mode():
        report = _KINDS[run.study.predicts](_Used(run, run.networks(units), units, files))
    entitle(report, run.settings, units)
    if len(stopped := run.select(family, seed, variant, task).index.difference(units.index)):
        report.notes.append(f"Left out, as their training was stopped: units {', '.join(map(str, stopped))}.")
    return report


def write_report(report: Report, out: str | Path) -> list[Path]:
    """Write a report's files and figures (PNG and SVG) to a new or empty folder; returns the figures' PNG files.

    Raises:
        FileExistsError: if the folder is not empty.
        OSError: if it cannot be written.
    """
    out = check_out(out)
    for name, content in report.files.items():
        write_content(out / name, content)
    return [plots.save(figure, out / name)[0] for name, figure in report.figures.items()]


def check_out(out: str | Path) -> Path:
    """Return the path of a folder that is new or empty; raises ``FileExistsError`` if it is neither."""
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out: expected a new or empty folder, got '{out}'; give another folder")
    return out


def _classes(used: _Used) -> Report:
    """The probability of every class, for every image and unit."""
    images, classes = used.images()
    batches = (scale_pixels(part, precision_of(used.network)) for part in images.pixels.split(BATCH))
    shares = torch.cat([used.network(batch).double().softmax(dim=2) for batch in batches], dim=1).numpy()
    best, known = shares.argmax(axis=2), any(images.truth)
    rows, cells = [], []
    for number, name in enumerate(images.names):
        for place, unit in enumerate(used.units.itertuples()):
            own, first = shares[place, number], best[place, number]
            row = {"image": name, **used.label(unit), "class": classes[first], "probability": own[first]}
            row |= {"true": images.truth[number]} if known else {}
            rows.append(row | {f"p_{key}": share for key, share in zip(classes, own.tolist(), strict=True)})
            second = own.argsort()[-2]
            next_one = (classes[second], f"{100 * own[second]:.1f}")
            cells.append((name, str(unit.variant), unit.family, classes[first], f"{100 * own[first]:.1f}", *next_one))
    means = {family: shares[places].mean(axis=0) for family, places in used.families().items()}
    summary = []
    for number, name in enumerate(images.names):
        for family, places in used.families().items():
            mean = means[family][number]
            chosen = int(mean.argmax())
            agree = f"{int((best[places, number] == chosen).sum())} of {len(places)}"
            summary.append((name, family, classes[chosen], f"{100 * mean[chosen]:.1f}", agree))
    title = "Class by family, mean probability over its units"
    by_family = _shortened(title, ("image", "family", "class", "%", "units for it"), summary, 3)
    by_unit = _shortened("Class by unit", ("image", "unit", "family", "class", "%", "next", "next %"), cells, 4)
    notes = _changes(images)
    if known:
        right = np.array([[classes[found] == own for found, own in zip(row, images.truth, strict=True) if own] for row in best])
        notes += [
            f"{family}: {100 * right[places].mean():.1f} % right by the folders' names." for family, places in used.families().items()
        ]
    shown = {family: mean[:SHOWN] for family, mean in means.items()}
    figure = plots.classified(images.pixels[:SHOWN], images.names[:SHOWN], shown, classes)
    return Report(used.both(by_family, by_unit), notes, {"predictions.csv": pd.DataFrame(rows)}, {"predictions": figure})


def _reconstructions(used: _Used) -> Report:
    """Reconstructions by autoencoders, and their errors."""
    objective, (images, _) = Autoencoding(), used.images()
    precision = precision_of(used.network)
    target = objective.targets(images.pixels, precision)
    made = torch.cat([used.network(part).sigmoid() for part in target.split(BATCH)], dim=1).float()
    rows, files = [], dict[str, Any]()
    for number, name in enumerate(images.names):
        part = slice(number, number + 1)
        found = evaluate(used.network, images.pixels[part], torch.zeros(1), precision=precision, objective=objective)
        assert found is not None  # as nothing stops it
        for place, unit in enumerate(used.units.itertuples()):
            file = f"reconstructed/{number:04}-{Path(name).stem}-unit-{unit.variant}.png"
            rows.append({"image": name, **used.label(unit), **{key: own[place] for key, own in found.scores.items()}, "file": file})
            files[file] = _png(made[place, number])
    table = pd.DataFrame(rows)
    scores = list(objective.score_names)
    means = table.groupby(["image", "family"], sort=False)[scores].mean().reset_index()
    headings = ("pixel accuracy %", "pixel F1", "MSE", "SSIM")

    def cells(of: pd.DataFrame, *names: str) -> list[tuple[str, ...]]:
        numbers = [(f"{100 * row[0]:.2f}", *(f"{value:.4f}" for value in row[1:])) for row in of[scores].to_numpy()]
        return [(*map(str, words), *own) for words, own in zip(of[list(names)].to_numpy(), numbers, strict=True)]

    title, of_families = "Reconstruction by family, mean over its units", cells(means, "image", "family")
    by_family = _shortened(title, ("image", "family", *headings), of_families, 2)
    by_unit = _shortened("Reconstruction by unit", ("image", "unit", "family", *headings), cells(table, "image", "variant", "family"), 3)
    first = {family: made[places[0], :SHOWN] for family, places in used.families().items()}
    figures = {"predictions": plots.reconstructions(target[:SHOWN].float(), first)}
    notes = [
        *_changes(images),
        f"Binarised at {objective.threshold:g} of full brightness, as in training; figures show each family's first unit.",
    ]
    return Report(used.both(by_family, by_unit), notes, {"predictions.csv": table, **files}, figures)


def _outputs(used: _Used) -> Report:
    """Outputs of reservoirs with readouts, or of trained recurrent networks, at every step or after the last one."""
    tables, cells, figures = [], [], dict[str, Any]()
    for name, (columns, values) in used.sequences().items():
        if len(columns) != (wanted := used.network.in_features):
            got = f"{len(columns)} ({', '.join(columns)[:60]})"
            raise ValueError(f"sequence: expected {wanted} column(s) in {name}, one per input, got {got}; correct the columns")
        outputs = used.network(values[None])[:, 0].numpy()
        first = {family: outputs[places[0]] for family, places in used.families().items()}
        figures[f"outputs-{len(figures) + 1}-{Path(name).stem}"] = plots.sequence_outputs(values, columns, first)
        # Classifiers have one row of logits for the whole sequence, after its last step.
        whole = outputs.ndim == 2
        outputs = outputs[:, None] if whole else outputs
        names = [f"output_{number}" for number in range(1, outputs.shape[2] + 1)]
        for place, unit in enumerate(used.units.itertuples()):
            table = pd.DataFrame(outputs[place], columns=names)
            steps = range(len(values))[-len(table) :]
            for at, (key, value) in enumerate({"sequence": name, **used.label(unit), "step": steps}.items()):
                table.insert(at, key, value)
            tables.append(table)
            last = [f"{value:.4f}" for value in outputs[place, -1, :3]]
            cells.append((name, str(unit.variant), unit.family, f"{len(values):,}", *last))
    last_names = [f"last output_{number}" for number in range(1, min(outputs.shape[2], 3) + 1)]
    table = _shortened("Outputs of the readouts", ("sequence", "unit", "family", "steps", *last_names), cells, 3)
    start = "" if whole else " Every sequence starts from a network at rest, so ignore the first steps."
    notes = [f"The networks were trained on '{used.units['task'].iloc[0]}'.{start}"]
    return Report(table, notes, {"predictions.csv": pd.concat(tables, ignore_index=True)}, figures)


def _voltages(used: _Used) -> Report:
    """Voltages predicted by reduced-order models from currents."""
    folder = used.run.folder.shard(int(used.units["shard"].iloc[0]))
    dt_ms, model = float(folder.read_json("model.json")["notes"]["dt_ms"]), used.network
    tables, cells, figures = [], [], dict[str, Any]()
    notes = [f"Currents are in pA, one row every {dt_ms:g} ms, as in training; voltages in mV."]
    for name, (columns, values) in used.sequences().items():
        current = _currents(name, columns, values, model.input_names, dt_ms)
        if left := [neuron for neuron in model.input_names if neuron not in columns]:
            notes.append(f"{name} has no {', '.join(left)}: these neurons get no current.")
        time_ms, voltage = dt_ms * np.arange(1, len(current) + 1), model.predict_mV(current[None])[:, 0].numpy()
        for place, unit in enumerate(used.units.itertuples()):
            labels = {"currents": name, **used.label(unit), "time_ms": time_ms}
            tables.append(pd.DataFrame({**labels, **dict(zip(model.output_names, voltage[place].T, strict=True))}))
        for family, places in used.families().items():
            mean = voltage[places].mean(axis=0)
            for output, trace in zip(model.output_names, mean.T, strict=True):
                cells.append((name, family, output, *(f"{value:.2f}" for value in (trace[0], trace.min(), trace.max(), trace[-1]))))
        first = {family: voltage[places[:1]] for family, places in used.families().items()}
        shown, most = model.output_names[:SHOWN], {family: own[..., :SHOWN] for family, own in first.items()}
        drawn = plots.predicted_traces(time_ms, current[None].numpy(), None, most, model.input_names, shown, [name])
        figures[f"voltages-{len(figures) + 1}-{Path(name).stem}"] = drawn
    headings = ("currents", "family", "output", "first", "lowest", "highest", "last")
    table = _shortened("Voltages in mV, mean over the family's units", headings, cells, 3)
    return Report(table, notes, {"predictions.csv": pd.concat(tables, ignore_index=True)}, figures)


def _currents(name: str, columns: list[str], values: Tensor, inputs: list[str], dt_ms: float) -> Tensor:
    """Currents ``(T, I)`` in pA, in the model's order; raises ``ValueError`` for unknown neurons, or a time step other than the model's."""
    if "time_ms" in columns:
        steps = values[:, columns.index("time_ms")].diff()
        if len(steps) and not bool(((steps - dt_ms).abs() < 0.01 * dt_ms).all()):
            got = f"steps of {float(steps.min()):g} to {float(steps.max()):g} ms"
            raise ValueError(f"currents: expected a row every {dt_ms:g} ms in {name}, as in training, got {got}; resample them")
    if unknown := [column for column in columns if column not in (*inputs, "time_ms")]:
        raise ValueError(f"currents: {name} has a column {unknown[0]!r}, which is not an input; choose from {', '.join(inputs)}")
    current = torch.zeros(len(values), len(inputs))
    for place, neuron in enumerate(inputs):
        if neuron in columns:
            current[:, place] = values[:, columns.index(neuron)]
    return current


_KINDS: Mapping[str, Callable[[_Used], Report]] = {
    "classes": _classes,
    "reconstructions": _reconstructions,
    "outputs": _outputs,
    "voltages": _voltages,
}


def _shortened(title: str, headings: Sequence[str], cells: Sequence[Sequence[str]], left: int) -> list[Any]:
    shown = [[_short(cell) for cell in row] for row in cells[:ROWS]]
    more = [bullets([f"The first {ROWS} of {len(cells):,} rows; all are in predictions.csv."])] if len(cells) > ROWS else []
    return [make_table(title, headings, shown, left), *more]


def _short(cell: str, most: int = 24) -> str:
    return cell if len(cell) <= most else f"…{cell[1 - most :]}"


def _changes(images: OwnImages) -> list[str]:
    """How the images were converted: in one line if all were converted alike."""
    if len(set(images.changed)) == 1:
        what = images.names[0] if len(images.names) == 1 else f"All {len(images.names)} images"
        return [f"{what}: {images.changed[0]}."]
    lines = [f"{name}: {change}." for name, change in zip(images.names[:SHOWN], images.changed[:SHOWN], strict=True)]
    return lines + ([f"And {len(images.names) - SHOWN} more images, likewise."] if len(images.names) > SHOWN else [])


def _png(shares: Tensor) -> bytes:
    """Encode brightness from 0 to 1, ``(C, H, W)``, as PNG."""
    pixels, content = (255 * shares.nan_to_num()).round().byte().permute(1, 2, 0).numpy(), BytesIO()
    require("PIL.Image", "images", "writing images").fromarray(pixels.squeeze()).save(content, "PNG")
    return content.getvalue()
