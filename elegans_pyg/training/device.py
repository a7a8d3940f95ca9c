"""Where to train."""

import torch

from elegans_pyg.training.settings import check_device_name


def resolve_device(name: str = "auto") -> torch.device:
    """The device that ``"auto"`` (CUDA if there is any, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"`` stands for.

    Raises:
        ValueError: if ``name`` is none of these, or names a CUDA device that is not there.
    """
    try:
        check_device_name(name)
    except ValueError as error:
        raise ValueError(f"device: {error}") from None
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device: {name!r} needs a CUDA GPU and a CUDA build of torch, and neither was found; use 'cpu' or 'auto'")
        if device.index is not None and device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            raise ValueError(f"device: {name!r} is not there, the last CUDA device is 'cuda:{last}'; give a number up to {last}")
    return device
