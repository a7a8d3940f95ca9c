"""Tensors and JSON content in one safetensors file: written atomically, and verified by a checksum when read. No pickle."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from elegans_pyg._files import write_atomic


def checksum(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256 of a text and named tensors, whatever the order of the names."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor], content: Any) -> Path:
    """Write contiguous tensors and JSON content atomically: a reader sees the old file or the new one; raises as :func:`write_atomic`."""
    text = json.dumps(content, sort_keys=True)
    # One entry, since safetensors writes several in any order, and equal content must give equal bytes.
    header = json.dumps({"content": text, "sha256": checksum(tensors, text)}, sort_keys=True)
    return write_atomic(path, save(tensors, metadata={"elegans_pyg": header}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`write_tensors` wrote; raise ``ValueError`` if the file is truncated, altered, or not such a file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("elegans_pyg", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, the file is no mapping
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: expected a safetensors file, but it is damaged ({error})") from error
    if "content" not in header or header.get("sha256") != checksum(tensors, header["content"]):
        raise ValueError(f"{path}: expected a file with its checksum, but its content has been changed")
    return tensors, json.loads(header["content"])
