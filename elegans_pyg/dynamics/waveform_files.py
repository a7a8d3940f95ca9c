"""Files of currents and voltages: waveforms as Barbulescu et al. (2023) published theirs, and currents to simulate with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from elegans_pyg._arguments import shown
from elegans_pyg._files import read_text
from elegans_pyg.datasets.wiring_tables import number_of, read_table

_LARGEST = 1e30
"""What is in V here still is a float32 number in mV."""


def read_currents(path: str | Path) -> tuple[list[str], Tensor]:
    """Names of the ``I`` inputs and currents in pA ``(T, I)``, float32, of a CSV file with a column an input and a row a step.

    Raises:
        ValueError: naming file and line, for a file that is no such table.
        FileNotFoundError: if it is missing.
    """
    table = read_table(path, (), "currents")
    places = table.pop("place")
    rows = [[number_of(cell, place) for cell in row] for row, place in zip(table.to_numpy().tolist(), places, strict=True)]
    return list(table.columns), torch.tensor(rows, dtype=torch.float32)


def read_waveform(path: str | Path, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """One stimulus: rows of number, time in s, ``outputs`` voltages in V and ``inputs`` currents, separated by white space.

    Returns:
        time in ms ``(T,)``, voltages in mV ``(T, O)``, currents as they are ``(T, I)``, all float64

    Raises:
        ValueError: naming file and line, for a file that is empty or has one row, a row with another number of columns, what is no number
            or not finite, rows out of order, or steps of time that are not equal and forward.
        FileNotFoundError: if it is missing.
    """
    columns = 2 + outputs + inputs
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path, "files").rstrip().split("\n"), start=1):
        place, fields = f"{path}, line {number}", line.split()
        if len(fields) != columns:
            raise ValueError(
                f"{place}: expected {columns} columns (number, time, {outputs} voltages, {inputs} currents), got {len(fields)};"
                " name as many neurons as the file has, or mend the line"
            )
        values = [number_of(field, place, -_LARGEST, _LARGEST) for field in fields]
        if rows and values[0] != rows[-1][0] + 1:
            raise ValueError(f"{place}: expected row number {rows[-1][0] + 1:g}, got {shown(values[0])}; a row is missing before it")
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
