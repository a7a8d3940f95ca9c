"""Lists of graphs on disk: one safetensors file, whose header holds what is no tensor as JSON. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch_geometric.data import Data


def hash_graph(data: Data) -> str:
    """SHA-256 of all that a graph holds.

    Raises:
        ValueError: if an attribute is neither a tensor nor plain JSON.
    """
    tensors, rest = _take_apart(data)
    return _checksum(tensors, json.dumps(rest, sort_keys=True))


def save_graphs(path: Path, graphs: Sequence[Data], description: dict[str, Any]) -> None:
    """Write ``graphs`` and ``description`` to ``path``, all at once: a reader sees the old file or the new one, never half of it.

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
    text = json.dumps({"description": description, "graphs": rests}, sort_keys=True)
    content = save(tensors, metadata={"content": text, "sha256": _checksum(tensors, text)})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_graphs(path: Path) -> tuple[list[Data], dict[str, Any]]:
    """Read what :func:`save_graphs` wrote.

    Raises:
        ValueError: if the file is truncated, altered, or not such a file.
        OSError: if it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, the file is no mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, but it is damaged ({error})") from error
    if "content" not in header or header.get("sha256") != _checksum(tensors, header["content"]):
        raise ValueError(f"{path}: expected a file of graphs with its checksum, but its content has been changed")
    content = json.loads(header["content"])
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


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
