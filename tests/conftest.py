"""Settings that have to be made before anything is imported."""

from __future__ import annotations

import os
import signal

import torch

if not torch.cuda.is_available():
    # Triton defines its own library for its interpreter only if this is set when it is first imported.
    os.environ["TRITON_INTERPRET"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores already, and on the tests' small tensors threads cost more than they bring.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start

# A job in the background, or under nohup, is told to ignore these; what the tests say about them is meant for jobs that are not.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)
