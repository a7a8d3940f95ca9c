"""Which room may import which: one way only, from the command line down to the vocabulary of graphs, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx as nx
import pytest

PACKAGE = Path(__file__).parent.parent / "elegans_pyg"
ABOVE = ("cli", "recipes", "studies", "training")
# WiringEnsemble makes its graphs with transforms, and stands above them; the readers stand below.
FORBIDDEN = {
    "wirings.py": (*ABOVE, "datasets", "transforms", "nn", "models", "dynamics", "analysis", "plots"),
    "_[!_]*.py": (*ABOVE, "datasets", "transforms", "nn", "models", "dynamics", "analysis", "plots"),
    "transforms/*.py": (*ABOVE, "datasets", "nn", "models", "dynamics", "analysis", "plots"),
    "datasets/[!_w]*.py": (*ABOVE, "transforms", "nn", "models", "dynamics", "analysis", "plots"),
    "datasets/wiring_[!e]*.py": (*ABOVE, "transforms", "nn", "models", "dynamics", "analysis", "plots"),
    "datasets/**/*.py": (*ABOVE, "nn", "models", "dynamics", "analysis", "plots"),
    "nn/**/*.py": (*ABOVE, "models", "dynamics", "analysis", "plots"),
    "models/**/*.py": (*ABOVE, "dynamics", "analysis", "plots"),
    "dynamics/**/*.py": (*ABOVE, "analysis", "plots", "models"),
    "analysis/*.py": (*ABOVE, "plots"),
    "plots/*.py": ABOVE,
    "training/*.py": ("cli", "recipes", "studies", "analysis", "plots"),
    "studies/**/*.py": ("cli", "recipes"),
    "recipes/*.py": ("cli",),
}


def imported(file: Path) -> set[str]:
    """The modules of the package that a file imports when it runs, wherever in it that stands, and the rooms that it uses of ``ep``."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # ``from package import module`` names the module, and not the package.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ep":
            names.add(f"elegans_pyg.{node.attr}.")
    return {name for name in names if name.startswith("elegans_pyg")}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room: str) -> None:
    files = sorted(PACKAGE.glob(room))
    assert files
    for file in files:
        for name in imported(file):
            assert not name.startswith(tuple(f"elegans_pyg.{other}." for other in FORBIDDEN[room])), f"{file.name} imports {name}"


def test_no_circle() -> None:
    modules = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    graph = nx.DiGraph()
    for module, file in modules.items():
        for name in imported(file):
            # An attribute of a module, or a module.
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                graph.add_edge(module, target)
    circles = [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
    assert circles == []


def test_analysis_computes_and_does_not_show() -> None:
    for file in sorted((PACKAGE / "analysis").glob("*.py")):
        text = file.read_text()
        assert "import rich" not in text, file.name
        assert "from rich" not in text, file.name
        assert " print(" not in text, file.name


def test_functions_that_are_no_kernels_fit_on_a_page() -> None:
    long = []
    for file in PACKAGE.rglob("*.py"):
        if "kernels" in file.name:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 80:
                long.append(f"{file.name}: {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines")
    assert long == []
