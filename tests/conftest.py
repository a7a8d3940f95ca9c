"""Settings that have to be made before anything is imported."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    # Triton defines its own library for its interpreter only if this is set when it is first imported.
    os.environ["TRITON_INTERPRET"] = "1"
