"""Waveforms for reduced-order models: currents into a few neurons and voltages of a few others, simulated or from files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from elegans_pyg._arguments import check_choice, check_seed, check_whole, shown
from elegans_pyg._files import read_text, sha256
from elegans_pyg._tensor_files import read_tensors, write_tensors
from elegans_pyg.datasets.graph_cache import hash_graph
from elegans_pyg.datasets.wiring_tables import number_of, read_table
from elegans_pyg.dynamics.scenarios import SCENARIOS, Scenario
from elegans_pyg.dynamics.simulate import simulate
from elegans_pyg.dynamics.stimuli import stimuli
from elegans_pyg.dynamics.worm import Worm

DURATION_MS = 500.0
STEP_MS = 0.05
REST_MS = 200.0
KINDS_OF_SPLIT = {"train": ("step", "ramp", "pulse train", "sum"), "validation": ("pulse", "sine"), "test": ("chirp", "noise")}
"""Kinds of stimulus in each split: no kind is in two of them."""
_FORMAT = 3
# A larger voltage in V, converted to mV, would not fit float32.
_LARGEST_V = 1e30


class Waveforms:
    """Simulated currents and voltages of one scenario, in three splits with different kinds of stimulus.

    After Barbulescu et al. (2023), doi:10.1038/s41598-022-25421-w: 40 stimuli of 500 ms, sampled every 0.5 or 0.1 ms, 50 % of them for
    training, 25 % for validation and 25 % for the test. Theirs were separated by hand; here the splits have different kinds of shape
    (:data:`KINDS_OF_SPLIT`). The network is simulated in steps of 0.05 ms. It starts out of equilibrium, so 200 ms of rest come first, not
    part of the waveforms. Sample ``t`` has the mean current from ``t dt_ms`` to ``(t + 1) dt_ms`` and the voltage at the end.

    Args:
        scenario: name, see :data:`~elegans_pyg.dynamics.scenarios.SCENARIOS`.
        dt_ms: time between samples, a multiple of 0.05 ms that divides 500 ms.
        count, seed: number of stimuli, at least 4, and their seed, at least 0.
        amplitude_pA, outputs: largest current and recorded neurons, instead of the scenario's.
        worm: the nervous system; ``None`` for ``Worm("c302-C1")``.
        root: folder to keep the result in, in one file per choice of arguments; ``None`` keeps nothing.
        quiet: show no progress on standard error.

    Attributes:
        current_pA: ``(S, T, I)`` float32; ``voltage_mV``: ``(S, T, O)`` float32; ``time_ms``: ``(T,)``.
        input_names, output_names: the neurons; ``scenario``, ``dt_ms``: as given.
        kind, split: of each stimulus; a split is ``"train"``, ``"validation"`` or ``"test"``.

    Raises:
        ValueError: for an unknown scenario, a number out of range, a voltage that is not finite, or a file in ``root`` that is damaged.
        OSError: if ``root`` cannot be read or written.
    """

    def __init__(
        self,
        scenario: str = "fcm",
        dt_ms: float = 0.5,
        count: int = 40,
        seed: int = 0,
        amplitude_pA: float | None = None,
        outputs: Sequence[str] | None = None,
        worm: Worm | None = None,
        root: str | Path | None = None,
        quiet: bool = False,
    ) -> None:
        check_choice("scenario", scenario, SCENARIOS)
        chosen = SCENARIOS[scenario]
        every, samples = count_samples(dt_ms)
        check_whole("count", count, 4)  # each split needs a stimulus
        self.scenario, self.dt_ms = scenario, dt_ms
        self.input_names, self.output_names = chosen.input_names, list(chosen.outputs if outputs is None else outputs)
        self.split = _split(count, (count - count // 2) // 2)
        self.kind = [kinds[k % len(kinds)] for split, kinds in KINDS_OF_SPLIT.items() for k in range(self.split.count(split))]
        amplitude = chosen.amplitude_pA if amplitude_pA is None else amplitude_pA
        current = stimuli(chosen.groups, self.kind, STEP_MS, DURATION_MS, amplitude, check_seed(seed)).current_pA
        tensors = _simulated(chosen, self.output_names, current, every, worm or Worm("c302-C1"), root, quiet)
        self.current_pA, self.voltage_mV = tensors["current_pA"], tensors["voltage_mV"]
        self.time_ms = torch.arange(1, samples + 1, dtype=torch.float64) * dt_ms

    @classmethod
    def _of(cls, **parts: Any) -> Waveforms:
        made = cls.__new__(cls)
        made.__dict__.update(parts)
        return made

    @classmethod
    def from_files(
        cls, files: Sequence[str | Path], inputs: Sequence[str], outputs: Sequence[str], split: Sequence[str] | None = None
    ) -> Waveforms:
        """Read waveforms from files, such as the authors' (github.com/gmestre98/Celegans-ForwardCrawling-RNNs, ``Dataset1``, ``Dataset2``).

        Each file holds one stimulus, one row per sample, separated by white space: number, time in s, voltages in V, currents. (The paper
        does not name the unit of the authors' currents; they are taken as pA.)

        Args:
            files: one per stimulus.
            inputs, outputs: neurons that the currents flow into, and those of the voltages, in the order of the columns.
            split: of each file, one of ``"train"``, ``"validation"``, ``"test"``; ``None`` for the first half, a quarter and a quarter.

        Raises:
            ValueError: naming file and line, for a file that is empty, ragged, not numeric, not finite or not in equal steps of time; if
                the files differ in length or step; or if ``split`` does not fit.
            OSError: if a file cannot be read.
        """
        for name, neurons in (("inputs", inputs), ("outputs", outputs)):
            if isinstance(neurons, str):
                raise TypeError(f"{name}: expected a list of neurons, got the string {neurons!r}; write [{neurons!r}]")
            if not neurons or len(set(neurons)) < len(neurons) or not all(neuron.strip() == neuron != "" for neuron in neurons):
                raise ValueError(f"{name}: expected one name or more, each once, got {', '.join(map(repr, neurons))}; name each column")
        paths = [Path(file) for file in files]
        if len(paths) < 3:
            raise ValueError(f"files: expected 3 or more, one at least for each split, got {len(paths)}; give more")
        read = [read_waveform(path, len(inputs), len(outputs)) for path in paths]
        first = read[0][0]
        for path, (time, _, _) in zip(paths, read, strict=True):
            if len(time) != len(first) or not torch.allclose(time - time[0], first - first[0], atol=1e-6):
                wanted, got = f"the {len(first)} samples of {paths[0].name} at its times", f"{len(time)} from {time[0]} to {time[-1]} ms"
                raise ValueError(f"{path}: expected {wanted}, got {got}; read files of one data set")
        chosen = _split(len(paths), (len(paths) - len(paths) // 2 + 1) // 2) if split is None else list(split)
        if len(chosen) != len(paths) or set(chosen) != set(KINDS_OF_SPLIT):
            wanted = f"{', '.join(KINDS_OF_SPLIT)} for {len(paths)} files, each at least once"
            got = f"{len(chosen)} with {', '.join(sorted(set(chosen))) or 'none'}"
            raise ValueError(f"split: expected {wanted}, got {got}; name one split for each file")
        dt_ms = float(first[-1] - first[0]) / (len(first) - 1)
        voltage, current = (torch.stack([part[k] for part in read]).float() for k in (1, 2))
        names = {"input_names": list(inputs), "output_names": list(outputs), "split": chosen, "kind": [path.name for path in paths]}
        return cls._of(scenario="files", time_ms=first, dt_ms=dt_ms, voltage_mV=voltage, current_pA=current, **names)

    def __len__(self) -> int:
        return len(self.split)

    def indices(self, split: str) -> list[int]:
        """Positions of a split's stimuli."""
        check_choice("split", split, KINDS_OF_SPLIT)
        return [number for number, name in enumerate(self.split) if name == split]

    def scaling(self) -> tuple[Tensor, Tensor, Tensor]:
        """``input_scale (I,)`` in pA, ``output_zero (O,)`` and ``output_scale (O,)`` in mV, from the training set.

        All inputs have one scale, with which the currents of a sample, as a vector, have a length of at most 1. All outputs have one scale
        too, since all of the paper's have one unit: each starts from 0 and the widest goes up to 1, so that a scaled RMSE of 0.01 is one
        percent of the widest output's range. The scale of what never moves is 1.
        """
        rows = self.indices("train")
        longest, widest = self.current_pA[rows].norm(dim=2).max(), self.ranges_mV().max()
        inputs, outputs = (torch.where(scale > 0, scale, torch.ones(())) for scale in (longest, widest))
        low = self.voltage_mV[rows].amin((0, 1))
        return inputs.repeat(len(self.input_names)), low, outputs.repeat(len(low))

    def ranges_mV(self) -> Tensor:
        """How far each output moves in the training set, ``(O,)``."""
        voltage = self.voltage_mV[self.indices("train")].flatten(0, 1)
        return voltage.amax(0) - voltage.amin(0)

    def scaled(self, split: str) -> tuple[Tensor, Tensor]:
        """Scaled currents ``(S, T, I)`` and voltages ``(S, T, O)`` of a split, by the training set's :meth:`scaling`."""
        rows = self.indices(split)
        inputs, zero, scale = self.scaling()
        return self.current_pA[rows] / inputs, (self.voltage_mV[rows] - zero) / scale

    def without_inputs(self, *names: str) -> Waveforms:
        """The same waveforms without the currents into some neurons; their effect on the voltages remains."""
        for name in names:
            check_choice("names", name, self.input_names)
        kept = [k for k, name in enumerate(self.input_names) if name not in names]
        if not kept:
            raise ValueError("names: expected at least one input to be left, got all of them; leave one")
        changes = {"current_pA": self.current_pA[..., kept], "input_names": [self.input_names[k] for k in kept]}
        return Waveforms._of(**vars(self) | changes)

    def joined(self, other: Waveforms) -> Waveforms:
        """Join the stimuli of two waveforms, with the inputs of both: neurons that a stimulus does not drive get a current of 0.

        Raises ``ValueError`` if the two have different samples or outputs.
        """
        if not torch.equal(self.time_ms, other.time_ms) or self.output_names != other.output_names:
            wanted = f"the samples and the {len(self.output_names)} outputs of {self.scenario!r}"
            raise ValueError(f"other: expected {wanted}, got another dt_ms or other outputs; make both with the same dt_ms and outputs")
        names = list(dict.fromkeys([*self.input_names, *other.input_names]))
        currents = []
        for part in (self, other):
            currents.append(torch.zeros(*part.current_pA.shape[:2], len(names)))
            currents[-1][..., [names.index(name) for name in part.input_names]] = part.current_pA
        changes = {"scenario": f"{self.scenario}+{other.scenario}", "input_names": names, "current_pA": torch.cat(currents)}
        changes |= {"voltage_mV": torch.cat([self.voltage_mV, other.voltage_mV])}
        return Waveforms._of(**vars(self) | changes | {name: getattr(self, name) + getattr(other, name) for name in ("kind", "split")})

    def __repr__(self) -> str:
        sizes = f"{len(self.time_ms)} samples, {len(self.input_names)} inputs, {len(self.output_names)} outputs"
        return f"Waveforms('{self.scenario}', {len(self)} stimuli of {sizes})"


def count_samples(dt_ms: float) -> tuple[int, int]:
    """Steps of the simulation between two samples, and samples per stimulus; raises ``ValueError`` if either is not a whole number."""
    every, samples = (round(dt_ms / STEP_MS), round(DURATION_MS / dt_ms)) if 0 < dt_ms < math.inf else (0, 0)
    if every < 1 or not math.isclose(every * STEP_MS, dt_ms) or not math.isclose(samples * dt_ms, DURATION_MS):
        raise ValueError(f"dt_ms: expected a multiple of {STEP_MS} ms that divides {DURATION_MS:.0f} ms, got {dt_ms}; take 0.5 or 0.1")
    return every, samples


def _split(count: int, validation: int) -> list[str]:
    """The split of each stimulus: the first half for training, then ``validation`` of them, and the rest for the test."""
    train = count // 2
    return ["train"] * train + ["validation"] * validation + ["test"] * (count - train - validation)


def _simulated(
    scenario: Scenario, outputs: list[str], current: Tensor, every: int, worm: Worm, root: str | Path | None, quiet: bool
) -> dict[str, Tensor]:
    """Simulate, or read an earlier simulation."""
    description = {"format": _FORMAT, "scenario": asdict(scenario), "outputs": outputs, "dt_ms": every * STEP_MS}
    description |= {"current": sha256(current.numpy().tobytes()), "worm": hash_graph(worm.data), "membrane": asdict(worm.membrane)}
    description |= {"compartments": worm.compartments}
    key = sha256(json.dumps(description, sort_keys=True).encode())[:16]
    path = None if root is None else Path(root).expanduser() / f"waveforms-{scenario.name}-{every * STEP_MS:g}ms-{key}.safetensors"
    if path is not None and path.is_file():
        try:
            tensors, stored = read_tensors(path)
            if stored != key:
                raise ValueError("it holds other waveforms")
        except ValueError as error:
            raise ValueError(f"root: {path} is damaged ({error}); delete it, and it is simulated again") from error
        return tensors
    doing = f"Simulating {len(current)} stimuli of scenario {scenario.name}"
    with Console(stderr=True, quiet=quiet or not sys.stderr.isatty()).status(doing):
        tensors = _simulate(scenario, outputs, current, every, worm)
    if path is not None:
        write_tensors(path, tensors, key)
    return tensors


def _simulate(scenario: Scenario, outputs: list[str], current: Tensor, every: int, worm: Worm) -> dict[str, Tensor]:
    resting = current.new_zeros(len(current), round(REST_MS / STEP_MS), current.size(2))
    whole, duration = torch.cat([resting, current], dim=1), REST_MS + DURATION_MS
    _, voltage = simulate(worm, whole, scenario.input_names, STEP_MS, duration, record=outputs, ablate=scenario.ablate)
    voltage = voltage[:, resting.size(1) :]
    bad = (~voltage.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        got = f"others in stimuli {bad} of up to {float(current.max()):g} pA"
        raise ValueError(f"amplitude_pA: expected finite voltages, got {got}; take less")
    sampled = {"current_pA": current.unflatten(1, (-1, every)).mean(2), "voltage_mV": voltage[:, every - 1 :: every]}
    return {name: values.float().contiguous() for name, values in sampled.items()}


def read_currents(path: str | Path, dtype: torch.dtype = torch.float32) -> tuple[list[str], Tensor]:
    """Names of the ``I`` inputs and currents in pA ``(T, I)`` from a CSV file with a column per input and a row per step; raises
    ``ValueError`` with file and line if it is not such a table, ``FileNotFoundError`` if it is missing."""
    table = read_table(path, (), "currents")
    places = table.pop("place")
    rows = [[number_of(cell, place) for cell in row] for row, place in zip(table.to_numpy().tolist(), places, strict=True)]
    return list(table.columns), torch.tensor(rows, dtype=dtype)


def read_waveform(path: str | Path, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Read one stimulus: rows of number, time in s, ``outputs`` voltages in V and ``inputs`` currents, separated by white space.

    Returns time in ms ``(T,)``, voltages in mV ``(T, O)`` and currents as they are ``(T, I)``, all float64. Raises ``ValueError`` with file
    and line for fewer than two rows, ragged rows, numbers that are not finite, rows out of order, and unequal or backward steps of time.
    """
    columns = 2 + outputs + inputs
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path, "files").rstrip().split("\n"), start=1):
        place, fields = f"{path}, line {number}", line.split()
        if len(fields) != columns:
            wanted = f"{columns} columns (number, time, {outputs} voltages, {inputs} currents)"
            remedy = "name as many neurons as the file has, or correct the line"
            raise ValueError(f"{place}: expected {wanted}, got {len(fields)}; {remedy}")
        values = [number_of(field, place, -_LARGEST_V, _LARGEST_V) for field in fields]
        if rows and values[0] != rows[-1][0] + 1:
            raise ValueError(f"{place}: expected row number {rows[-1][0] + 1:g}, got {shown(values[0])}; a row is missing before it")
        rows.append(values)
    if len(rows) < 2:
        raise ValueError(f"{path}, line {len(rows) + 1}: expected two rows or more, got {len(rows)}; the file is cut short")
    table = torch.tensor(rows, dtype=torch.float64)
    time = table[:, 1] * 1000
    steps = time.diff()
    # Times are written with few digits, so steps differ slightly.
    uneven = ((steps - steps.median()).abs() > 0.01 * steps.median().abs()) | (steps <= 0)
    if bool(uneven.any()):
        row = int(uneven.nonzero()[0])
        wanted, got = f"equal steps of {float(steps.median()):g} ms", f"one of {float(steps[row]):g} ms"
        raise ValueError(f"{path}, line {row + 2}: expected {wanted}, got {got}; a row is missing or out of order")
    return time, table[:, 2 : 2 + outputs] * 1000, table[:, 2 + outputs :]
