from __future__ import annotations

import copy
import csv
import math

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.datasets.wiring_files import read_wiring
from elegans_pyg.datasets.wiring_tables import build_data, read_edges, read_neurons
from elegans_pyg.wirings import NEURON_TYPES

KNOWN = pd.DataFrame(
    [
        ("ASEL", "ASE", "sensory", "glutamate"),
        ("AIYL", "AIY", "inter", "acetylcholine"),
        ("VA1", "VA", "motor", "acetylcholine"),
        ("DD1", "DD", "motor", "GABA"),
        ("AVAL", "AVA", "inter", np.nan),
    ],
    columns=["name", "class", "type", "neurotransmitter"],
)
EDGES = "pre,post,weight,synapse\nASEL,AIYL,13,chemical\nAIYL,VA1,2.5,C\nVA1,DD1,1,electrical\n"
NEURONS = "name,type\nASEL,sensory\nAIYL,inter\nVA1,motor\nDD1,motor\n"

# Attributes and values are those of neurodata's c.elegans.herm_pharynx_1.graphml, written by igraph.
GRAPHML = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
<key id="v_name" for="node" attr.name="name" attr.type="string"/>
<key id="v_cell_name" for="node" attr.name="cell_name" attr.type="string"/>
<key id="v_role" for="node" attr.name="role" attr.type="string"/>
<key id="v_nt" for="node" attr.name="neurotransmitters" attr.type="string"/>
<key id="e_synapse_type" for="edge" attr.name="synapse_type" attr.type="string"/>
<key id="e_weight" for="edge" attr.name="weight" attr.type="double"/>
<graph id="G" edgedefault="directed">
<node id="n0"><data key="v_name">1</data><data key="v_cell_name">ASEL</data><data key="v_role">S</data><data key="v_nt">NA</data></node>
<node id="n1"><data key="v_name">2</data><data key="v_cell_name">AIYL</data><data key="v_role">NA</data><data key="v_nt">NA</data></node>
<node id="n2"><data key="v_name">3</data><data key="v_cell_name">VA01</data><data key="v_role">M</data><data key="v_nt">Ach</data></node>
<node id="n3"><data key="v_name">4</data><data key="v_cell_name">DD01</data><data key="v_role">M</data><data key="v_nt">GABA</data></node>
<edge source="n0" target="n1"><data key="e_synapse_type">C</data><data key="e_weight">13</data></edge>
<edge source="n0" target="n1"><data key="e_synapse_type">E</data><data key="e_weight">2</data></edge>
<edge source="n1" target="n0"><data key="e_synapse_type">E</data><data key="e_weight">2</data></edge>
<edge source="n2" target="n3"><data key="e_synapse_type">C</data><data key="e_weight">1</data></edge>
</graph>
</graphml>
"""


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def edges_of(data):
    """``{(pre, post, type): weight}`` by name."""
    names = data.neuron_name
    columns = zip(*data.edge_index.tolist(), data.edge_type.tolist(), data.edge_weight.tolist(), strict=True)
    return {(names[pre], names[post], kind): weight for pre, post, kind, weight in columns}


def assert_equal(left, right):
    assert left.neuron_name == right.neuron_name
    for key in ("x", "edge_index", "edge_weight", "edge_type", "neuron_type", "inhibitory"):
        assert torch.equal(left[key], right[key]), key
        assert left[key].dtype == right[key].dtype, key


def digraph():
    graph = nx.MultiDiGraph()
    graph.add_node("a", role="sensor")
    graph.add_node("b", role="interneuron")
    graph.add_node("c", role="motor", neurotransmitter="GABA")
    graph.add_edge("a", "b", weight=3, synapse="chemical")
    graph.add_edge("a", "b", weight=2, synapse="electrical")
    graph.add_edge("b", "c", weight=1, synapse="chemical")
    return graph


def test_csv_looks_types_up_by_name(write):
    data = read_wiring(write("w.csv", EDGES), known=KNOWN)
    assert data.neuron_name == ["ASEL", "AIYL", "VA1", "DD1"]
    assert [NEURON_TYPES[number] for number in data.neuron_type] == ["sensory", "inter", "motor", "motor"]
    assert data.inhibitory.tolist() == [False, False, False, True]
    assert edges_of(data) == {
        ("ASEL", "AIYL", 0): 13,
        ("AIYL", "VA1", 0): 2.5,
        ("VA1", "DD1", 1): 1,
        ("DD1", "VA1", 1): 1,
    }
    assert data.x.dtype == data.edge_weight.dtype == torch.float32
    assert data.edge_index.dtype == data.edge_type.dtype == data.neuron_type.dtype == torch.int64
    assert data.inhibitory.dtype == torch.bool
    assert torch.equal(data.x.argmax(1), data.neuron_type)
    assert torch.equal(data.x.sum(1), torch.ones(4))
    data.validate()


def test_csv_with_a_table_follows_the_table_alone(write):
    table = "class,type,name,neurotransmitter\nX,M,DD1,gaba; Ach\nX,sensory,VA1,Ach; GABA\nX,in,AIYL,\n\nX,other,ASEL,\n"
    data = read_wiring(write("w.csv", EDGES), write("n.csv", table), known=KNOWN)
    assert data.neuron_name == ["DD1", "VA1", "AIYL", "ASEL"]
    assert [NEURON_TYPES[number] for number in data.neuron_type] == ["motor", "sensory", "inter", "other"]
    assert data.inhibitory.tolist() == [True, False, False, False]


def test_csv_accepts_what_spreadsheets_write(write):
    text = '\ufeffPLACEHOLDER,synapse,weight,post,pre\r\n"a, ""b""", Chemical , 1e1 ,"AIYL"," ASEL"\r\n\r\n,,,,\r\n'
    data = read_wiring(write("w.CSV", text.replace("PLACEHOLDER", "note")), known=KNOWN)
    assert edges_of(data) == {("ASEL", "AIYL", 0): 10}


def test_a_neuron_called_na_is_a_neuron(write):
    data = read_wiring(write("w.csv", "pre,post,weight,synapse\nNA,nan,1,C\n"), write("n.csv", "name,type\nNA,S\nnan,M\n"))
    assert data.neuron_name == ["NA", "nan"]


def test_zeros_before_numbers_do_not_matter_in_the_lookup(write):
    data = read_wiring(write("w.csv", "pre,post,weight,synapse\nVA01,DD01,1,C\n"), known=KNOWN)
    assert data.neuron_name == ["VA01", "DD01"]
    assert data.inhibitory.tolist() == [False, True]


def test_isolated_neurons_and_kinds_of_synapse(write):
    table = write("n.csv", "name,type\nAVAL,inter\n" + NEURONS.partition("\n")[2])
    path = write("w.csv", EDGES)
    assert read_wiring(path, table).neuron_name == ["ASEL", "AIYL", "VA1", "DD1"]
    assert read_wiring(path, table, keep_isolated=True).neuron_name == ["AVAL", "ASEL", "AIYL", "VA1", "DD1"]
    chemical = read_wiring(path, table, synapses="chemical")
    assert edges_of(chemical) == {("ASEL", "AIYL", 0): 13, ("AIYL", "VA1", 0): 2.5}
    assert chemical.neuron_name == ["ASEL", "AIYL", "VA1"]
    electrical = read_wiring(path, table, synapses="electrical", keep_isolated=True)
    assert edges_of(electrical) == {("VA1", "DD1", 1): 1, ("DD1", "VA1", 1): 1}
    assert electrical.num_nodes == 5


def test_electrical_edges_listed_both_ways_stay_as_listed(write):
    path = write("w.csv", "pre,post,weight,synapse\nASEL,AIYL,1,E\nAIYL,ASEL,2,E\nVA1,VA1,3,E\n")
    assert edges_of(read_wiring(path, known=KNOWN)) == {("ASEL", "AIYL", 1): 1, ("AIYL", "ASEL", 1): 2, ("VA1", "VA1", 1): 3}


def test_graphml_as_neurodata_publishes_it(write):
    data = read_wiring(write("w.graphml", GRAPHML), known=KNOWN)
    assert data.neuron_name == ["ASEL", "AIYL", "VA01", "DD01"]
    assert [NEURON_TYPES[number] for number in data.neuron_type] == ["sensory", "inter", "motor", "motor"]
    assert data.inhibitory.tolist() == [False, False, False, True]
    assert edges_of(data) == {
        ("ASEL", "AIYL", 0): 13,
        ("ASEL", "AIYL", 1): 2,
        ("AIYL", "ASEL", 1): 2,
        ("VA01", "DD01", 0): 1,
    }


def test_graphml_with_a_prefix_or_without_namespace(write):
    expected = read_wiring(write("w.graphml", GRAPHML), known=KNOWN)
    header = GRAPHML[GRAPHML.index("<graphml") : GRAPHML.index("<key")]
    bare = GRAPHML.replace(header, "<graphml>\n")
    prefixed = bare.replace("</", "</g:").replace("<graph", "<g:graph").replace("<key", "<g:key").replace("<data", "<g:data")
    prefixed = prefixed.replace("<node", "<g:node").replace("<edge", "<g:edge")
    prefixed = prefixed.replace("<g:graphml>", '<g:graphml xmlns:g="http://graphml.graphdrawing.org/xmlns">')
    assert_equal(read_wiring(write("bare.xml", bare), known=KNOWN), expected)
    assert_equal(read_wiring(write("prefixed.xml", prefixed), known=KNOWN), expected)


def test_graphml_with_two_weights_an_edge(tmp_path):
    graph = nx.DiGraph()
    graph.add_nodes_from(["ASEL", "AIYL", "DD1"])
    graph.add_edge("ASEL", "AIYL", chemical_weight=4.0, electrical_weight=0.0)
    graph.add_edge("AIYL", "ASEL", chemical_weight=2.0, electrical_weight=1.0)
    graph.add_edge("AIYL", "DD1", electrical_weight=5.0)
    nx.write_graphml(graph, tmp_path / "male.graphml")
    assert edges_of(read_wiring(tmp_path / "male.graphml", known=KNOWN)) == {
        ("ASEL", "AIYL", 0): 4,
        ("AIYL", "ASEL", 0): 2,
        ("AIYL", "ASEL", 1): 1,
        ("ASEL", "AIYL", 1): 1,
        ("AIYL", "DD1", 1): 5,
        ("DD1", "AIYL", 1): 5,
    }


def test_graphml_and_graph_take_their_neurons_from_a_table(write):
    table = write("n.csv", "name,type\nDD01,S\nVA01,S\nAIYL,S\nASEL,S\n")
    data = read_wiring(write("w.graphml", GRAPHML), table)
    assert data.neuron_name == ["DD01", "VA01", "AIYL", "ASEL"]
    assert data.neuron_type.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"graph, node 'b': expected a neuron of the neuron table, got 'b'; add it"):
        read_wiring(digraph(), write("few.csv", "name,type\na,S\n"))
    twice = nx.relabel_nodes(digraph(), {"b": 1, "c": 2})
    nx.set_node_attributes(twice, {1: "b", 2: "b"}, "cell_name")
    with pytest.raises(ValueError, match=r"graph, node '2': expected each neuron once, got 'b' again, after graph, node '1'"):
        read_wiring(twice, write("ab.csv", "name,type\na,S\nb,S\n"))


def test_networkx_graph_is_read_and_left_alone():
    graph = digraph()
    before = copy.deepcopy(graph)
    data = read_wiring(graph)
    assert edges_of(data) == {("a", "b", 0): 3, ("a", "b", 1): 2, ("b", "a", 1): 2, ("b", "c", 0): 1}
    assert data.inhibitory.tolist() == [False, False, True]
    assert nx.utils.graphs_equal(graph, before)


def test_undirected_graphs_hold_electrical_synapses_only():
    graph = nx.Graph()
    graph.add_node(0, type="sensory")
    graph.add_node(1, type="motor")
    graph.add_edge(1, 0, weight=2, synapse_type="E")
    assert edges_of(read_wiring(graph)) == {("0", "1", 1): 2, ("1", "0", 1): 2}
    graph.edges[0, 1]["synapse_type"] = "C"
    with pytest.raises(
        ValueError, match=r"edge '0' to '1': expected a direction for a chemical synapse, got an undirected graph; give a dir"
    ):
        read_wiring(graph)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"w\.csv: expected text, got an empty file; fill it"),
        (" \n\n", r"w\.csv: expected text, got an empty file"),
        ("pre,post,weight,synapse\n", r"w\.csv: expected lines after the first, got none; fill"),
        (",,\n", r"w\.csv: expected a table, got only empty cells; fill"),
        ("# a list\n% of edges\n", r"w\.csv: expected edges, got only comments; fill"),
        ("name\nASEL\nAIYL\n", r"w\.csv, line 1: expected an edge list of two columns or more, or a square matrix, got 1 column; give"),
        ("ASEL,AIYL,abc\nAIYL,VA1,1\nVA1,ASEL,x\n", r"w\.csv, line 1: expected a weight above 0, finite in float32, got 'abc'; corr"),
        ("ASEL;AIYL;1,250\nAIYL;VA1;2,500\n", r"w\.csv, line 1: expected a weight above 0, .* got '1,250'"),
        ("0,1,0,0\n0,0,nan,0\n0,0,0,1\n1,0,0,0\n", r"w\.csv, line 2, column '2': expected a weight above 0, .* got 'nan'"),
        (",a,b\na,0,-1\nb,0,0\n", r"w\.csv, line 2, column 'b': expected a weight above 0, .* got '-1'"),
        (",a,b\na,0,0\nb,0,0\n", r"w\.csv: expected a wiring, got a matrix of zeros"),
        ("a b {'weight': 3}\nb a {'weight': }\n", r"w\.csv, line 2: expected an edge as in a b .*, got \"b a \{'weight': \}\""),
        ("a b {'weight': 3}\nb a {}\n", r"w\.csv, line 2: expected an edge with the attribute weight, got none; add it"),
        ("pre,post,weight,synapse,pre\na,b,1,C,d\n", r"w\.csv, line 1: expected column names that differ"),
        (EDGES + "ASEL,VA1,1\n", r"w\.csv, line 5: expected 4 fields as in the first line, got 3; correct"),
        (EDGES + "ASEL,VA1,1,C,9\n", r"w\.csv, line 5: expected 4 fields as in the first line, got 5; correct"),
        (EDGES + 'ASEL,"VA1,1,C\n', r"w\.csv, line 5: expected CSV, got a broken line \(.*\); correct its quotes"),
        (EDGES + "ASEL,VA1,nan,C\n", r"w\.csv, line 5: expected a weight above 0, finite in float32, got 'nan'; correct"),
        (EDGES + "\n\nASEL,VA1,inf,C\n", r"w\.csv, line 7: expected a weight above 0, finite in float32, got 'inf'"),
        (EDGES + "ASEL,VA1,-1,C\n", r"w\.csv, line 5: .* got '-1'"),
        (EDGES + "ASEL,VA1,0,C\n", r"w\.csv, line 5: .* got '0'"),
        (EDGES + "ASEL,VA1,1e39,C\n", r"w\.csv, line 5: .* got '1e39'"),
        (EDGES + "ASEL,VA1,1e-50,C\n", r"w\.csv, line 5: .* got '1e-50'"),
        (EDGES + "ASEL,VA1,1_0,C\n", r"w\.csv, line 5: .* got '1_0'"),
        (EDGES + "ASEL,VA1,many,C\n", r"w\.csv, line 5: .* got 'many'; correct or remove it"),
        (EDGES + "ASEL,VA1,,C\n", r"w\.csv, line 5: .* got ''"),
        (
            EDGES + "ASEL,VA1,1,gap\n",
            r"w\.csv, line 5: expected the synapse to be one of chemical, electrical, extrasynaptic, got 'gap'; correct",
        ),
        (
            EDGES + "ASEL,AIYL,1,C\n",
            r"w\.csv, line 5: expected each edge once, got the chemical edge 'ASEL' to 'AIYL' again, after .*line 2;",
        ),
        (EDGES + "ASEL,,1,C\n", r"w\.csv, line 5: expected a neuron's name in post, got nothing; fill it in"),
        (EDGES.encode("utf-16"), r"w\.csv: expected UTF-8 text, got an invalid byte at position 0; save it in UTF-8"),
        (EDGES.replace("ASEL", "ASÉL").encode("latin-1"), r"w\.csv: expected UTF-8 text, got an invalid byte at position \d+"),
        (b"pre,post\0,weight,synapse\n", r"w\.csv: expected text, got a binary file"),
    ],
)
def test_broken_edge_lists_are_refused(write, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_wiring(write("w.csv", text), known=KNOWN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nASEL\n", r"w\.csv, line 2: expected a listed neuron, got 'AIYL'; add it to the neurons or remove the edge"),
        ("name,type\n", r"n\.csv: expected lines after the first, got none; fill"),
        (NEURONS + "Q\n", r"n\.csv, line 6: expected 2 fields as in the first line, got 1; correct"),
        (NEURONS + ",motor\n", r"n\.csv, line 6: expected a neuron's name of printable characters, got nothing; name it"),
        (NEURONS + "ASEL,motor\n", r"n\.csv, line 6: expected each neuron once, got 'ASEL' again, after .*n\.csv, line 2; remove one"),
        (
            NEURONS.replace("VA1,motor\n", ""),
            r"w\.csv, line 3: expected a listed neuron, got 'VA1'; add it to the neurons or remove the edge",
        ),
    ],
)
def test_broken_neuron_tables_are_refused(write, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_wiring(write("w.csv", EDGES), write("n.csv", text), known=KNOWN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</graphml>", "", r"w\.graphml: expected GraphML, got malformed XML \(no element found: line 21, column 0\); correct"),
        (GRAPHML, "pre,post\na,b\n", r"w\.graphml: expected GraphML, got malformed XML"),
        (GRAPHML, "\x89PNG\r\n\x00\x01", r"w\.graphml: expected GraphML, got malformed XML"),
        (GRAPHML, "", r"w\.graphml: expected a wiring, got an empty file"),
        (GRAPHML, "<html/>", r"w\.graphml: expected GraphML, got unreadable content \(file not successfully read as graphml\)"),
        ('encoding="UTF-8"', 'encoding="no-such"', r"w\.graphml, line 1: expected an encoding of utf-8, .*, got 'no-such'; save it as"),
        ('<node id="n3">', '<node id="n0">', r"w\.graphml, line 14: expected each node id once, got 'n0' again, after line 11; remove"),
        ('<node id="n3">', "<node>", r"w\.graphml, line 14: expected the attribute id of the node, got none; add it"),
        (">DD01<", ">VA01<", r"w\.graphml, line 14: expected each neuron once, got 'VA01' again, after .*line 13"),
        ('target="n3"', 'target="n9"', r"w\.graphml, line 18: expected an edge between listed nodes, got 'n9'; add the node"),
        ('target="n3"', "", r"w\.graphml, line 18: expected the attribute target of the edge, got none"),
        (">13<", ">-13<", r"w\.graphml, line 15: expected a weight above 0, finite in float32, got -13\.0"),
        (">13<", ">NaN<", r"w\.graphml, line 15: .* got nan; correct"),
        (">13<", ">many<", r"w\.graphml: expected GraphML, got unreadable content \(could not convert string to float: 'many'\)"),
        ('<data key="e_weight">13</data>', "", r"w\.graphml, line 15: expected an edge with the attribute weight, got synapsetype; add it"),
        (
            ">E</data>",
            ">C</data>",
            r"w\.graphml, line 16: expected each edge once, got the chemical edge 'ASEL' to 'AIYL' again, after .*line 15",
        ),
        ('key="v_role"', 'key="nothing"', r"w\.graphml: expected GraphML, got unreadable content \(Bad GraphML data: no key nothing\)"),
        ("<graphml", '<!DOCTYPE g [<!ENTITY a "b">]>\n<graphml', r"w\.graphml, line 2: expected no entity declarations, got 'a'; remove"),
        ("directed", "undirected", r"w\.graphml, line 15: expected a direction for a chemical synapse, got an undirected graph"),
        ("</graph>", "</graph><graph><edge source='n0' target='n1'/></graph>", r"w\.graphml: expected one graph"),
    ],
)
def test_broken_graphml_is_refused(write, old, new, message):
    assert old in GRAPHML
    with pytest.raises(ValueError, match=message) as caught:
        read_wiring(write("w.graphml", GRAPHML.replace(old, new)), known=KNOWN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf, None, True, "x", [1], 10**400])
def test_bad_weights_in_graphs_are_refused(weight):
    graph = digraph()
    graph.add_edge("c", "a", weight=weight, synapse="chemical")
    with pytest.raises(
        ValueError, match=r"graph, edge 'c' to 'a': expected a weight above 0, finite in float32, got .+; correct or remove it"
    ):
        read_wiring(graph)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"weight": 1}, r"graph, edge 'c' to 'a': expected an edge with the attribute synapse_type, got weight; add it"),
        ({"synapse": "C"}, r"graph, edge 'c' to 'a': expected an edge with the attribute weight, got synapse; add it"),
        ({}, r"graph, edge 'c' to 'a': expected an edge with the attribute synapse_type, got none; add it"),
        (
            {"chemical_weight": 0, "electrical_weight": 0.0},
            r"expected a chemical_weight or electrical_weight above 0, got neither; correct",
        ),
        ({"chemical_weight": -1}, r"expected a weight above 0, finite in float32, got -1"),
    ],
)
def test_edges_of_graphs_that_say_too_little_are_refused(attributes, message):
    graph = digraph()
    graph.add_edge("c", "a", **attributes)
    with pytest.raises(ValueError, match=message):
        read_wiring(graph)


def test_types_of_any_words():
    graph = digraph()
    graph.add_node("d", role="Kenyon cell")
    graph.add_node("AVAL")
    graph.add_edges_from([("c", "d"), ("d", "AVAL")], weight=1, synapse="C")
    data = read_wiring(graph, known=KNOWN)
    assert [NEURON_TYPES[number] for number in data.neuron_type] == ["sensory", "inter", "motor", "other", "inter"]
    assert data.cell_type == ["sensor", "interneuron", "motor", "Kenyon cell", "inter"]
    assert data.read_as.endswith("types of 4 of 5 neurons as given, types of 1 neurons by their names in C. elegans")


def test_names_of_half_the_neurons_make_it_a_worm(write):
    worm = read_wiring(write("w.csv", EDGES + "ASEL,Q9,1,C\n"), known=KNOWN)
    assert [NEURON_TYPES[number] for number in worm.neuron_type] == ["sensory", "inter", "motor", "motor", "other"]
    fly = read_wiring(write("fly.csv", "ASEL,x\nx,y\ny,z\nASEL,z\n"), known=KNOWN)
    assert [NEURON_TYPES[number] for number in fly.neuron_type] == ["sensory", "inter", "inter", "motor"]
    assert fly.read_as == "columns 1, 2 as edges, each of weight 1; no types: inputs are sources (1), outputs sinks (1)"


def test_graphs_without_edges_are_refused():
    with pytest.raises(ValueError, match=r"graph: expected a wiring, got a graph without edges; give another"):
        read_wiring(nx.DiGraph())


def test_sources_that_are_none_are_refused(write, tmp_path):
    for name in ("missing.csv", "missing.graphml", "missing"):
        with pytest.raises(FileNotFoundError, match=rf"source: there is no file '.*{name}'; check the name"):
            read_wiring(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        read_wiring(write("w.csv", EDGES), tmp_path / "missing.csv")
    for folder in (tmp_path, tmp_path / "folder.csv", tmp_path / "folder.graphml"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"source: expected an ordinary file, and '.*' is a folder; give a file"):
            read_wiring(str(folder))
    with pytest.raises(ValueError, match=r"w\.xlsx: expected text, a matrix or a graph, got a spreadsheet \.xlsx; save its"):
        read_wiring(write("w.xlsx", b"PK"))
    with pytest.raises(TypeError, match=r"source: expected a path, a NetworkX graph, .* or a PyG Data, got int; give one"):
        read_wiring(3)
    for frames in ((pd.DataFrame(index=range(5)),), (pd.DataFrame({"pre": ["a"], "post": ["b"]}), pd.DataFrame(index=range(5)))):
        with pytest.raises(ValueError, match=r"^(edges|neurons): expected lines after the first, got none; fill"):
            read_wiring(*frames)
    with pytest.raises(ValueError, match="neurons: not allowed with a Data, which has its own; set its neuron_name and neuron_type"):
        read_wiring(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2), pd.DataFrame({"name": ["a", "b"]}))


def test_kinds_of_synapse_are_checked(write):
    path = write("w.csv", "pre,post,weight,synapse\nASEL,AIYL,1,C\n")
    with pytest.raises(ValueError, match=r"synapses: expected one of chemical, electrical, extrasynaptic, both, got 'all'; choose"):
        read_wiring(path, known=KNOWN, synapses="all")
    with pytest.raises(ValueError, match=r"edges: expected synapses of the kind 'electrical', got none; add some"):
        read_wiring(path, known=KNOWN, synapses="electrical")


def test_build_data_takes_plain_tables_and_leaves_them_alone():
    neurons = pd.DataFrame({"name": ["a", "b"], "type": ["sensory", "motor"], "neurotransmitter": [np.nan, "GABA"]})
    edges = pd.DataFrame({"pre": ["b", "a"], "post": ["a", "b"], "weight": [2, 1], "synapse": ["chemical", "electrical"]})
    before = neurons.copy(), edges.copy()
    data = build_data(neurons, edges)
    assert edges_of(data) == {("b", "a", 0): 2, ("a", "b", 1): 1, ("b", "a", 1): 1}
    assert data.inhibitory.tolist() == [False, True]
    pd.testing.assert_frame_equal(neurons, before[0])
    pd.testing.assert_frame_equal(edges, before[1])
    with pytest.raises(ValueError, match=r"edges, row 1: expected a listed neuron, got 'z'"):
        build_data(neurons, edges.assign(post=["a", "z"]))
    with pytest.raises(ValueError, match=r"neurons, row 1: expected each neuron once, got 'a' again, after neurons, row 0"):
        build_data(neurons.assign(name="a"), edges)


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=4)
weights = st.floats(width=32, min_value=2.0**-126, max_value=2.0**100)


@st.composite
def wirings(draw):
    """Neurons ``{name: (type, inhibitory)}`` in order, and edges ``{(pre, post, type): weight}``; self-loops and isolated neurons too."""
    neurons = draw(st.dictionaries(names, st.tuples(st.sampled_from(NEURON_TYPES), st.booleans()), min_size=1, max_size=8))
    ends = st.sampled_from(list(neurons))
    edges = draw(st.dictionaries(st.tuples(ends, ends, st.integers(0, 1)), weights, min_size=1, max_size=20))
    return neurons, edges


def check_against(data, neurons, edges):
    expected = dict(edges)
    for (pre, post, kind), weight in edges.items():
        if kind == 1 and (post, pre, 1) not in edges:
            expected[post, pre, 1] = weight
    assert edges_of(data) == expected
    assert data.edge_index.shape[1] == len(expected)
    touched = {name for pre, post, _ in edges for name in (pre, post)}
    assert data.neuron_name == [name for name in neurons if name in touched]
    assert [NEURON_TYPES[number] for number in data.neuron_type] == [neurons[name][0] for name in data.neuron_name]
    assert data.inhibitory.tolist() == [neurons[name][1] for name in data.neuron_name]
    keys = list(zip(*data.edge_index.tolist(), data.edge_type.tolist(), strict=True))
    assert keys == sorted(keys)


@settings(max_examples=40, deadline=None)
@given(wirings())
def test_csv_round_trip(tmp_path_factory, wiring):
    neurons, edges = wiring
    folder = tmp_path_factory.mktemp("wiring")
    with open(folder / "n.csv", "w", newline="", encoding="utf-8") as file:
        rows = [(name, kind, "GABA" if inhibits else "") for name, (kind, inhibits) in neurons.items()]
        csv.writer(file).writerows([("name", "type", "neurotransmitter"), *rows])
    with open(folder / "w.csv", "w", newline="", encoding="utf-8") as file:
        rows = [(pre, post, repr(weight), ("chemical", "electrical")[kind]) for (pre, post, kind), weight in edges.items()]
        csv.writer(file).writerows([("pre", "post", "weight", "synapse"), *rows])
    data = read_wiring(folder / "w.csv", folder / "n.csv")
    check_against(data, neurons, edges)
    assert_equal(build_data(read_neurons(folder / "n.csv"), read_edges(folder / "w.csv")), data)


@settings(max_examples=40, deadline=None)
@given(wirings())
def test_graphml_and_networkx_round_trip(tmp_path_factory, wiring):
    neurons, edges = wiring
    graph = nx.MultiDiGraph()
    for number, (name, (kind, inhibits)) in enumerate(neurons.items()):
        graph.add_node(f"n{number}", cell_name=name, cell_type=kind, neurotransmitter="GABA" if inhibits else "NA")
    node = {name: f"n{number}" for number, name in enumerate(neurons)}
    for (pre, post, kind), weight in edges.items():
        graph.add_edge(node[pre], node[post], synapse_type="CE"[kind], weight=weight)
    path = tmp_path_factory.mktemp("wiring") / "w.graphml"
    nx.write_graphml(graph, path)
    data = read_wiring(graph)
    if not any(name.upper() in ("NA", "NAN", "NONE") for name in neurons):
        check_against(data, neurons, edges)
    assert_equal(read_wiring(path), data)
