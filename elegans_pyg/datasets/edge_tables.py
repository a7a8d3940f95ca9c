"""Edges from tables: lists and matrices in text, Parquet, NumPy and Matrix Market files, pandas tables, SciPy and NumPy matrices.

A table is first read into :class:`Cells`, rows with the place of each; :func:`find_edges` then identifies the columns. It accepts only what
is unambiguous, and :mod:`~elegans_pyg.datasets.wiring_tables` checks the values.
"""

from __future__ import annotations

import ast
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse

from elegans_pyg._arguments import shown
from elegans_pyg._files import read_bounded, read_text
from elegans_pyg.datasets.wiring_tables import SYNAPSE_WORDS, check_fields, name_of, split_lines, text_of
from elegans_pyg.wirings import SYNAPSES

# Names of columns and attributes are compared in lower case without blanks, "_" and "-", which GML writers, for example, must drop.
_ENDS = (
    *(("pre", "post"), ("source", "target"), ("from", "to"), ("src", "dst"), ("origin", "target"), ("sender", "receiver")),
    *((f"{noun}1", f"{noun}2") for noun in ("neuron", "node", "cell", "id")),
)
_WEIGHTS = (
    *("weight", "edgeweight", "weights", "synapses", "synapsecount", "syncount", "count", "counts", "nsynapses", "numsynapses"),
    *("numberofsynapses", "numberofconnections", "strength", "nbr", "value"),
)
_KIND_NUMBERS = {str(number) for number in range(len(SYNAPSES))}
_KINDS = ("synapsetype", "synapse", "edgetype", "type", "kind")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_LEAST_MATRIX = 4
"""Rows of the smallest matrix without labels; three columns of numbers are an edge and its weight."""
_MOST_NODES = 2**24

ABSENT = object()
"""Stands for an attribute that an edge does not have."""


@dataclass(frozen=True)
class Cells:
    """An unprocessed table: column names if there is a header, rows, the place of each row, and the source.

    Edges with attributes have two columns for their ends and one per attribute.
    """

    header: list[str] | None
    rows: list[list[Any]]
    places: list[str]
    where: str
    of_graph: bool = False

    def __post_init__(self) -> None:
        if not self.rows or not self.rows[0]:
            raise ValueError(f"{self.where}: expected lines after the first, got none; fill the file or give another")

    @classmethod
    def of_attributes(cls, edges: Sequence[tuple[str, str, Mapping[str, Any]]], places: list[str], where: str) -> Cells:
        """Build from edges with attributes, which may differ from edge to edge."""
        keys = list(dict.fromkeys(plain(key) for _, _, attributes in edges for key in attributes))
        rows = []
        for pre, post, attributes in edges:
            found = {plain(key): value for key, value in attributes.items()}
            rows.append([pre, post, *(found.get(key, ABSENT) for key in keys)])
        return cls(["", "", *keys], rows, places, where, of_graph=True)


@dataclass(frozen=True)
class Edges:
    """Edges of a source: a table ``pre, post, weight, synapse, place``; a description of how it was read; all nodes, if they are listed;
    and whether kinds of synapses were given."""

    table: pd.DataFrame
    said: str
    nodes: list[str] | None = None
    kinds: bool = False


def plain(name: object) -> str:
    """Return the name of a column or an attribute in lower case, without blanks, ``_`` and ``-``."""
    return re.sub(r"[\s_-]", "", str(name).lower())


def read_edges_of(path: Path) -> Edges:
    """Read the edges of a file that is not in a graph format.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it holds neither an edge list nor a matrix.
    """
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xls", ".ods"):
        read_bounded(path, "source")  # a missing file is reported first
        raise ValueError(f"{path}: expected text, a matrix or a graph, got a spreadsheet {suffix}; save its sheet as CSV")
    if suffix in (".npy", ".mtx"):
        return find_in_matrix(_read_matrix(path, suffix), str(path))
    return find_edges(read_cells(path, "source"))


def read_cells(path: str | Path, what: str) -> Cells:
    """Read the unprocessed table of a text or Parquet file; raises as :func:`read_edges_of`."""
    path = Path(path)
    if path.suffix.lower() != ".parquet":
        return _read_text(path, what)
    content = read_bounded(path, what)
    try:
        return cells_of(pd.read_parquet(io.BytesIO(content)), str(path))
    # pyarrow raises many kinds of errors for damaged files.
    except Exception as error:
        raise unreadable(path, "Parquet", error) from error


def cells_of(frame: pd.DataFrame, where: str) -> Cells:
    """Read a pandas table; the index becomes the first column if it holds the columns' names, as in an adjacency matrix."""
    header, rows = [str(name) for name in frame.columns], [list(row) for row in frame.astype(object).itertuples(index=False)]
    counted = isinstance(frame.index, pd.RangeIndex) and isinstance(frame.columns, pd.RangeIndex)
    if len(frame) and not counted and sorted(map(str, frame.index)) == sorted(header):
        header, rows = ["", *header], [[name, *row] for name, row in zip(map(str, frame.index), rows, strict=True)]
    return Cells(header, rows, [f"{where}, row {number}" for number in range(len(rows))], where)


def find_edges(cells: Cells) -> Edges:
    """Find the edges of a table: a list, by the names of its columns or else by their order, or a square matrix, source by target."""
    names = [plain(name) for name in cells.header or []]
    ends = (0, 1) if cells.of_graph else _ends(names)
    by_order = ends is None
    if ends is None:
        if (matrix := _labelled_matrix(cells) or _bare_matrix(cells)) is not None:
            return matrix
        start = int(_has_index(cells))
        if len(cells.rows[0]) - start < 2:
            got = f"{len(cells.rows[0])} column"
            raise ValueError(f"{cells.places[0]}: expected an edge list of two columns or more, or a square matrix, got {got}; give one")
        ends = start, start + 1
    chosen: dict[str, int | None] = {"pre": ends[0], "post": ends[1], **_by_name(cells, names, ends)}
    if by_order:
        chosen |= _by_order(cells, chosen, ends[1] + 1)
    kinds = any(chosen[name] is not None for name in ("synapse", *SYNAPSES))
    return Edges(pd.DataFrame(_rows(cells, chosen), dtype=object), _said(cells, chosen), kinds=kinds)


def find_in_matrix(matrix: Any, where: str) -> Edges:
    """Return the edges of a dense or sparse matrix, its non-zero entries, from row to column; a dense one of two or three columns that is
    not square is an edge list."""
    numeric = matrix.dtype.kind in "biuf"
    if numeric and matrix.ndim == 2 and isinstance(matrix, np.ndarray) and matrix.shape[1] in (2, 3) and matrix.shape[0] != matrix.shape[1]:
        return find_edges(Cells(None, matrix.tolist(), [f"{where}, row {number}" for number in range(len(matrix))], where))
    if not numeric or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not 0 < matrix.shape[0] <= _MOST_NODES:
        got = f"{matrix.dtype} of shape {tuple(matrix.shape)}"
        raise ValueError(f"{where}: expected a square matrix of numbers, with at most {_MOST_NODES:,} rows, got {got}; give one")
    entries = scipy.sparse.coo_array(matrix)
    entries.sum_duplicates()
    entries.eliminate_zeros()
    rows, columns = (place.tolist() for place in entries.coords)
    edges = zip(rows, columns, entries.data.astype(float).tolist(), strict=True)
    nodes = [str(number) for number in range(matrix.shape[0])]
    return _matrix_edges([(nodes[i], nodes[j], weight, f"{where}, row {i}, column {j}") for i, j, weight in edges], nodes, where)


def _matrix_edges(entries: list[tuple[str, str, Any, str]], nodes: list[str], where: str) -> Edges:
    """Return the edges of a matrix, given the row, column, value and place of each non-zero entry."""
    if not entries:
        raise ValueError(f"{where}: expected a wiring, got a matrix of zeros; give another")
    table = pd.DataFrame(entries, columns=["pre", "post", "weight", "place"], dtype=object).assign(synapse=SYNAPSES[0])
    return Edges(table, f"a matrix of {len(nodes):,} nodes, from rows to columns, entries as weight", nodes)


def _read_matrix(path: Path, suffix: str) -> Any:
    content = read_bounded(path, "source")
    try:
        if suffix == ".npy":
            return np.load(io.BytesIO(content), allow_pickle=False)
        size = next(line.split() for line in content.splitlines() if line.strip() and not line.startswith(b"%"))
        # The reader allocates what the header says.
        if int(size[2] if len(size) > 2 else math.prod(map(int, size))) > len(content):
            raise ValueError("it ends before its entries do")
        return scipy.io.mmread(io.BytesIO(content))
    # A damaged header may cause any error, even MemoryError.
    except (Exception, MemoryError) as error:
        raise unreadable(path, "a matrix", error) from error


def unreadable(path: Path, expected: str, error: BaseException) -> ValueError:
    """Return the error to raise where a library could not read a file."""
    reason = shown(" ".join(str(error).split()), 120)[1:-1] or type(error).__name__
    return ValueError(f"{path}: expected {expected}, got unreadable content ({reason}); correct it or export it again")


def _read_text(path: Path, what: str) -> Cells:
    """Read lines, split by the delimiter found; leading lines that begin with ``#`` or ``%`` are comments."""
    text = read_text(path, what)
    separator = re.match(r"sep=([;,\t])\r?\n", text)  # the first line of some files from Excel
    lines = list(io.StringIO(text, newline=""))
    start = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("#", "%", "sep="))), len(lines))
    if start == len(lines):
        raise ValueError(f"{path}: expected edges, got only comments; fill the file or give another")
    lines[:start], first = ["\n"] * start, lines[start]
    if re.search(r"\{.*\}\s*$", first):
        return _read_dictionaries(path, lines)
    delimiter = separator[1] if separator else _delimiter(lines)
    rows, places = split_lines(path, lines, delimiter)
    header = rows.pop(0) if _is_header(rows) else None
    places = places[len(places) - len(rows) :]
    if header is not None and rows and all(len(row) == len(header) + 1 for row in rows):
        header = ["", *header]  # R gives the column of row names no name
    check_fields(rows, places, len(header or rows[0]))
    if header is not None and len(set(filter(None, header))) < len(list(filter(None, header))):
        got = shown(",".join(header))
        raise ValueError(f"{path}, line 1: expected column names that differ from each other, got {got}; rename them")
    if delimiter != ",":
        rows = _with_points(rows)
    return Cells(header, rows, places, str(path))


def _delimiter(lines: list[str]) -> str:
    """Return the first of tab, semicolon and comma that splits all of the first lines alike, or at least the first line; else a blank."""
    sample = [line for line in lines[:200] if line.strip()][:100]
    try:
        counts = {sign: [len(row) for row in csv.reader(sample, delimiter=sign)] for sign in "\t;,"}
    except csv.Error:
        return ","  # the error of splitting all lines names the broken one
    alike = [sign for sign, numbers in counts.items() if numbers[0] > 1 and len(set(numbers)) == 1]
    some = sorted((sign for sign, numbers in counts.items() if numbers[0] > 1), key=lambda sign: -counts[sign][0])
    return next(iter([*alike, *some]), " ")


def _read_dictionaries(path: Path, lines: list[str]) -> Cells:
    """Read an edge list as written by :func:`networkx.write_edgelist`: ``a b {'weight': 3}``."""
    edges, places = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        head, brace, rest = line.partition("{")
        ends = [part.strip() for part in (head.split() if not re.search("[,;\t]", head) else re.split("[,;\t]", head)) if part.strip()]
        try:
            attributes = ast.literal_eval(brace + rest.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            attributes = None
        if not isinstance(attributes, dict) or len(ends) != 2:
            got = shown(line.strip())
            raise ValueError(f"{path}, line {number}: expected an edge as in a b {{'weight': 3}}, got {got}; correct the line")
        edges.append((ends[0], ends[1], attributes))
        places.append(f"{path}, line {number}")
    return Cells.of_attributes(edges, places, str(path))


def _is_header(rows: list[list[str]]) -> bool:
    """Return whether the first row is a header: it names edge ends, starts empty, equals the rows' names, or is text above numbers."""
    first, rest = rows[0], rows[1:]
    if _ends([plain(name) for name in first]) is not None or first[0] == "":
        return True
    if not rest or any(len(row) < len(first) for row in rest):
        return False
    numbered = len(rest) >= _LEAST_MATRIX and first == [str(number) for number in range(len(rest))]
    named = len(set(first[1:])) == len(rest) and set(first[1:]) == {row[0] for row in rest}
    shift = len(rest[0]) - len(first)
    over_numbers = (name and not _is_number(name) and all(_is_number(row[n + shift]) for row in rest) for n, name in enumerate(first))
    return numbered or named or (shift in (0, 1) and any(over_numbers))


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) or bool(_NUMBER.fullmatch(value) or _DECIMAL_COMMA.fullmatch(value))


def _with_points(rows: list[list[str]]) -> list[list[str]]:
    """Replace decimal commas by points, if some cannot be thousands separators and there are no points."""
    numbers = [cell for row in rows for cell in row if _is_number(cell) and ("," in cell or "." in cell)]
    clear = any(re.search(r"^[+-]?0?,|,(\d{1,2}|\d{4,})$", cell) for cell in numbers)
    if not clear or any("." in cell for cell in numbers):
        return rows
    return [[cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in row] for row in rows]


def _ends(names: list[str]) -> tuple[int, int] | None:
    """Return the columns of the two ends, recognised by names that differ only in that: ``pre_root_id`` and ``post_root_id``."""
    for near, far in _ENDS:
        for name in sorted(names, key=len):
            other = name.replace(near, far, 1)
            if near in name and other != name and other in names:
                return names.index(name), names.index(other)
    return None


def _has_index(cells: Cells) -> bool:
    """Return whether the first column numbers the rows; raises if it may as well hold sources that happen to count."""
    if cells.header is not None and plain(cells.header[0]) in ("", "index", "unnamed:0"):
        return True
    numbers, width = [text_of(row[0]) for row in cells.rows], len(cells.rows[0])
    if len(numbers) < 2 or width < 4 or not any(numbers == [str(start + n) for n in range(len(numbers))] for start in (0, 1)):
        return False
    if width > 4 or not all(text_of(row[3]).lower() in SYNAPSE_WORDS and _is_number(row[2]) for row in cells.rows):
        return True
    # Weights before the kinds; but if all are whole numbers, these may be targets, and the column before them sources.
    if all(name_of(cell).isdecimal() for row in cells.rows for cell in row[1:3]):
        remedy = "name the columns, as in source,target,weight,synapse"
        raise ValueError(f"{cells.places[0]}: expected edges with one meaning, got {numbers[0]} for a source or for the row; {remedy}")
    return False


def _labelled_matrix(cells: Cells) -> Edges | None:
    """Return the edges of a matrix whose rows and columns have the same names, or None."""
    labels = [] if cells.header is None else cells.header[1:]
    if not labels or sorted(labels) != sorted(name_of(row[0]) for row in cells.rows):
        return None
    return _text_matrix([name_of(row[0]) for row in cells.rows], labels, [row[1:] for row in cells.rows], cells)


def _bare_matrix(cells: Cells) -> Edges | None:
    """Return the edges of a matrix of numbers, with or without column names, or None."""
    size = len(cells.rows)
    if size < _LEAST_MATRIX or len(cells.rows[0]) != size:
        return None
    if not all(text_of(cell) == "" or _is_number(cell) for row in cells.rows for cell in row):
        return None
    labels = [str(number) for number in range(size)] if cells.header is None else cells.header
    return _text_matrix(labels, labels, cells.rows, cells)


def _text_matrix(sources: list[str], targets: list[str], rows: list[list[Any]], cells: Cells) -> Edges:
    entries = [
        (pre, post, value, f"{place}, column {shown(post)}")
        for pre, row, place in zip(sources, rows, cells.places, strict=True)
        for post, value in zip(targets, row, strict=True)
        if not _is_zero(value)
    ]
    return _matrix_edges(entries, sources, cells.where)


def _is_zero(value: Any) -> bool:
    return text_of(value) == "" or bool(re.fullmatch(r"[+-]?(0+\.?0*|\.0+)(e[+-]?\d+)?", text_of(value), re.IGNORECASE))


def _by_name(cells: Cells, names: list[str], ends: tuple[int, int]) -> dict[str, int | None]:
    """Find the columns of weight and kind by the header."""

    def first(*known: str) -> int | None:
        return next((names.index(name) for name in known if name in names and names.index(name) not in ends), None)

    kind = first(*_KINDS)
    if kind is not None and names[kind] not in _KINDS[:2]:
        # A column named "type" may hold something else.
        words = {text_of(row[kind]).lower() for row in cells.rows}
        kind = kind if words & (SYNAPSE_WORDS.keys() | (_KIND_NUMBERS if names[kind] == "edgetype" else set())) else None
    return {"weight": first(*_WEIGHTS), "synapse": kind, **{name: first(f"{name}weight") for name in SYNAPSES}}


def _by_order(cells: Cells, chosen: Mapping[str, int | None], start: int) -> dict[str, int]:
    """Find the columns of weight and kind after those of the ends: a weight, and a kind if all words are kinds."""
    found: dict[str, int] = {}
    for column in range(start, min(len(cells.rows[0]), start + 2)):
        words = {text_of(row[column]).lower() for row in cells.rows}
        if words <= SYNAPSE_WORDS.keys():
            found.setdefault("synapse", column)
        elif column == start and words != {""} and (cells.header is None or any(_NUMBER.fullmatch(word) for word in words)):
            found["weight"] = column
    return {name: column for name, column in found.items() if chosen.get(name) is None}


def _rows(cells: Cells, chosen: Mapping[str, int | None]) -> Iterator[dict[str, Any]]:
    of_kinds = {kind: chosen[kind] for kind in SYNAPSES if chosen[kind] is not None}
    weight, kind = chosen["weight"], chosen["synapse"]
    digits = kind is not None and cells.header is not None and plain(cells.header[kind]) == "edgetype"
    for row, place in zip(cells.rows, cells.places, strict=True):
        edge = {"pre": name_of(row[chosen["pre"]]), "post": name_of(row[chosen["post"]]), "place": place}  # type: ignore[index]
        apart = {name: row[column] for name, column in of_kinds.items() if row[column] is not ABSENT}  # type: ignore[index]
        if apart:
            present = {name: value for name, value in apart.items() if not _is_zero(value)}
            if not present:
                remedy = "correct it or remove the edge"
                raise ValueError(f"{place}: expected a chemical_weight or electrical_weight above 0, got neither; {remedy}")
            yield from ({**edge, "weight": value, "synapse": name} for name, value in present.items())
            continue
        for name, column in (("synapse_type", kind), ("weight", weight)):
            if column is not None and row[column] is ABSENT:
                has = [name for name, value in zip(cells.header or [], row, strict=True) if name and value is not ABSENT]
                got = shown(", ".join(sorted(has)))[1:-1] or "none"
                raise ValueError(f"{place}: expected an edge with the attribute {name}, got {got}; add it")
        word = SYNAPSES[0] if kind is None else text_of(row[kind])
        word = SYNAPSES[int(word)] if digits and word in _KIND_NUMBERS else word
        yield {**edge, "weight": 1.0 if weight is None else row[weight], "synapse": word}


def _said(cells: Cells, chosen: Mapping[str, int | None]) -> str:
    def name(column: int) -> str:
        return str(column + 1) if cells.header is None or not cells.header[column] else cells.header[column]

    parts = ["edges of the graph"] if cells.of_graph else [f"columns {name(chosen['pre'] or 0)}, {name(chosen['post'] or 0)} as edges"]
    roles = {"weight": "weight", "synapse": "kind of synapse", **{kind: f"{kind} weight" for kind in SYNAPSES}}
    parts += [f"{name(column)} as {roles[role]}" for role, column in chosen.items() if role in roles and column is not None]
    if all(chosen[role] is None for role in ("weight", "chemical", "electrical")):
        parts.append("each of weight 1")
    return shown(", ".join(parts), 200)[1:-1]
