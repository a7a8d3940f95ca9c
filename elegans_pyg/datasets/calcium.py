"""Calcium recordings of many neurons, in the layout of the homogenised collection of Simeon et al."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from elegans_pyg._arguments import shown
from elegans_pyg._files import check_file
from elegans_pyg.datasets.edge_tables import unreadable

_LIMIT = 2**36
_KEYS = ("source_dataset", "worm", "neuron", "is_labeled_neuron")


def load_calcium(path: str | Path, sources: Sequence[str] | None = None, original: bool = False) -> list[Data]:
    """Read calcium recordings, one ``Data`` per worm.

    The layout is that of Simeon et al. (2024), "Homogenized C. elegans Neural Activity and Connectivity Data", arXiv:2411.12091: a Parquet
    file with one row per neuron of each worm and the columns ``source_dataset``, ``worm``, ``neuron``, ``is_labeled_neuron``, and, as
    lists, ``calcium_data`` and ``time_in_seconds`` (resampled and normalised), and ``original_calcium_data`` and
    ``original_time_in_seconds`` (as recorded). Other columns are ignored.

    Args:
        path: the Parquet file.
        sources: names of the source data sets to read, such as ``["Kato2015"]``; by default all.
        original: read the traces as recorded instead of the resampled ones.

    Returns:
        Graphs without edges, in the order of the file: ``calcium (N, T)`` float32, ``time_seconds (T,)`` float32, ``labeled (N,)`` bool
            (whether the neuron was identified; otherwise its name is arbitrary), ``neuron_name``, ``source_dataset``, ``worm``.

    Raises:
        FileNotFoundError: if the file is missing.
        TypeError: if ``sources`` is a string.
        ValueError: if the file is not Parquet, or lacks a column or a value of the first four; if no row is from ``sources``; if a worm's
            traces differ in length from its times or are not finite, a neuron is listed twice, or the times do not increase or differ
            between neurons.
    """
    from pyarrow import parquet

    if isinstance(sources, str):
        raise TypeError(f"sources: expected a list of names, got {sources!r}; give [{sources!r}]")
    trace, time = (f"{'original_' * original}{name}" for name in ("calcium_data", "time_in_seconds"))
    file = check_file(path, "path", _LIMIT)
    try:
        there = parquet.read_schema(file).names
    # pyarrow raises many kinds of errors for damaged files.
    except Exception as error:
        raise unreadable(file, "a Parquet file", error) from error
    if missing := [name for name in (*_KEYS, trace, time) if name not in there]:
        raise ValueError(f"{path}: expected the column {missing[0]}, got {', '.join(there)}; see the layout in load_calcium")
    chosen = None if sources is None else [("source_dataset", "in", list(sources))]
    table = parquet.read_table(file, columns=[*_KEYS, trace, time], filters=chosen).to_pandas()
    if table.empty:
        wanted = "rows" if sources is None else f"rows of {', '.join(sources)}"
        raise ValueError(f"{path}: expected {wanted}, got none; give other sources")
    # Grouping would drop rows without a source or worm.
    if empty := [name for name in _KEYS if table[name].isna().any()]:
        raise ValueError(f"{path}: expected {empty[0]} in every row, got an empty cell; fill it or leave the row out")
    return [
        _recording(f"{path}, {source}, {worm}", rows, trace, time, {"source_dataset": str(source), "worm": str(worm)})
        for (source, worm), rows in table.groupby(["source_dataset", "worm"], sort=False)
    ]


def _recording(place: str, rows: pd.DataFrame, trace: str, time: str, origin: dict[str, str]) -> Data:
    if rows[[trace, time]].isna().any(axis=None):
        raise ValueError(f"{place}: expected lists in {trace} and {time}, got an empty cell; leave this recording out")
    seconds, names = np.asarray(rows[time].iloc[0], dtype=np.float32), rows["neuron"].astype(str).tolist()
    if not all(np.array_equal(own, rows[time].iloc[0]) for own in rows[time]):
        raise ValueError(f"{place}: expected the same {time} for all neurons, got others; leave this recording out")
    if lengths := {len(values) for values in rows[trace]} - {len(seconds)}:
        raise ValueError(
            f"{place}: expected {trace} with {len(seconds)} values, one for each of {time}, got {min(lengths)}; correct the file"
        )
    calcium = np.stack(rows[trace].to_list()).astype(np.float32)
    if not (np.isfinite(calcium).all() and np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
        raise ValueError(f"{place}: expected finite traces and increasing times, got others; leave this recording out")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{place}: expected each neuron once, got {shown(twice)} again; leave one out")
    return Data(
        calcium=torch.from_numpy(calcium),
        time_seconds=torch.from_numpy(seconds.copy()),
        labeled=torch.tensor(rows["is_labeled_neuron"].to_numpy(dtype=bool)),
        neuron_name=names,
        num_nodes=len(names),
        **origin,
    )
