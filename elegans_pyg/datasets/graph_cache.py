"""Lists of graphs on disk: one safetensors file, with everything that is not a tensor as JSON in its header."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg._tensor_files import checksum, read_tensors, write_tensors


def hash_graph(data: Data) -> str:
    """Return the SHA-256 of all attributes of a graph; raises ``ValueError`` if one is neither a tensor nor plain JSON."""
    tensors, rest = _take_apart(data)
    return checksum(tensors, json.dumps(rest, sort_keys=True))


def save_graphs(path: Path, graphs: Sequence[Data], description: dict[str, Any]) -> None:
    """Write graphs and their description atomically; raises as :func:`hash_graph`, and ``OSError`` if the file cannot be written."""
    parts = [_take_apart(graph) for graph in graphs]
    tensors = {f"{number}/{name}": value for number, (of_graph, _) in enumerate(parts) for name, value in of_graph.items()}
    write_tensors(path, tensors, {"description": description, "graphs": [rest for _, rest in parts]})


def load_graphs(path: Path) -> tuple[list[Data], dict[str, Any]]:
    """Read graphs and description written by :func:`save_graphs`; raises as :func:`~elegans_pyg._tensor_files.read_tensors`."""
    tensors, content = read_tensors(path)
    graphs = [Data(**rest) for rest in content["graphs"]]
    for name, value in tensors.items():
        number, attribute = name.split("/", 1)
        graphs[int(number)][attribute] = value
    return graphs, content["description"]


def _take_apart(data: Data) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, rest = {}, {}
    for name, value in data.to_dict().items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()
        elif _is_plain(value):
            rest[name] = value
        else:
            expected, got = "a tensor or plain text, numbers and lists to store", type(value).__name__
            raise ValueError(f"data.{name}: expected {expected}, got {got}; delete it first, or do without a cache")
    return tensors, rest


def _is_plain(value: Any) -> bool:
    """Return whether a value survives a round trip through JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and _is_plain(list(value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else value is None or type(value) in (str, bool, int, float)
