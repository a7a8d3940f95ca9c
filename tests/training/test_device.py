"""Device names mean what they say, and nothing else is taken in their place."""

from __future__ import annotations

import pytest
import torch

from elegans_pyg.training import resolve_device


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_cuda_where_there_is_any(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device("auto") == torch.device("cuda" if there else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


def test_cuda_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="'cuda:2' does not exist, the last CUDA device is 'cuda:1'"):
        resolve_device("cuda:2")


def test_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device: 'cuda' needs a CUDA GPU .*; use 'cpu' or 'auto'"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "mps", ""])
def test_unknown(name: str) -> None:
    with pytest.raises(ValueError, match="expected 'auto', 'cpu', 'cuda' or 'cuda:<number>'"):
        resolve_device(name)
