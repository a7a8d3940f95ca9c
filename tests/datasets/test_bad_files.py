"""Whatever a user's file holds, a reader reads it or refuses it: one short line, in little time, never a stranger's error."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.datasets import Connectome, load_images
from elegans_pyg.dynamics import Waveforms
from elegans_pyg.dynamics.waveforms import read_currents

EDGES = "pre,post,weight,synapse\n"
GRAPHML = (
    '<?xml version="1.0" encoding="{encoding}"?>\n{doctype}<graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
    '<key id="w" for="edge" attr.name="weight" attr.type="{type}"/>'
    '<key id="s" for="edge" attr.name="synapse" attr.type="string"/><graph edgedefault="directed"><node id="{name}"/><node id="AIYL"/>'
    '<edge source="{name}" target="AIYL"><data key="w">{weight}</data><data key="s">C</data></edge></graph></graphml>'
)
DEFAULTS = {"encoding": "UTF-8", "doctype": "", "type": "double", "name": "ASEL", "weight": "1"}


def graphml(**changes: str) -> bytes:
    return GRAPHML.format(**DEFAULTS | changes).encode()


def neurons_of(path: Path) -> Any:
    edges = path.with_name("edges.csv")
    edges.write_text(EDGES + "ASEL,AIYL,1,C\n")
    return Connectome.from_edges(edges, path)


READERS: dict[str, Callable[[Path], Any]] = {
    "w.csv": Connectome.from_edges,
    "w.graphml": Connectome.from_edges,
    **{f"w.{suffix}": Connectome.from_edges for suffix in ("tsv", "gml", "gexf", "mtx", "npy", "parquet")},
    "n.csv": neurons_of,
    "currents.csv": read_currents,
    "waveform.dat": lambda path: Waveforms.from_files([path] * 3, ["A"], ["B"]),
}
EACH = pytest.mark.parametrize("name", READERS)


def refused(name: str, path: Path, reads: bool = False) -> str:
    """The message, or nothing if the file may be read and is."""
    try:
        READERS[name](path)
    except (ValueError, OSError) as error:
        text = str(error)
        assert text.isprintable(), text
        assert len(text) < 400, text
        return text
    assert reads, "read without a word"
    return ""


@EACH
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "there is no file" in refused(name, path)
    os.mkfifo(path)
    assert "is a pipe or a device; give a file" in refused(name, path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is a pipe or a device; give a file" in refused(name, path)
    path.unlink()
    path.mkdir()
    assert "is a folder; give a file" in refused(name, path)
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "expected at most" in refused(name, path)
    assert "expected the name of a file" in refused(name, tmp_path / f"a\0{name}")
    assert "expected the name of a file" in refused(name, tmp_path / f"{'a' * 5000}{name}")


@EACH
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\n",
        b"\0" * 100,
        b"\x89PNG\r\n\x1a\n\0\0",
        b"PK\x03\x04",
        b"one\n",
        b"one\n1\n2",
        b"\xff\xfeo\0n\0",
        b"\xed\xa0\x80",
        b"a,b\n" * 9,
    ],
    ids=range(10),
)
def test_what_holds_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    reads = name == "currents.csv" and content == b"one\n1\n2"
    assert bool(refused(name, path, reads)) != reads


@EACH
@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300) | st.text(st.sampled_from('pre,post,weight,synapse\n"\0\r;ASEL0123456789.e+-_<>&C \u0661\ud7ff'), max_size=300)
)
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes | str) -> None:
    path = tmp_path_factory.mktemp("any") / name
    heads = {"w.csv": EDGES, "n.csv": "name,type\n", "currents.csv": "A,B\n"}
    body = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(heads.get(name, "").encode() + body)
    refused(name, path, reads=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"ASEL,AIYL,{'9' * 20},C", ""),
        (f"ASEL,AIYL,{'9' * 5000},C", r"line 2: expected a weight above 0, finite in float32, got '9{50}"),
        ("ASEL,AIYL,1e999,C", "line 2: expected a weight above 0, finite in float32, got '1e999'"),
        ('"AS\nEL",AIYL,1,C', r"line 3: expected a neuron's name of printable characters, got 'AS\nEL'"),
        ("A" * 3000 + ",AIYL,-1,C", "line 2: expected a weight above 0"),
        ("ASEL,AIYL,1," + "C" * 3000, "line 2: expected the synapse to be one of chemical, electrical, extrasynaptic, got 'CCC"),
        ('"' + "A" * 200_000 + '",AIYL,1,C', "line 2: expected CSV, got a broken line"),
    ],
    ids=range(7),
)
def test_edge_lists(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "w.csv"
    path.write_text(f"{EDGES}{row}\n")
    text = refused("w.csv", path, reads=not message)
    assert (message in text) if "{" not in message else text.count("9") > 50
    path.write_text(",".join(f"column-{n}" for n in range(5000)) + "\n1\n")
    assert "expected 5000 fields as in the first line, got 1" in refused("w.csv", path)


BOMB = (
    '<!DOCTYPE g [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdef", "bcdefg", strict=True))
    + "]>"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": "9" * 20}, ""),
        ({"weight": "9" * 20, "type": "int"}, ""),
        ({"weight": "9" * 5000, "type": "int"}, "Exceeds the limit"),
        ({"weight": "9" * 5000, "type": "boolean"}, "expected GraphML, got unreadable content"),
        ({"weight": "1e999"}, "expected a weight above 0, finite in float32, got inf"),
        ({"doctype": BOMB, "name": "&g;"}, "line 2: expected no entity declarations, got 'a'; remove it"),
        (
            {"doctype": f'<!DOCTYPE g [<!ATTLIST node a CDATA "{"a" * 999}">]>'},
            "expected no attribute declarations, got some of 'node'; remove",
        ),
        ({"name": "AS&#0;EL"}, "malformed XML"),
        ({"name": "AS&#10;EL"}, r"got 'AS\nEL'"),
        *(
            ({"encoding": name}, f"line 1: expected an encoding of utf-8, .*, got '{name}'")
            for name in ("utf-7", "utf-32", "idna", "hex", "punycode", "shift_jis", "cp037", "unicode_escape", "undefined", "x" * 300)
        ),
        ({"encoding": "utf-16"}, "malformed XML"),
    ],
    ids=range(20),
)
def test_graphml(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = tmp_path / "w.graphml"
    path.write_bytes(graphml(**changes))
    text = refused("w.graphml", path, reads=not message)
    assert all(part[:90] in text for part in message.split(", .*, got 'x")[0].split(".*"))


def matrix_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


MARKET = b"%%MatrixMarket matrix coordinate real general\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "w.npy",
            matrix_of(np.ones((2, 5))),
            "expected a square matrix of numbers, with at most 16,777,216 rows, got float64 of shape (2, 5)",
        ),
        ("w.npy", matrix_of(np.array([["a"]])), "expected a square matrix of numbers, with at most 16,777,216 rows, got <U1"),
        ("w.npy", matrix_of(np.array([[print, 1]], dtype=object)), "expected a matrix, got unreadable content (Object arrays cannot be"),
        ("w.npy", matrix_of(np.ones((5, 5)))[:-9], "expected a matrix, got unreadable content"),
        ("w.npy", matrix_of(np.diag([1.0, np.nan])), "row 1, column 1: expected a weight above 0, finite in float32, got nan"),
        ("w.npy", matrix_of(np.zeros((3, 3))), "expected a wiring, got a matrix of zeros"),
        ("w.mtx", MARKET + b"2 2 1\n1 2 -3\n", "row 0, column 1: expected a weight above 0, finite in float32, got -3.0"),
        ("w.mtx", MARKET + b"2 2 99999999999\n1 2 3\n", "expected a matrix, got unreadable content (it ends before its entries do)"),
        ("w.mtx", MARKET + b"2 2 1\n1 9 3\n", "expected a matrix, got unreadable content"),
        ("w.mtx", MARKET + b"99999999999 99999999999 1\n1 2 3\n", "expected a square matrix of numbers, with at most 16,777,216 rows"),
        ("w.gml", b"graph [ node [ id 1 ] edge [ source 1 target 2 ] ]", "expected GML, got unreadable content (edge #0 has undefined"),
        ("w.gexf", b"<!DOCTYPE g [<!ENTITY a 'b'>]><gexf/>", "line 1: expected no entity declarations, got 'a'"),
        ("w.tsv", b"pre\tpost\tweight\na\tb\t0\n", "line 2: expected a weight above 0, finite in float32, got '0'"),
    ],
)
def test_matrices_and_graphs(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refused(name, path)


def test_graphml_may_be_in_utf_16_and_deep(tmp_path: Path) -> None:
    path = tmp_path / "w.graphml"
    path.write_bytes(graphml(encoding="utf-16").decode().encode("utf-16"))
    assert Connectome.from_edges(path).num_edges == 1
    path.write_bytes(b"<graphml>" + b"<graph>" * 10**5 + b"</graph>" * 10**5 + b"</graphml>")
    assert "without edges" in refused("w.graphml", path)


@pytest.mark.parametrize("name", ["AS\0EL", "AS\nEL", "\ud800", "A" * 10**4])
def test_names_in_graphs_are_printable(name: str) -> None:
    graph = nx.DiGraph()
    graph.add_node(name, role="sensory")
    graph.add_node("AIYL", role="inter")
    graph.add_edge(name, "AIYL", weight=1, synapse="C")
    if name.isprintable():
        assert Connectome.from_edges(graph).neuron_name[0] == name
        return
    with pytest.raises(ValueError, match="expected a neuron's name of printable characters") as caught:
        Connectome.from_edges(graph)
    assert str(caught.value).isprintable()


def test_image_folders_with_what_cannot_be_read(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    for kind in ("a", "b"):
        (tmp_path / "zoo" / kind).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "zoo" / kind / f"{number}.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"a/0\.png: expected an image, got damaged bytes \(of no known format\); replace"):
        load_images(tmp_path / "zoo", cache=tmp_path / "cache")
    (tmp_path / "zoo" / "a" / "0.png").unlink()
    os.mkfifo(tmp_path / "zoo" / "a" / "0.png")
    with pytest.raises(ValueError, match=r"a/0\.png: expected an image file"):
        load_images(tmp_path / "zoo")
    for split in ("train", "test"):
        (tmp_path / "set").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "set" / f"{split}.parquet")
    with pytest.raises(
        ValueError, match=r"test\.parquet' is a pipe or a device; give a file|train\.parquet' is a pipe or a device; give a file"
    ):
        load_images(tmp_path / "set")
