"""Checked tables: neurons and edges as text, each row with its place, made into a ``Data``.

Whatever is wrong is refused here, in one line that names the place and the remedy.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from elegans_pyg._arguments import check_choice, shown
from elegans_pyg._files import read_text
from elegans_pyg.wirings import ELECTRICAL, NEURON_TYPES, SYNAPSES

EDGE_COLUMNS = ("pre", "post", "weight", "synapse")
NEURON_COLUMNS = ("name", "type")

SYNAPSE_WORDS = {"chemical": 0, "c": 0, "electrical": 1, "e": 1}
_SYNONYMS = {
    "sensory": ("s", "sensor", "sensory neuron"),
    "inter": ("i", "in", "interneuron"),
    "motor": ("m", "mn", "motoneuron", "motor neuron"),
    "pharyngeal": ("pharynx",),
    "sex-specific": ("sex specific",),
}
_TYPE_WORDS = {word: number for number, name in enumerate(NEURON_TYPES) for word in (name, *_SYNONYMS.get(name, ()))}
_FLOAT32 = np.finfo(np.float32)


def read_table(path: str | Path, required: Sequence[str], what: str) -> pd.DataFrame:
    """The CSV table in ``path`` as text, with each row's ``place``; columns beside those ``required`` are kept.

    Raises:
        FileNotFoundError: if the file is missing; the message names it by the argument ``what``.
        ValueError: if it is no CSV file in UTF-8, is empty, or lacks a column.
    """
    # pandas' own reader would forget the line numbers and turn a neuron ``NA`` into NaN.
    reader = csv.reader(io.StringIO(read_text(path, what), newline=""), strict=True, skipinitialspace=True)
    columns: list[str] = []
    records: list[list[str]] = []
    try:
        for cells in reader:
            fields = [cell.strip() for cell in cells]
            place = f"{path}, line {reader.line_num}"
            if not any(fields):
                continue
            if columns:
                if len(fields) != len(columns):
                    raise ValueError(f"{place}: expected {len(columns)} fields as in the first line, got {len(fields)}; correct the line")
                records.append([*fields, place])
                continue
            columns, got = fields, shown(",".join(fields))
            if missing := [column for column in required if column not in columns]:
                raise ValueError(f"{place}: expected the columns {','.join(required)}, got {got}; add '{missing[0]}'")
            if len(set(columns)) < len(columns) or "place" in columns:
                raise ValueError(f"{place}: expected column names that differ from each other and from 'place', got {got}; rename them")
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: expected CSV, got a broken line ({error}); correct its quotes") from None
    if not records:
        raise ValueError(f"{path}: expected lines after the first, got none; fill the file or give another")
    return pd.DataFrame(records, columns=[*columns, "place"])


read_edges = partial(read_table, required=EDGE_COLUMNS, what="source")
read_neurons = partial(read_table, required=NEURON_COLUMNS, what="neurons")


def build_data(neurons: pd.DataFrame, edges: pd.DataFrame, *, synapses: str = "both", keep_isolated: bool = False) -> Data:
    """Make a connectome's ``Data`` of its neurons and edges. Both tables may have a column ``place``, which errors quote.

    Args:
        neurons: columns ``name``, ``type`` (one of ``NEURON_TYPES``, or ``S``, ``sensor``, ``interneuron``, ... for the first three), and
            if known ``neurotransmitter``: a neuron whose first one is GABA is inhibitory.
        edges: columns ``pre``, ``post``, ``weight`` (> 0), ``synapse``.
        synapses: which to keep: ``"chemical"``, ``"electrical"`` or ``"both"``.
        keep_isolated: keep neurons that have none of these synapses. A synapse onto itself saves a neuron from removal.

    Returns:
        ``x (N, 6)`` float32 one-hot type, ``edge_index (2, E)``, ``edge_weight (E,)`` float32, ``edge_type (E,)`` int64 (0 chemical,
        1 electrical), ``neuron_type (N,)`` int64, ``neuron_name`` list of str, ``inhibitory (N,)`` bool. Neurons in the order of
        their table, edges sorted by (source, target, type), electrical ones in both directions.

    Raises:
        ValueError: if a neuron has no name, no type of the known ones, or is listed twice; if an edge has a neuron that is not listed, an
            unknown synapse, a weight that is not a finite number above 0, or is listed twice; if no edge is left.
    """
    check_choice("synapses", synapses, (*SYNAPSES, "both"))
    names, types, inhibitory = _check_neurons(neurons)
    weights = _check_edges(edges, {name: number for number, name in enumerate(names)})
    for (pre, post, kind), weight in list(weights.items()):
        if kind == ELECTRICAL:
            weights.setdefault((post, pre, kind), weight)
    chosen = sorted(key for key in weights if synapses in ("both", SYNAPSES[key[2]]))
    if not chosen:
        raise ValueError(f"edges: expected synapses of the kind '{synapses}', got none; add some or choose another kind")
    columns = torch.tensor(chosen, dtype=torch.int64).T
    kept = torch.arange(len(names)) if keep_isolated else columns[:2].unique()
    neuron_type = torch.tensor(types, dtype=torch.int64)[kept]
    return Data(
        x=torch.nn.functional.one_hot(neuron_type, len(NEURON_TYPES)).to(torch.float32),
        edge_index=torch.searchsorted(kept, columns[:2].contiguous()),
        edge_weight=torch.tensor([weights[key] for key in chosen], dtype=torch.float32),
        edge_type=columns[2].clone(),
        neuron_type=neuron_type,
        neuron_name=[names[row] for row in kept],
        inhibitory=torch.tensor(inhibitory, dtype=torch.bool)[kept],
    )


def _check_neurons(neurons: pd.DataFrame) -> tuple[list[str], list[int], list[bool]]:
    """Name, type and sign of every neuron."""
    places: dict[str, str] = {}
    types: list[int] = []
    inhibitory: list[bool] = []
    for row, place in rows_of(neurons, "neurons"):
        name, word = text_of(row["name"]), text_of(row["type"])
        if not name or not name.isprintable():
            got = shown(name) if name else "nothing"
            raise ValueError(f"{place}: expected a neuron's name, of printable characters, got {got}; name it")
        if name in places:
            raise ValueError(f"{place}: expected each neuron once, got {shown(name)} again, after {places[name]}; remove one of them")
        if word.lower() not in _TYPE_WORDS:
            got = f"{shown(word)} for neuron {shown(name)}"
            raise ValueError(f"{place}: expected a type of {', '.join(NEURON_TYPES)}, got {got}; correct it")
        places[name] = place
        types.append(_TYPE_WORDS[word.lower()])
        # Only what a neuron mainly releases: many take up, or may also release, a little GABA.
        principal = re.split(r"[,;/+&|]", text_of(row.get("neurotransmitter")))[0]
        inhibitory.append(principal.strip().upper() == "GABA")
    return list(places), types, inhibitory


def _check_edges(edges: pd.DataFrame, number: dict[str, int]) -> dict[tuple[int, int, int], float]:
    """Weight of every (source, target, type)."""
    weights: dict[tuple[int, int, int], float] = {}
    places: dict[tuple[int, int, int], str] = {}
    for row, place in rows_of(edges, "edges"):
        pre, post, word = (text_of(row[column]) for column in ("pre", "post", "synapse"))
        for column, name in (("pre", pre), ("post", post)):
            if not name:
                raise ValueError(f"{place}: expected a neuron's name in {column}, got nothing; fill it in or remove the edge")
            if name not in number:
                raise ValueError(f"{place}: expected a listed neuron, got {shown(name)}; add it to the neurons or remove the edge")
        if word.lower() not in SYNAPSE_WORDS:
            raise ValueError(f"{place}: expected the synapse to be {' or '.join(SYNAPSES)}, got {shown(word)}; correct it")
        key = number[pre], number[post], SYNAPSE_WORDS[word.lower()]
        if key in weights:
            edge = f"{SYNAPSES[key[2]]} edge {shown(pre)} to {shown(post)}"
            raise ValueError(f"{place}: expected each edge once, got the {edge} again, after {places[key]}; join or remove them")
        weights[key] = number_of(row["weight"], place, float(_FLOAT32.smallest_subnormal), wanted="a weight above 0")
        places[key] = place
    return weights


def number_of(
    value: Any, place: str, low: float = -float(_FLOAT32.max), high: float = float(_FLOAT32.max), wanted: str = "a number"
) -> float:
    """A number in a file or a graph, at least ``low`` and at most ``high``."""
    try:
        # `float` would read True as 1 and "1_0" as 10.
        number = math.nan if isinstance(value, bool | np.bool_) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise ValueError(f"{place}: expected {wanted}, finite in float32, got {shown(value)}; correct or remove it")
    return number


def text_of(value: Any) -> str:
    """``value`` without surrounding blanks; nothing for the missing values of pandas."""
    return "" if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else str(value).strip()


def rows_of(table: pd.DataFrame, what: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row of a table and its place."""
    for position, row in enumerate(table.to_dict("records")):
        yield row, row.get("place") or f"{what}, row {position}"
