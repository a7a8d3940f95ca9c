"""WiringEnsemble: what a variant is, how well it matches, and what a cache may do."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch_geometric.data import Batch, Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.datasets.wiring_ensemble import WiringEnsemble
from elegans_pyg.nn import DAGNet
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG, RandomDAG, Rewired, WattsStrogatz
from tests.transforms.wirings import random_connectome, same

GENERATED = ("ws", "er", "ba")


@pytest.fixture(scope="module")
def base() -> Data:
    return random_connectome(0, 40, chemical=0.15)


@pytest.fixture(scope="module")
def hermaphrodite() -> Data:
    return Connectome("cook2019-hermaphrodite")[0]


def graphs(ensemble: WiringEnsemble) -> list[Data]:
    return [ensemble[i] for i in range(len(ensemble))]


@pytest.mark.parametrize("family", FAMILIES)
def test_variants(base: Data, family: str) -> None:
    before = base.clone()
    ensemble = WiringEnsemble(base, family, count=3, seed=7)
    assert len(ensemble) == 3
    assert repr(ensemble) == f"WiringEnsemble({family!r}, 3)"
    assert len({dag.wiring_seed for dag in ensemble}) == 3
    for dag in ensemble:
        assert dag.family == family
        assert type(dag.wiring_seed) is int
        assert nx.is_directed_acyclic_graph(nx.DiGraph(dag.edge_index.T.tolist()))
        assert dag.num_nodes == base.num_nodes
        assert dag.neuron_name == base.neuron_name
    assert same(base, before)
    # A variant depends on seed, family and its number alone.
    longer = WiringEnsemble(base, family, count=5, seed=7)
    assert all(same(a, b) for a, b in zip(graphs(ensemble), longer, strict=False))
    assert same(WiringEnsemble(base, family, count=1, seed=7)[0], longer[0])
    assert WiringEnsemble(base, family, count=1, seed=8)[0].wiring_seed != longer[0].wiring_seed
    if family != "connectome":
        assert not torch.equal(longer[0].edge_weight, longer[1].edge_weight)


def test_rewires_first_and_makes_the_dag_second(base: Data) -> None:
    dag = WiringEnsemble(base, "rewired", count=1, seed=3, fraction=0.5)[0]
    assert torch.equal(dag.edge_index, ConstrainedDAG()(Rewired(dag.wiring_seed, fraction=0.5)(base)).edge_index)
    dag = WiringEnsemble(base, "rewired", count=1, seed=3, dag="random")[0]
    assert torch.equal(dag.edge_index, RandomDAG(dag.wiring_seed)(Rewired(dag.wiring_seed)(base)).edge_index)
    dag = WiringEnsemble(base, "random_dag", count=1)[0]
    assert torch.equal(dag.edge_index, RandomDAG(dag.wiring_seed)(base).edge_index)
    dag = WiringEnsemble(base, "connectome", count=2)[1]
    assert torch.equal(dag.edge_index, ConstrainedDAG()(base).edge_index)


def test_graphs_and_report_are_the_same_for_any_number_of_threads(base: Data) -> None:
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            made.append(WiringEnsemble(base, "er", count=20, match="dag"))
    finally:
        torch.set_num_threads(before)
    assert all(same(a, b) for a, b in zip(*map(graphs, made), strict=True))
    assert made[0].match_report().equals(made[1].match_report())


def test_families_have_seeds_of_their_own(base: Data) -> None:
    seeds = [dag.wiring_seed for family in FAMILIES for dag in WiringEnsemble(base, family, count=2)]
    assert len(set(seeds)) == len(seeds)


def test_batches_beside_the_connectome(base: Data) -> None:
    nulls = WiringEnsemble(base, "er", count=2)
    batch = Batch.from_data_list([ConstrainedDAG()(base), *nulls])
    assert DAGNet(batch, channels=2, executor="levels")(torch.zeros(3, 1, 2, 4, 4)).shape == (3, 1, 2, 4, 4)
    assert Batch.from_data_list(list(nulls)).wiring_seed.tolist() == [dag.wiring_seed for dag in nulls]


@pytest.mark.parametrize("family", FAMILIES)
def test_match_report_on_the_hermaphrodite(hermaphrodite: Data, family: str) -> None:
    report = WiringEnsemble(hermaphrodite, family, count=2).match_report(channels=78)
    assert report["variant"].tolist() == [-1, 0, 1]
    assert report["family"].tolist() == ["base", family, family]
    assert (report["nodes"] == 282).all()
    assert (report["edges"] == 3567 - 37).all()
    assert report["parameters"].tolist() == [edges + 282 * 78 * 11 for edges in report["dag_edges"]]
    kept = ["dag_edges", "input_nodes", "output_nodes", "levels", "unreached_nodes"]
    if family != "random_dag":
        assert report.loc[0, kept].tolist() == [2263, 83, 24, 68, 0]
        assert (report["input_nodes"] == 83).all()
        assert family != "connectome" or (report[kept].nunique() == 1).all()
    else:
        assert (report["dag_edges"] == 2897).all()


def test_match_report_agrees_with_the_graphs(base: Data) -> None:
    ensemble = WiringEnsemble(base, "ws", count=4, p=0.3, density=1.2)
    report = ensemble.match_report(channels=2).iloc[1:]
    for row, dag in zip(report.to_dict("records"), ensemble, strict=True):
        assert row["wiring_seed"] == dag.wiring_seed
        assert row["dag_edges"] == dag.num_edges
        assert row["output_nodes"] == int(dag.output_mask.sum())
        edges = nx.DiGraph(dag.edge_index.T.tolist())
        edges.add_nodes_from(range(len(dag.input_mask)))
        inputs = dag.input_mask.nonzero().flatten().tolist()
        reached = set(inputs).union(*(nx.descendants(edges, node) for node in inputs))
        assert row["unreached_nodes"] == dag.num_nodes - len(reached)
        assert row["levels"] == nx.dag_longest_path_length(edges.subgraph(reached)) + 1
        assert row["parameters"] == sum(p.numel() for p in DAGNet(dag, channels=2).parameters())
    assert (report["edges"] == round(1.2 * int((base.edge_index[0] != base.edge_index[1]).sum()))).all()
    part = ensemble[2:].copy().match_report()
    assert part["wiring_seed"].tolist()[1:] == report["wiring_seed"].tolist()[2:]
    with pytest.raises(ValueError, match="channels: expected 1 or more, got 0"):
        ensemble.match_report(channels=0)


@pytest.mark.parametrize("dag", ["constrained", "random"])
@pytest.mark.parametrize("family", GENERATED)
def test_match_dag_on_the_hermaphrodite(hermaphrodite: Data, family: str, dag: str) -> None:
    ensemble = WiringEnsemble(hermaphrodite, family, count=2, match="dag", dag=dag)
    wanted = 2263 if dag == "constrained" else 2897
    report = ensemble.match_report()
    assert report["dag_edges"][0] == wanted
    assert all(abs(edges - wanted) <= 0.01 * wanted for edges in report["dag_edges"])
    assert all(same(a, b) for a, b in zip(ensemble, WiringEnsemble(hermaphrodite, family, 2, match="dag", dag=dag), strict=True))


@pytest.mark.parametrize(("family", "seed"), [("ba", 2), ("ws", 1), ("er", 5)])
def test_match_dag_that_takes_nearly_all_edges_there_are(family: str, seed: int) -> None:
    """Steps in proportion would lead beyond the 132 edges that twelve neurons can have."""
    ordered = Data(edge_index=torch.triu_indices(12, 12, 1), num_nodes=12)
    report = WiringEnsemble(ordered, family, count=1, seed=seed, match="dag").match_report()
    assert report["dag_edges"].tolist() == [66, 66]
    assert 66 < report["edges"][1] <= 132


def test_match_dag_that_cannot_be_reached(hermaphrodite: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    message = r"match: expected a DAG of ws with 2 edges to within 1 %, got [13] at best in 6 tries of up to 6 edges \(seed \d+\)"
    with pytest.raises(ValueError, match=message) as refusal:
        WiringEnsemble(chain, "ws", count=1, match="dag")
    seed = int(str(refusal.value).partition("(seed ")[2].partition(")")[0])
    assert 2 not in [ConstrainedDAG()(WattsStrogatz(seed, density=edges / 2)(chain)).num_edges for edges in range(1, 7)]
    monkeypatch.setattr("elegans_pyg.datasets.wiring_ensemble._MATCH_TRIES", 1)
    with pytest.raises(
        ValueError,
        match=r"expected a DAG of er with 2263 edges to within 1 %, got 1[89]\d\d at best in 1 tries of up to 79242 edges \(seed \d+\)",
    ):
        WiringEnsemble(hermaphrodite, "er", count=1, match="dag")


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in GENERATED])
def test_match_needs_a_density(base: Data, family: str) -> None:
    with pytest.raises(ValueError, match=rf"whose density can be chosen \(ws, er, ba\), got '{family}'"):
        WiringEnsemble(base, family, count=1, match="dag")


def test_refusals(base: Data) -> None:
    with pytest.raises(ValueError, match=r"family: expected one of connectome, ws, er, .*, random_dag, got 'lattice'"):
        WiringEnsemble(base, "lattice", count=1)
    with pytest.raises(TypeError, match=r"fraction: expected an option of family 'ws' \(p, density\); leave it out"):
        WiringEnsemble(base, "ws", count=1, fraction=0.5)
    with pytest.raises(TypeError, match=r"p: expected an option of family 'connectome' \(it has none\)"):
        WiringEnsemble(base, "connectome", count=1, p=0.5)
    with pytest.raises(ValueError, match="p: expected a number from 0 to 1, got 3"):
        WiringEnsemble(base, "ws", count=1, p=3)
    with pytest.raises(ValueError, match="count: expected 1 or more, got 0"):
        WiringEnsemble(base, "ws", count=0)
    with pytest.raises(TypeError, match=r"count: expected an integer, got 1\.5"):
        WiringEnsemble(base, "ws", count=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="match: expected None or 'dag', got 'edges'"):
        WiringEnsemble(base, "ws", count=1, match="edges")
    with pytest.raises(ValueError, match="dag: expected one of constrained, random, got 'bfs'"):
        WiringEnsemble(base, "ws", count=1, dag="bfs")
    with pytest.raises(ValueError, match="density: not allowed with match='dag'"):
        WiringEnsemble(base, "ws", count=1, match="dag", density=1.1)
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        WiringEnsemble(base, "ws", count=1, seed=-1)
    with pytest.raises(ValueError, match=r"seed: expected less than 2\*\*63, got 9{20}"):
        WiringEnsemble(base, "ws", count=1, seed=int("9" * 20))
    loops = base.clone()
    loops.edge_index = torch.arange(base.num_edges).remainder(40).repeat(2, 1)
    for match in (None, "dag"):
        with pytest.raises(ValueError, match="base: expected synapses between different neurons, got none"):
            WiringEnsemble(loops, "er", count=1, match=match)
    with pytest.raises(ValueError, match="base: expected a cyclic connectome, got a DAG"):
        WiringEnsemble(ConstrainedDAG()(base), "ws", count=1)


def test_leaves_global_random_state_alone(base: Data) -> None:
    states = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002, the legacy state is what is to stay
    for family in FAMILIES:
        WiringEnsemble(base, family, count=1)
    assert states[0] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(states[1], torch.get_rng_state())


def cache_files(root: Path) -> list[Path]:
    return sorted((root / "processed").iterdir())


@pytest.mark.parametrize("family", ["er", "rewired"])
@pytest.mark.parametrize("count", [1, 3])
def test_cache_reloads_equal(base: Data, tmp_path: Path, family: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = WiringEnsemble(base, family, count)
    first = WiringEnsemble(base, family, count, root=tmp_path)
    (path,) = cache_files(tmp_path)
    assert path.suffix == ".safetensors"
    monkeypatch.setattr(WiringEnsemble, "_make", lambda *_: pytest.fail("made again"))
    again = WiringEnsemble(base, family, count, root=tmp_path)
    for one, two, three in zip(fresh, first, again, strict=True):
        assert same(one, two)
        assert same(two, three)
    assert fresh.match_report().equals(again.match_report())


def test_every_choice_has_a_file_of_its_own(base: Data, tmp_path: Path) -> None:
    other = random_connectome(1, 40, chemical=0.15)
    WiringEnsemble(base, "er", 2, root=tmp_path)
    choices = ({"seed": 1}, {"count": 3}, {"match": "dag"}, {"dag": "random"}, {"density": 1.1}, {"base": other}, {"family": "ws"})
    for choice in choices:
        WiringEnsemble(**{"base": base, "family": "er", "count": 2, "root": tmp_path, **choice})  # type: ignore[arg-type]
    assert len(cache_files(tmp_path)) == len(choices) + 1


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def spoil_header(path: Path) -> None:
    path.write_bytes(b"\x00" * 40 + path.read_bytes()[40:])


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(bytes(content))


def spoil_metadata(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"wiring_seed", b"variant_sead"))


def spoil_foreign(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path)


def spoil_other_ensemble(path: Path) -> None:
    WiringEnsemble(random_connectome(2, 10), "er", 2, root=path.parents[1])
    (other,) = [file for file in path.parent.iterdir() if file != path]
    other.replace(path)


SPOILERS = (spoil_cut, spoil_header, spoil_empty, spoil_bit, spoil_metadata, spoil_foreign, spoil_other_ensemble)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_damaged_cache_is_made_again(base: Data, tmp_path: Path, spoil: object) -> None:
    fresh = WiringEnsemble(base, "er", 2, root=tmp_path)
    (path,) = cache_files(tmp_path)
    spoil(path)  # type: ignore[operator]
    with pytest.warns(UserWarning, match=f"cannot be used and is rebuilt: {path.name}".replace(path.name, ".*" + path.name)):
        mended = WiringEnsemble(base, "er", 2, root=tmp_path)
    assert all(same(a, b) for a, b in zip(fresh, mended, strict=True))
    assert all(same(a, b) for a, b in zip(fresh, WiringEnsemble(base, "er", 2, root=tmp_path), strict=True))
    assert cache_files(tmp_path) == [path]


def test_cache_is_readable_without_this_library(base: Data, tmp_path: Path) -> None:
    ensemble = WiringEnsemble(base, "er", 2, root=tmp_path)
    with safe_open(cache_files(tmp_path)[0], framework="numpy") as file:
        description = json.loads(json.loads(file.metadata()["elegans_pyg"])["content"])["description"]
        assert (description["family"], description["count"], description["options"]) == ("er", 2, {})
        assert np.array_equal(file.get_tensor("1/edge_index"), ensemble[1].edge_index.numpy())


def test_a_failed_write_leaves_nothing(base: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        WiringEnsemble(base, "er", 2, root=tmp_path)
    assert cache_files(tmp_path) == []


def test_what_cannot_be_cached_is_refused(base: Data, tmp_path: Path) -> None:
    odd = base.clone()
    odd.note = {1, 2}
    with pytest.raises(ValueError, match=r"data\.note: expected a tensor or plain text, numbers and lists to store, got set"):
        WiringEnsemble(odd, "er", 2, root=tmp_path)


def test_progress_shows_on_a_slow_terminal_alone(base: Data, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elegans_pyg.datasets.wiring_ensemble._PATIENCE_S", 0.0)
    WiringEnsemble(base, "er", 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    slow = WiringEnsemble(base, "er", 2)
    assert "er wirings" in capsys.readouterr().err
    assert len(slow) == 2
    WiringEnsemble(base, "er", 2, progress=False)
    assert capsys.readouterr().err == ""
