"""Lists of graphs on disk: one safetensors file, whose header holds what is no tensor as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg._tensor_files import checksum, read_tensors, write_tensors


def hash_graph(data: Data) -> str:
    """SHA-256 of all that a graph holds.

    Raises:
        ValueError: if an attribute is neither a tensor nor plain JSON.
    """
    tensors, rest = _take_apart(data)
    return checksum(tensors, json.dumps(rest, sort_keys=True))


def save_graphs(path: Path, graphs: Sequence[Data], description: dict[str, Any]) -> None:
    """Write ``graphs`` and ``description`` to ``path``, all at once.

    Raises:
        ValueError: if an attribute is neither a tensor nor plain JSON.
        OSError: if the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    rests = []
    for number, graph in enumerate(graphs):
        of_graph, rest = _take_apart(graph)
        tensors.update({f"{number}/{name}": value for name, value in of_graph.items()})
        rests.append(rest)
    write_tensors(path, tensors, {"description": description, "graphs": rests})


def load_graphs(path: Path) -> tuple[list[Data], dict[str, Any]]:
    """Read what :func:`save_graphs` wrote.

    Raises:
        ValueError: if the file is truncated, altered, or not such a file.
        OSError: if it cannot be read.
    """
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
            raise ValueError(
                f"data.{name}: expected a tensor or plain text, numbers and lists to store, got {type(value).__name__};"
                " delete it first, or do without a cache"
            )
    return tensors, rest


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the value back as it is."""
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (str, bool, int, float)
