"""Checked tables of a wiring, neurons and edges, and the ``Data`` built from them.

Both tables hold text, and their column ``place`` gives the source of each row. Invalid values raise here, in one line that names the place
and the remedy.
"""

import copy
import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from elegans_pyg._arguments import check_choice, shown
from elegans_pyg._files import read_text
from elegans_pyg.wirings import ELECTRICAL, INTER, MOTOR, NEURON_TYPES, SENSORY, SYNAPSES, as_wiring, roles

EDGE_COLUMNS = ("pre", "post", "weight", "synapse")
NEURON_COLUMNS = ("name", "type")

SYNAPSE_WORDS = {"chemical": 0, "c": 0, "electrical": 1, "e": 1, "extrasynaptic": 2}
_SYNONYMS = {
    "sensory": ("s", "sensor", "sensory neuron"),
    "inter": ("i", "in", "interneuron"),
    "motor": ("m", "mn", "motoneuron", "motor neuron"),
    "pharyngeal": ("pharynx",),
    "sex-specific": ("sex specific",),
}
TYPE_WORDS = {word: number for number, name in enumerate(NEURON_TYPES) for word in (name, *_SYNONYMS.get(name, ()))}
_FLOAT32 = np.finfo(np.float32)
_OTHER = NEURON_TYPES.index("other")


def read_table(path: str | Path, required: Sequence[str], what: str) -> pd.DataFrame:
    """Read the CSV table in ``path`` as text, with each row's ``place``; other columns than those ``required`` are kept.

    Raises:
        FileNotFoundError: if the file is missing; the message names the argument ``what``.
        ValueError: if it is not a CSV file in UTF-8, is empty, or lacks a column.
    """
    rows, places = split_lines(path, io.StringIO(read_text(path, what), newline=""))
    columns, got = rows[0], shown(",".join(rows[0]))
    if missing := [column for column in required if column not in columns]:
        raise ValueError(f"{places[0]}: expected the columns {','.join(required)}, got {got}; add '{missing[0]}'")
    if len(set(columns)) < len(columns) or "place" in columns:
        raise ValueError(f"{places[0]}: expected column names that differ from each other and from 'place', got {got}; rename them")
    if len(rows) == 1:
        raise ValueError(f"{path}: expected lines after the first, got none; fill the file or give another")
    check_fields(rows, places, len(columns))
    return pd.DataFrame(rows[1:], columns=columns).assign(place=places[1:])


def split_lines(path: str | Path, lines: Iterable[str], delimiter: str = ",") -> tuple[list[list[str]], list[str]]:
    """Return cells and places of the non-blank lines, at least one; raises for broken quotes."""
    # The reader of pandas would drop the line numbers and turn a neuron ``NA`` into NaN.
    trimmed = (line.strip(" \r\n") + "\n" for line in lines)
    reader = csv.reader(trimmed, strict=True, skipinitialspace=True, delimiter=delimiter)
    rows, places = [], []
    try:
        for cells in reader:
            fields = [cell.strip() for cell in cells]
            if any(fields):
                rows.append(fields)
                places.append(f"{path}, line {reader.line_num}")
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: expected CSV, got a broken line ({error}); correct its quotes") from None
    if not rows:
        raise ValueError(f"{path}: expected a table, got only empty cells; fill the file or give another")
    return rows, places


def check_fields(rows: list[list[str]], places: list[str], width: int) -> None:
    """Raise for a row of another width than that of the first line."""
    for row, place in zip(rows, places, strict=True):
        if len(row) != width:
            raise ValueError(f"{place}: expected {width} fields as in the first line, got {len(row)}; correct the line")


read_edges = partial(read_table, required=EDGE_COLUMNS, what="source")
read_neurons = partial(read_table, required=NEURON_COLUMNS, what="neurons")


def build_data(neurons: pd.DataFrame, edges: pd.DataFrame, *, synapses: str = "both", keep_isolated: bool = False) -> Data:
    """Build the ``Data`` of a connectome from its neurons and edges. Both tables may have a column ``place``, which errors quote.

    Args:
        neurons: columns ``name`` and ``type`` (one of ``NEURON_TYPES``; ``S``, ``sensor``, ``interneuron``, ... for the first three; or any
            other word, which gives type ``other``). Optional columns: ``cell_type``, instead of that word; ``inhibitory``; and
            ``neurotransmitter``: a neuron whose first one is GABA is inhibitory. If no type is a known word, types come from
            :func:`~elegans_pyg.wirings.roles`.
        edges: columns ``pre``, ``post``, ``weight`` (> 0), ``synapse``.
        synapses: kinds to keep: ``"chemical"``, ``"electrical"``, ``"extrasynaptic"`` or ``"both"`` (all kinds).
        keep_isolated: keep neurons without a synapse of these kinds. A self-loop counts as a synapse.

    Returns:
        ``x (N, 6)`` float32 one-hot type, ``edge_index (2, E)``, ``edge_weight (E,)`` float32, ``edge_type (E,)`` int64 (0 chemical,
        1 electrical, 2 extrasynaptic), ``neuron_type (N,)`` int64, ``neuron_name`` list of str, ``inhibitory (N,)`` bool, and
        ``cell_type``, list of str, if there are other types. Neurons are in the order of their table, edges sorted by (source, target,
        type), electrical ones in both directions.

    Raises:
        ValueError: if a neuron has no name or is listed twice; if an edge has a neuron that is not listed, an unknown synapse, a weight
            that is not a finite number above 0, or is listed twice; if no edge is left.
    """
    check_choice("synapses", synapses, (*SYNAPSES, "both"))
    names, words, cell_types, inhibitory = check_neurons(neurons)
    weights = _check_edges(edges, {name: number for number, name in enumerate(names)})
    for (pre, post, kind), weight in list(weights.items()):
        if kind == ELECTRICAL:
            weights.setdefault((post, pre, kind), weight)
    chosen = sorted(key for key in weights if synapses in ("both", SYNAPSES[key[2]]))
    if not chosen:
        there = ", ".join(SYNAPSES[kind] for kind in sorted({key[2] for key in weights})) or "none"
        raise ValueError(f"edges: expected synapses of the kind '{synapses}', got none; add some or choose another kind (there: {there})")
    columns = torch.tensor(chosen, dtype=torch.int64).T
    kept = torch.arange(len(names)) if keep_isolated else columns[:2].unique()
    edge_index = torch.searchsorted(kept, columns[:2].contiguous())
    known = [TYPE_WORDS.get(words[row].lower(), _OTHER) for row in kept]
    untyped = not any(words[row].lower() in TYPE_WORDS for row in kept)
    neuron_type = roles(edge_index, len(kept)) if untyped else torch.tensor(known, dtype=torch.int64)
    data = Data(
        x=torch.nn.functional.one_hot(neuron_type, len(NEURON_TYPES)).to(torch.float32),
        edge_index=edge_index,
        edge_weight=torch.tensor([weights[key] for key in chosen], dtype=torch.float32),
        edge_type=columns[2].clone(),
        neuron_type=neuron_type,
        neuron_name=[names[row] for row in kept],
        inhibitory=torch.tensor(inhibitory, dtype=torch.bool)[kept],
    )
    if any(cell_types[row] and cell_types[row].lower() not in TYPE_WORDS for row in kept):
        data.cell_type = [cell_types[row] for row in kept]
    return data


@dataclass(frozen=True)
class Choices:
    """Choice of input and output neurons, where the types of a wiring do not give them.

    Args:
        inputs: names of neurons that become sensory, and so the input nodes of constrained DAGs; other sensory neurons become inter.
        outputs: names of neurons that become motor, likewise, and the output nodes of every DAG, which otherwise are those without outgoing
            edges.
        sensory, motor: the same by type; ``motor`` does not change a DAG's output nodes.
    """

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    sensory: Sequence[str] = ()
    motor: Sequence[str] = ()

    def apply(self, data: Data) -> Data:
        """Return a copy of a wiring with these neurons chosen; raises ``ValueError`` for names or types that no neuron has."""
        if not any((self.inputs, self.outputs, self.sensory, self.motor)):
            return data
        data, types = copy.copy(data), data.neuron_type.clone()
        words = data.get("cell_type") or [NEURON_TYPES[number] for number in data.neuron_type]
        for role, names, of_types in ((MOTOR, "outputs", "motor"), (SENSORY, "inputs", "sensory")):
            if getattr(self, names) or getattr(self, of_types):
                chosen = _members(data.neuron_name, getattr(self, names), names) | _members(words, getattr(self, of_types), of_types)
                types = torch.where(chosen, role, torch.where(types == role, INTER, types))
        if self.outputs:
            data.output_mask = _members(data.neuron_name, self.outputs, "outputs")
        data.neuron_type = types
        counts = f"chosen: {int((types == SENSORY).sum()):,} inputs, {int((types == MOTOR).sum()):,} outputs"
        data.read_as = "; ".join(filter(None, (data.get("read_as"), counts)))
        data.x = torch.nn.functional.one_hot(types, len(NEURON_TYPES)).float()
        return data


def _members(labels: list[str], wanted: Sequence[str], argument: str) -> torch.Tensor:
    """Return the mask of the labels that are in ``wanted``; raises for a wanted label that is missing."""
    if unknown := [label for label in wanted if label not in set(labels)]:
        there, noun = list(dict.fromkeys(label for label in labels if label)), "names of neurons"
        noun, some = noun if argument in ("inputs", "outputs") else "types of neurons", ", ".join(there[:20])
        raise ValueError(
            f"{argument}: expected {noun} of the wiring, got {shown(unknown[0])}; choose from {some}{', ...' if len(there) > 20 else ''}"
        )
    return torch.tensor([label in set(wanted) for label in labels])


def to_pandas(data: Data) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of edges and neurons of a wiring, from which :func:`build_data` rebuilds it.

    Columns are ``pre, post, weight, synapse`` and ``name, type, inhibitory`` (and ``cell_type``).
    """
    data = as_wiring(data)
    source, target = data.edge_index.tolist()
    names = list(data.neuron_name)
    ends = {"pre": [names[node] for node in source], "post": [names[node] for node in target]}
    kinds = [SYNAPSES[kind] for kind in data.edge_type]
    edges = pd.DataFrame({**ends, "weight": data.edge_weight.tolist(), "synapse": kinds})
    neurons = pd.DataFrame({"name": names, "type": [NEURON_TYPES[kind] for kind in data.neuron_type]})
    neurons["inhibitory"] = data.inhibitory.tolist() if "inhibitory" in data else False
    return edges, neurons.assign(cell_type=data.cell_type) if "cell_type" in data else neurons


def check_neurons(neurons: pd.DataFrame) -> tuple[list[str], list[str], list[str], list[bool]]:
    """Check the neurons; return their names, types as given, cell types, and whether they are inhibitory."""
    places: dict[str, str] = {}
    words: list[str] = []
    cell_types: list[str] = []
    inhibitory: list[bool] = []
    for row, place in rows_of(neurons, "neurons"):
        name = text_of(row["name"])
        if not name or not name.isprintable():
            got = shown(name) if name else "nothing"
            raise ValueError(f"{place}: expected a neuron's name of printable characters, got {got}; name it")
        if name in places:
            raise ValueError(f"{place}: expected each neuron once, got {shown(name)} again, after {places[name]}; remove one of them")
        places[name] = place
        words.append(text_of(row["type"]))
        cell_types.append(text_of(row.get("cell_type")) or words[-1])
        # Only the principal transmitter: many neurons take up, or may also release, a little GABA.
        principal = re.split(r"[,;/+&|]", text_of(row.get("neurotransmitter")))[0]
        inhibitory.append(principal.strip().upper() == "GABA" or text_of(row.get("inhibitory")).lower() in ("true", "1"))
    return list(places), words, cell_types, inhibitory


def _check_edges(edges: pd.DataFrame, number: dict[str, int]) -> dict[tuple[int, int, int], float]:
    """Check the edges; return the weight of every (source, target, type)."""
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
            raise ValueError(f"{place}: expected the synapse to be one of {', '.join(SYNAPSES)}, got {shown(word)}; correct it")
        key = number[pre], number[post], SYNAPSE_WORDS[word.lower()]
        if key in weights:
            edge = f"{SYNAPSES[key[2]]} edge {shown(pre)} to {shown(post)}"
            raise ValueError(f"{place}: expected each edge once, got the {edge} again, after {places[key]}; merge them or remove one")
        weights[key] = number_of(row["weight"], place, float(_FLOAT32.smallest_subnormal), wanted="a weight above 0")
        places[key] = place
    return weights


def number_of(
    value: Any, place: str, low: float = -float(_FLOAT32.max), high: float = float(_FLOAT32.max), wanted: str = "a number"
) -> float:
    """Return a number from a file or a graph; raises unless it is from ``low`` to ``high``."""
    try:
        # `float` would read True as 1 and "1_0" as 10.
        number = math.nan if isinstance(value, bool | np.bool_) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise ValueError(f"{place}: expected {wanted}, finite in float32, got {shown(value)}; correct or remove it")
    return number


def text_of(value: Any) -> str:
    """Return ``value`` as text without surrounding blanks; empty for missing values of pandas."""
    return "" if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else str(value).strip()


def name_of(value: Any) -> str:
    """Return a neuron's name as text; pandas turns integers in a column with missing values into floats."""
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else text_of(value)


def rows_of(table: pd.DataFrame, what: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each row of a table with its place."""
    for position, row in enumerate(table.to_dict("records")):
        yield row, row.get("place") or f"{what}, row {position}"
