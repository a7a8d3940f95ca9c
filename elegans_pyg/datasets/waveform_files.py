"""Files of waveforms as Barbulescu et al. (2023) published theirs: numbers in columns."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

_LARGEST = 1e30
"""What is in V here still is a float32 number in mV."""


def read_waveform(path: Path, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """One stimulus: rows of number, time in s, ``outputs`` voltages in V and ``inputs`` currents, separated by white space.

    Returns:
        time in ms ``(T,)``, voltages in mV ``(T, O)``, currents as they are ``(T, I)``, all float64

    Raises:
        ValueError: naming file and line, for a file that is empty or has one row, a row with another number of columns, what is no number
            or not finite, rows out of order, or steps of time that are not equal and forward.
        OSError: if the file cannot be read.
    """
    columns = 2 + outputs + inputs
    rows: list[list[float]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text, got bytes that are none (byte {error.start}); give a file of numbers") from error
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != columns:
            raise ValueError(
                f"{path}, line {number}: expected {columns} columns (number, time, {outputs} voltages, {inputs} currents), got"
                f" {len(fields)}; name as many neurons as the file has, or mend the line"
            )
        try:
            # Python would take 7_5 for 75.
            values = [float(field.replace("_", "?")) for field in fields]
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: expected numbers, got {line.strip()[:60]!r}; mend the line") from error
        if not all(math.isfinite(value) and abs(value) < _LARGEST for value in values):
            got = line.strip()[:60]
            raise ValueError(f"{path}, line {number}: expected finite numbers below {_LARGEST:g}, got {got!r}; leave out this file")
        if rows and values[0] != rows[-1][0] + 1:
            raise ValueError(
                f"{path}, line {number}: expected row number {rows[-1][0] + 1:g}, got {values[0]:g}; a row is missing before it"
            )
        rows.append(values)
    if len(rows) < 2:
        raise ValueError(f"{path}, line {len(rows) + 1}: expected two rows or more, got {len(rows)}; the file is cut short")
    table = torch.tensor(rows, dtype=torch.float64)
    time = table[:, 1] * 1000
    steps = time.diff()
    # Times are written with few digits, so that steps differ by a little.
    uneven = ((steps - steps.median()).abs() > 0.01 * steps.median().abs()) | (steps <= 0)
    if bool(uneven.any()):
        line_number = int(uneven.nonzero()[0]) + 2
        raise ValueError(
            f"{path}, line {line_number}: expected equal steps of {float(steps.median()):g} ms, got one of"
            f" {float(steps[line_number - 2]):g} ms; a row is missing or out of order"
        )
    return time, table[:, 2 : 2 + outputs] * 1000, table[:, 2 + outputs :]
