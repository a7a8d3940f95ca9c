"""Your own wirings from graphs and graph files, tables and matrices, or a PyG ``Data``.

Every reader returns the two tables that :func:`~elegans_pyg.datasets.wiring_tables.build_data` checks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse
from torch_geometric.data import Data

from elegans_pyg._arguments import shown
from elegans_pyg._files import read_bounded, read_text
from elegans_pyg.datasets.edge_attributes import plain_name
from elegans_pyg.datasets.edge_tables import (
    Cells,
    Edges,
    cells_of,
    find_edges,
    find_in_matrix,
    plain,
    read_cells,
    read_edges_of,
    unreadable,
)
from elegans_pyg.datasets.wiring_tables import SYNAPSE_WORDS, TYPE_WORDS, Choices, build_data, check_neurons, name_of, rows_of, text_of
from elegans_pyg.wirings import ELECTRICAL, MOTOR, NEURON_TYPES, SENSORY, as_wiring

# Compared by plain(); the first one with a value counts.
_NAME_ATTRIBUTES = ("cellname", "neuronname", "name", "label")
_NAME_COLUMNS = (*_NAME_ATTRIBUTES, "neuron", "node", "nodeid", "neuronid", "cell", "cellid", "bodyid", "rootid", "id")
_TYPE_ATTRIBUTES = ("neurontype", "role", "type", "superclass", "celltype")
_TRANSMITTER_ATTRIBUTES = ("neurotransmitter", "neurotransmitters")
_ENCODINGS = ("utf-8", "utf-16", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252")


def read_wiring(
    source: Any,
    neurons: str | Path | pd.DataFrame | None = None,
    *,
    known: pd.DataFrame | None = None,
    choices: Choices | None = None,
    **options: Any,
) -> Data:
    """Read your own wiring, see :meth:`Connectome.from_edges <elegans_pyg.datasets.Connectome.from_edges>`.

    Missing types and transmitters are looked up in the table ``known`` with columns ``name``, ``type`` and ``neurotransmitter``;
    ``options`` are those of :func:`build_data`.
    """
    chosen = choices or Choices()
    if isinstance(source, Data):
        if neurons is not None:
            raise ValueError("neurons: not allowed with a Data, which has its own; set its neuron_name and neuron_type")
        return chosen.apply(as_wiring(source, "source", cyclic=True))
    found, edges = _tables_of(source)
    listed = _neurons_of_edges(edges) if found is None else found
    if neurons is not None:
        listed = _neuron_table(neurons)
        if found is not None:
            _check_listed(found, listed)
    table, said = _typed(listed, known)
    data = build_data(table, edges.table, **options)
    if not said:
        inputs, outputs = (int((data.neuron_type == role).sum()) for role in (SENSORY, MOTOR))
        said = f"no types: inputs are sources ({inputs:,}), outputs sinks ({outputs:,})"
        if "cell_type" in data:
            words = list(dict.fromkeys(word for word in data.cell_type if word))
            some = shown(", ".join(words), 80)[1:-1]
            said = f"types {some} are not roles (choose inputs and outputs by sensory= and motor=): {said.partition(': ')[2]}"
    data.read_as = f"{edges.said}; {said}"
    return chosen.apply(data)


def _tables_of(source: Any) -> tuple[pd.DataFrame | None, Edges]:
    """Return the neurons, if the source lists them, and the edges."""
    if isinstance(source, nx.Graph):
        return _graph_tables(source, "graph")
    if isinstance(source, pd.DataFrame):
        edges = find_edges(cells_of(source, "edges"))
    elif isinstance(source, np.ndarray) or scipy.sparse.issparse(source):
        edges = find_in_matrix(source, "matrix")
    elif not isinstance(source, str | Path):
        some = "a path, a NetworkX graph, a pandas table, a SciPy or NumPy matrix or a PyG Data"
        raise TypeError(f"source: expected {some}, got {type(source).__name__}; give one of these")
    elif (suffix := (path := Path(source).expanduser()).suffix.lower()) in (".graphml", ".xml", ".gexf"):
        return _read_xml(path)
    elif suffix == ".gml":
        return _graph_tables(_read_gml(path), str(path))
    else:
        edges = read_edges_of(path)
    if edges.nodes is None:
        return None, edges
    rows = [{"name": name, "place": f"node {name}"} for name in edges.nodes]
    return pd.DataFrame(rows).assign(type="", neurotransmitter=""), edges


def _neurons_of_edges(edges: Edges) -> pd.DataFrame:
    """Return the neurons of an edge list in order of first appearance, without types."""
    table = edges.table
    ends = pd.DataFrame({"name": table[["pre", "post"]].to_numpy().ravel(), "place": table["place"].repeat(2).to_numpy()})
    return ends[ends["name"] != ""].drop_duplicates("name").assign(type="", neurotransmitter="")


def _neuron_table(neurons: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Return the neurons of a table, by its header or, without one, with names and types in the first two columns."""
    cells = cells_of(neurons, "neurons") if isinstance(neurons, pd.DataFrame) else read_cells(neurons, "neurons")
    if cells.header is None and any(plain(cell) in _NAME_COLUMNS for cell in cells.rows[0]):
        cells = Cells(cells.rows[0], cells.rows[1:], cells.places[1:], cells.where)
    width = len(cells.rows[0])
    header = [plain(name) for name in cells.header or ["name", "type", *[""] * width][:width]]
    if not {*header} & {*_NAME_COLUMNS}:
        header[0] = "name"
    rows = []
    for row, place in zip(cells.rows, cells.places, strict=True):
        attributes = dict(zip(header, row, strict=True))
        name = next((name_of(attributes[key]) for key in _NAME_COLUMNS if key in attributes), "")
        rows.append({"name": name, **_neuron(attributes), "place": place})
    return pd.DataFrame(rows, dtype=object)


def _neuron(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return type (the first that is a role, or else the first), cell type, transmitter and sign of a neuron."""
    given = dict(attributes)
    if type(number := given.get("neurontype")) is int and 0 <= number < len(NEURON_TYPES):
        given["neurontype"] = NEURON_TYPES[number]  # as in a Data
    words = [text for key in _TYPE_ATTRIBUTES if (text := _first(given, [key]))]
    kind = next((word for word in words if word.lower() in TYPE_WORDS), words[0] if words else "")
    rest = {"neurotransmitter": _first(given, _TRANSMITTER_ATTRIBUTES), "inhibitory": given.get("inhibitory")}
    return {"type": kind, "cell_type": _first(given, ["celltype"]), **rest}


def _typed(neurons: pd.DataFrame, known: pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    """Fill in missing types and transmitters from ``known`` by name, if that has at least half of the neurons or the source has roles. Also
    returns a description of where the types come from, empty if there are no roles."""
    given = [text_of(word) for word in neurons["type"]]
    source = f"types of {sum(map(bool, given)):,} of {len(given):,} neurons as given"
    roles_given = any(word.lower() in TYPE_WORDS for word in given)
    if all(given):
        return neurons, source if roles_given else ""
    entries = {} if known is None else {text_of(row["name"]): row for row in known.to_dict("records")}
    names = [text_of(name) for name in neurons["name"]]
    found = [entries.get(name) or entries.get(plain_name(name)) or {} for name in names]
    looked_up = sum(bool(entry) and not word for entry, word in zip(found, given, strict=True))
    if not roles_given and 2 * sum(map(bool, found)) < len(names):
        return neurons, ""
    neurons = neurons.assign(
        type=[word or text_of(entry.get("type")) or "other" for word, entry in zip(given, found, strict=True)],
        neurotransmitter=[
            text_of(word) or text_of(entry.get("neurotransmitter")) for word, entry in zip(neurons["neurotransmitter"], found, strict=True)
        ],
    )
    rest = len(names) - sum(map(bool, given)) - looked_up
    parts = [source] if any(given) else []
    parts += [f"types of {looked_up:,} neurons by their names in C. elegans"] if looked_up else []
    parts += [f"{rest:,} others are of type other"] if rest else []
    return neurons, ", ".join(parts)


def _check_listed(found: pd.DataFrame, table: pd.DataFrame) -> None:
    """Raise for neurons of a graph that the neuron table lacks, or that are listed twice."""
    listed = set(table["name"])
    for name, place in zip(check_neurons(found)[0], found["place"], strict=True):
        if name not in listed:
            raise ValueError(f"{place}: expected a neuron of the neuron table, got {shown(name)}; add it to the table or remove the node")


def _read_xml(path: Path) -> tuple[pd.DataFrame, Edges]:
    """Read GraphML or GEXF."""
    content = read_bounded(path, "source")
    if not content.strip():
        raise ValueError(f"{path}: expected a wiring, got an empty file; fill it or give another")
    format_name = "GEXF" if b"<gexf" in content[:4096] else "GraphML"
    node_lines, edge_lines = _xml_lines(path, content, format_name)
    try:
        file = io.BytesIO(content)
        graph = nx.read_gexf(file) if format_name == "GEXF" else nx.read_graphml(file, force_multigraph=True)
    # NetworkX passes on the errors of its conversions of undeclared keys and ill-typed values.
    except Exception as error:
        raise unreadable(path, format_name, error) from error
    if graph.number_of_edges() != sum(map(len, edge_lines.values())):
        raise ValueError(f"{path}: expected one graph with unique edge ids, got several graphs or repeated ids; export it again")
    return _graph_tables(graph, str(path), node_lines, edge_lines)


def _read_gml(path: Path) -> nx.Graph:
    text = read_text(path, "source")
    # igraph does not declare multigraphs, and NetworkX then rejects parallel edges.
    text = re.sub(r"\bgraph\s*\[", "graph [ multigraph 1 ", text, count=1)
    try:
        return nx.parse_gml(text, label="id")
    except Exception as error:
        raise unreadable(path, "GML", error) from error


def _xml_lines(path: Path, content: bytes, format_name: str) -> tuple[dict[str, int], dict[tuple[str, str], list[int]]]:
    """Return the line numbers of nodes and edges. NetworkX drops them, merges nodes of equal id, and creates nodes that only edges name."""
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

    # Declared entities and default attributes let a small file expand without bound.
    parser.XmlDeclHandler, parser.StartElementHandler = declaration, start
    parser.EntityDeclHandler = lambda name, *_: refuse("no entity declarations", shown(name), "remove it")
    parser.AttlistDeclHandler = lambda element, *_: refuse("no attribute declarations", f"some of {shown(element)}", "remove them")
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"{path}: expected {format_name}, got malformed XML ({error}); correct or export it again") from None
    for ends, lines in edges.items():
        if unlisted := [end for end in ends if end not in nodes]:
            refuse("an edge between listed nodes", shown(unlisted[0]), "add the node", lines[0])
    return nodes, edges


def _graph_tables(
    graph: nx.Graph, place: str, node_lines: dict[str, int] | None = None, edge_lines: dict[tuple[str, str], list[int]] | None = None
) -> tuple[pd.DataFrame, Edges]:
    """Return neurons and edges of a graph, from attributes under any of their known names."""
    neurons, names = [], {}
    nodes = [(node, {plain(key): value for key, value in raw.items()}) for node, raw in graph.nodes(data=True)]
    labels = [_first(attributes, _NAME_ATTRIBUTES[-1:]) for _, attributes in nodes]
    # Labels are for display, and need not be unique.
    of_names = _NAME_ATTRIBUTES if len(set(labels)) == len(labels) else _NAME_ATTRIBUTES[:-1]
    for node, attributes in nodes:
        names[node] = _first(attributes, of_names) or str(node).strip()
        where = f"{place}, node {shown(str(node))}" if node_lines is None else f"{place}, line {node_lines[node]}"
        neurons.append({"name": names[node], **_neuron(attributes), "place": where})
    rows, places = [], []
    for pre, post, attributes in graph.edges(data=True):
        where = f"{place}, edge {shown(names[pre])} to {shown(names[post])}"
        if edge_lines is not None:
            # An undirected graph may return an edge's ends in the other order.
            where = f"{place}, line {(edge_lines.get((pre, post)) or edge_lines[post, pre]).pop(0)}"
        rows.append((names[pre], names[post], attributes))
        places.append(where)
    if not rows:
        raise ValueError(f"{place}: expected a wiring, got a graph without edges; give another")
    edges = find_edges(Cells.of_attributes(rows, places, place))
    # With dtype object, or pandas would turn a weight that is True into 1.
    return pd.DataFrame(neurons, dtype=object), edges if graph.is_directed() else _both_ways(edges)


def _both_ways(edges: Edges) -> Edges:
    """Return the edges of an undirected graph: electrical ones unchanged, those without a kind in both directions."""
    table = edges.table
    if edges.kinds:
        for row, place in rows_of(table, "edges"):
            if SYNAPSE_WORDS.get(row["synapse"].lower(), ELECTRICAL) != ELECTRICAL:
                raise ValueError(f"{place}: expected a direction for a chemical synapse, got an undirected graph; give a directed one")
        return edges
    back = table[table["pre"] != table["post"]].rename(columns={"pre": "post", "post": "pre"})
    return Edges(pd.concat([table, back], ignore_index=True), f"{edges.said}, in both directions (undirected)")


def _first(attributes: dict[str, Any], keys: Sequence[str]) -> str:
    """Return the first attribute with a value."""
    return next((text for key in keys if (text := text_of(attributes.get(key))) and text.upper() not in ("NA", "NAN", "NONE")), "")
