"""Wirings from files: a user's own in CSV, GraphML or a NetworkX graph, and the packaged tables.

Every reader ends in two tables, neurons and edges as text, whose column ``place`` says where each row stands; :func:`build_data` checks
them and makes the ``Data``. Whatever is wrong is refused here, in one line that names the place and the remedy.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

import networkx as nx
import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from elegans_pyg._arguments import check_choice, shown
from elegans_pyg._files import read_bounded, read_text
from elegans_pyg.wirings import ELECTRICAL, NEURON_TYPES, SYNAPSES

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
_TYPE_WORDS = {word: number for number, name in enumerate(NEURON_TYPES) for word in (name, *_SYNONYMS.get(name, ()))}
_FLOAT32 = np.finfo(np.float32)
# Compared in lower case without "_" and "-": GML writers have to drop them, so `cell_name` is also met as `cellname`.
_NAME_ATTRIBUTES = ("cellname", "neuronname", "name")
_TYPE_ATTRIBUTES = ("celltype", "neurontype", "role", "type")
_TRANSMITTER_ATTRIBUTES = ("neurotransmitter", "neurotransmitters")
_SYNAPSE_ATTRIBUTES = ("synapsetype", "synapse", "type")
_ENCODINGS = ("utf-8", "utf-16", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252")
_GIVE_TABLE = f"give neurons=FILE.csv with the columns {','.join(NEURON_COLUMNS)}[,neurotransmitter]"


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
        synapses: which to keep: ``"chemical"``, ``"electrical"``, ``"extrasynaptic"`` or ``"both"``: all of them.
        keep_isolated: keep neurons that have none of these synapses. A synapse onto itself saves a neuron from removal.

    Returns:
        ``x (N, 6)`` float32 one-hot type, ``edge_index (2, E)``, ``edge_weight (E,)`` float32, ``edge_type (E,)`` int64 (0 chemical,
        1 electrical, 2 extrasynaptic), ``neuron_type (N,)`` int64, ``neuron_name`` list of str, ``inhibitory (N,)`` bool. Neurons in the
        order of their table, edges sorted by (source, target, type), electrical ones in both directions.

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
        there = ", ".join(SYNAPSES[kind] for kind in sorted({key[2] for key in weights})) or "none"
        raise ValueError(f"edges: expected synapses of the kind '{synapses}', got none; add some or choose another kind (there: {there})")
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
            raise ValueError(f"{place}: expected the synapse to be one of {', '.join(SYNAPSES)}, got {shown(word)}; correct it")
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


def read_wiring(
    source: str | Path | nx.Graph, neurons: str | Path | None = None, *, known: pd.DataFrame | None = None, **options: Any
) -> Data:
    """Read a wiring of one's own, as :meth:`Connectome.from_files <elegans_pyg.datasets.Connectome.from_files>` describes it.

    What the source does not give is looked up in the table ``known``, of columns ``name``, ``type`` and ``neurotransmitter``; options are
    those of :func:`build_data`.
    """
    table = None if neurons is None else read_neurons(neurons)
    found: pd.DataFrame | None = None
    if isinstance(source, nx.Graph):
        found, edges = _graph_tables(source, "graph")
    elif not isinstance(source, str | Path):
        raise TypeError(f"source: expected a path or a NetworkX graph, got {type(source).__name__}; give one of these")
    elif (path := Path(source)).suffix.lower() == ".csv":
        edges = read_edges(path)
    elif path.suffix.lower() in (".graphml", ".xml"):
        found, edges = _read_graphml(path)
    else:
        read_bounded(path, "source")  # a missing file or a folder is the better reason to refuse it
        raise ValueError(f"{path}: expected a file name ending in .csv, .graphml or .xml, got {shown(path.suffix)}; rename or convert it")
    if table is None:
        table = _complete(_neurons_of_edges(edges) if found is None else found, known)
    elif found is not None:
        _check_listed(found, table)
    return build_data(table, edges, **options)


def _neurons_of_edges(edges: pd.DataFrame) -> pd.DataFrame:
    """The neurons of an edge list in order of first appearance, not yet of any type."""
    ends = pd.DataFrame({"name": edges[["pre", "post"]].to_numpy().ravel(), "place": edges["place"].repeat(2).to_numpy()})
    return ends[ends["name"] != ""].drop_duplicates("name").assign(type="", neurotransmitter="")


def _complete(neurons: pd.DataFrame, known: pd.DataFrame | None) -> pd.DataFrame:
    """Look up in ``known`` the types and transmitters that are missing."""
    entries = {} if known is None else {text_of(row["name"]): row for row in known.to_dict("records")}
    rows = []
    for row, place in rows_of(neurons, "neurons"):
        name = text_of(row["name"])
        entry = entries.get(name) or entries.get(re.sub(r"(?<=[A-Za-z])0+(?=[1-9])", "", name)) or {}
        kind, transmitter = (row[column] or text_of(entry.get(column)) for column in ("type", "neurotransmitter"))
        if not kind:
            raise ValueError(f"{place}: expected a neuron of known type, got {shown(name)}, of which none is given or known; {_GIVE_TABLE}")
        rows.append({"name": name, "type": kind, "neurotransmitter": transmitter, "place": place})
    return pd.DataFrame(rows, columns=["name", "type", "neurotransmitter", "place"], dtype=object)


def _check_listed(found: pd.DataFrame, table: pd.DataFrame) -> None:
    """Refuse neurons of a graph that the neuron table lacks, or that the graph has twice."""
    listed = set(table["name"])
    places: dict[str, str] = {}
    for row, place in rows_of(found, "neurons"):
        name = row["name"]
        if name not in listed:
            raise ValueError(f"{place}: expected a neuron of the neuron table, got {shown(name)}; add it to the table or remove the node")
        if name in places:
            raise ValueError(f"{place}: expected each neuron once, got {shown(name)} again, after {places[name]}; remove one of them")
        places[name] = place


def _read_graphml(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    content = read_bounded(path, "source")
    if not content.strip():
        raise ValueError(f"{path}: expected a wiring, got an empty file; fill it or give another")
    node_lines, edge_lines = _graphml_lines(path, content)
    try:
        graph = nx.read_graphml(io.BytesIO(content), force_multigraph=True)
    # NetworkX lets through whatever its conversions of undeclared keys and ill-typed values raise.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path}: expected GraphML, got what cannot be read ({reason}); correct or export it again") from error
    if graph.number_of_edges() != sum(map(len, edge_lines.values())):
        raise ValueError(f"{path}: expected one graph with edge ids that differ, got several graphs or equal ids; export it again")
    return _graph_tables(graph, str(path), node_lines, edge_lines)


def _graphml_lines(path: Path, content: bytes) -> tuple[dict[str, int], dict[tuple[str, str], list[int]]]:
    """Lines of the nodes and edges. NetworkX keeps none, joins nodes of equal id and invents those that only edges name."""
    nodes: dict[str, int] = {}
    edges: dict[tuple[str, str], list[int]] = {}
    parser = expat.ParserCreate()

    def refuse(expected: str, got: str, remedy: str, line: int | None = None) -> NoReturn:
        raise ValueError(f"{path}, line {line or parser.CurrentLineNumber}: expected {expected}, got {got}; {remedy}")

    def start(tag: str, attributes: dict[str, str]) -> None:
        kind = tag.rpartition(":")[2]
        for attribute in {"node": ("id",), "edge": ("source", "target")}.get(kind, ()):
            if attribute not in attributes:
                refuse(f"the attribute {attribute} of the {kind}", "none", "add it")
        if kind == "node":
            if (name := attributes["id"]) in nodes:
                refuse("each node id once", f"{shown(name)} again, after line {nodes[name]}", "remove one of them")
            nodes[name] = parser.CurrentLineNumber
        elif kind == "edge":
            edges.setdefault((attributes["source"], attributes["target"]), []).append(parser.CurrentLineNumber)

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and encoding.lower() not in _ENCODINGS:
            refuse(f"an encoding of {', '.join(_ENCODINGS)}", shown(encoding), "save it as UTF-8")

    # Declared entities, and attributes with declared values, are how a small file grows without bound.
    parser.XmlDeclHandler, parser.StartElementHandler = declaration, start
    parser.EntityDeclHandler = lambda name, *_: refuse("no entity declarations", shown(name), "remove it")
    parser.AttlistDeclHandler = lambda element, *_: refuse("no attribute declarations", f"some of {shown(element)}", "remove them")
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"{path}: expected GraphML, got malformed XML ({error}); correct or export it again") from None
    for ends, lines in edges.items():
        if unlisted := [end for end in ends if end not in nodes]:
            refuse("an edge between listed nodes", shown(unlisted[0]), "add the node", lines[0])
    return nodes, edges


def _graph_tables(
    graph: nx.Graph, place: str, node_lines: dict[str, int] | None = None, edge_lines: dict[tuple[str, str], list[int]] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Neurons and edges of a graph, from attributes under any of the names they go by."""
    neurons = []
    names = {}
    for node, raw in graph.nodes(data=True):
        attributes = _plain_keys(raw)
        names[node] = _first(attributes, _NAME_ATTRIBUTES) or str(node).strip()
        where = f"{place}, node {shown(str(node))}" if node_lines is None else f"{place}, line {node_lines[node]}"
        kind, transmitter = _first(attributes, _TYPE_ATTRIBUTES), _first(attributes, _TRANSMITTER_ATTRIBUTES)
        neurons.append({"name": names[node], "type": kind, "neurotransmitter": transmitter, "place": where})
    edges = []
    for pre, post, raw in graph.edges(data=True):
        where = f"{place}, edge {shown(names[pre])} to {shown(names[post])}"
        if edge_lines is not None:
            # An undirected graph may give an edge's ends back in the other order.
            where = f"{place}, line {(edge_lines.get((pre, post)) or edge_lines[post, pre]).pop(0)}"
        for synapse, weight in _synapses_of(_plain_keys(raw), where):
            if not graph.is_directed() and SYNAPSE_WORDS.get(synapse.lower(), ELECTRICAL) != ELECTRICAL:
                raise ValueError(f"{where}: expected a direction for a chemical synapse, got an undirected graph; give a directed one")
            edges.append({"pre": names[pre], "post": names[post], "weight": weight, "synapse": synapse, "place": where})
    if not edges:
        raise ValueError(f"{place}: expected a wiring, got a graph without edges; give another")
    # Of dtype object, lest pandas turn a weight that is True into 1.
    return pd.DataFrame(neurons, dtype=object), pd.DataFrame(edges, dtype=object)


def _synapses_of(attributes: dict[str, Any], place: str) -> list[tuple[str, Any]]:
    """``(synapse, weight)`` of an edge, which may stand for a chemical and an electrical synapse at once."""
    if not attributes.keys() & {"chemicalweight", "electricalweight"}:
        synapse = _first(attributes, _SYNAPSE_ATTRIBUTES)
        if not synapse or "weight" not in attributes:
            missing, got = "weight" if synapse else "synapse_type", shown(", ".join(sorted(attributes)))[1:-1] or "none"
            raise ValueError(f"{place}: expected an edge with the attribute {missing}, got {got}; add it")
        return [(synapse, attributes["weight"])]
    pairs = [(synapse, attributes[f"{synapse}weight"]) for synapse in SYNAPSES if f"{synapse}weight" in attributes]
    present = [(synapse, weight) for synapse, weight in pairs if text_of(weight) not in ("0", "0.0")]
    if not present:
        raise ValueError(f"{place}: expected a chemical_weight or electrical_weight above 0, got neither; correct it or remove the edge")
    return present


def _plain_keys(attributes: dict[str, Any]) -> dict[str, Any]:
    return {re.sub("[_-]", "", str(key).lower()): value for key, value in attributes.items()}


def _first(attributes: dict[str, Any], keys: Sequence[str]) -> str:
    """The first of the attributes that says anything."""
    return next((text for key in keys if (text := text_of(attributes.get(key))) and text.upper() not in ("NA", "NAN", "NONE")), "")
