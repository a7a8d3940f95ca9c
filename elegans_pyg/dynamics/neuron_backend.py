"""NEURON as the reference: the same simulation through c302, NeuroML and jNeuroML, in a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice, check_number, check_whole
from elegans_pyg._files import cache_folder, sha256
from elegans_pyg.dynamics.simulate import check_current, count_steps
from elegans_pyg.dynamics.worm import Worm

_WORKER = Path(__file__).with_name("neuron_worker.py")
_PACKAGES = ("neuron", "c302", "pyneuroml")


class NeuronRun(NamedTuple):
    """Result of :func:`simulate_neuron`: ``time_ms (T,)``, ``voltage_mV (S, T, R)``, seconds per stimulus ``(S,)``, and for the set-up."""

    time_ms: Tensor
    voltage_mV: Tensor
    seconds: Tensor
    setup_s: float


def simulate_neuron(
    current_pA: Tensor,
    inputs: Sequence[str],
    dt_ms: float = 0.05,
    duration_ms: float = 500.0,
    record: Sequence[str] | None = None,
    ablate: Sequence[str] = (),
    parameters: str = "C1",
    d_lambda: float | None = None,
    substeps: int = 1,
    folder: str | Path | None = None,
    python: str | Path | None = None,
) -> NeuronRun:
    """Simulate c302's network in NEURON (Hines & Carnevale 1997, doi:10.1162/neco.1997.9.6.1179), one stimulus after another.

    c302 writes the network as NeuroML, jNeuroML exports it, its mechanisms are compiled, and currents flow in through one ``IClamp`` per
    input. NEURON's fixed step is of first order, and the export treats synaptic currents explicitly, so that strong input makes it diverge
    to NaN. Currents and voltages are timed as in :func:`~elegans_pyg.dynamics.simulate`.

    Args:
        current_pA, inputs, dt_ms, duration_ms, record, ablate: see :func:`~elegans_pyg.dynamics.simulate`; neurons of ``"D"`` and ``"D1"``
            are driven and recorded at the soma, unless a segment is named.
        parameters: c302's parameter set: ``"C1"`` and ``"D1"``, those of ``Worm("c302-C1")`` and ``Worm("c302-D1")``, or ``"D"``, D1
            with other densities and with synapses that are triggered by spikes. Neurons of D and D1 have their shapes.
        d_lambda: longest compartment, see ``compartments`` of :class:`~elegans_pyg.dynamics.Worm`; ``None`` for one per section.
        substeps: NEURON's steps in each of ``dt_ms``.
        folder: where the exported network is kept for later calls; by default a folder in the user's cache.
        python: interpreter of the environment that has NEURON; by default that of the environment variable
            ``ELEGANS_PYG_NEURON_PYTHON``, or the running one.

    Raises:
        ImportError, FileNotFoundError: if the interpreter lacks NEURON, c302 or pyNeuroML; if it, Java, a C++ compiler or make is missing.
        RuntimeError: if c302, jNeuroML or NEURON fails; the message ends with the last line of its output.
        ValueError: for an unknown parameter set or neuron, and currents as in :func:`~elegans_pyg.dynamics.simulate`.
    """
    check_choice("parameters", parameters, ("C1", "D", "D1"))
    check_whole("substeps", substeps, 1)
    if d_lambda is not None:
        check_number("d_lambda", d_lambda, above=True)
    steps = count_steps(dt_ms, duration_ms)
    worm = Worm("c302-C1" if parameters == "C1" else "c302-D1")
    gone = worm.resolve(ablate, "ablate", classes=True)
    worm = worm.without(ablate) if gone else worm
    into = worm.resolve(inputs, "inputs")
    recorded = worm.neuron_name if record is None else worm.resolve(record, "record")
    if not recorded:
        raise ValueError("record: expected at least one neuron, got none; name some, or give None for all")
    check_current(current_pA, steps, into)
    interpreter = _interpreter(python)
    network = _network(cache_folder("neuron") if folder is None else Path(folder), interpreter, parameters, sorted(gone))
    with tempfile.TemporaryDirectory() as work:
        job, result = Path(work) / "job.npz", Path(work) / "result.npz"
        times: dict[str, Any] = {"duration_ms": duration_ms, "integration_dt_ms": dt_ms / substeps, "substeps": substeps, "every": 1}
        times["d_lambda"] = d_lambda or 0.0
        np.savez(job, inputs=into, record=recorded, current_pA=current_pA.detach().cpu().double().numpy(), **times)
        _call(interpreter, "run", network, job, result)
        with np.load(result) as arrays:
            voltage, seconds, setup_s = arrays["voltage_mV"], arrays["seconds"], float(arrays["setup_s"])
    time_ms = torch.arange(1, steps + 1, dtype=torch.float64) * dt_ms
    return NeuronRun(time_ms.to(current_pA.dtype), torch.from_numpy(voltage).to(current_pA.dtype), torch.from_numpy(seconds), setup_s)


def neuron_missing(python: str | Path | None = None) -> str:
    """What keeps NEURON from running here and how to install it, in one line; empty if it can run."""
    try:
        _interpreter(python)
    except (ImportError, FileNotFoundError) as error:
        return str(error)
    return ""


def _interpreter(python: str | Path | None) -> Path:
    """The interpreter that has NEURON, after checking that everything that the export needs is installed."""
    interpreter = Path(python or os.environ.get("ELEGANS_PYG_NEURON_PYTHON") or sys.executable)
    if not interpreter.is_file():
        raise FileNotFoundError(f"python: expected an interpreter, got '{interpreter}', which does not exist; give the one that has NEURON")
    looked = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m) is None])"
    found = subprocess.run([interpreter, "-c", looked, *_PACKAGES], capture_output=True, text=True, check=False)
    if found.returncode:
        got = f"'{interpreter}', which failed"
        raise FileNotFoundError(f"python: expected an interpreter of Python, got {got}; give the one that has NEURON")
    if missing := ", ".join(found.stdout.split()):
        remedy = "run: pip install 'elegans-pyg[neuron]', or name another interpreter in ELEGANS_PYG_NEURON_PYTHON"
        raise ImportError(f"NEURON's reference simulation needs {missing}, not installed for {interpreter}; {remedy}")
    for program, package in (("java", "openjdk-17-jre-headless"), ("g++", "g++"), ("make", "make")):
        if shutil.which(program) is None:
            raise FileNotFoundError(f"NEURON's reference simulation needs '{program}', which is not on PATH; run: apt install {package}")
    return interpreter


def _network(folder: Path, interpreter: Path, parameters: str, ablated: list[str]) -> Path:
    """The folder of the exported and compiled network, which is made on first use."""
    asked = "import importlib.metadata as m, sys; print(*[m.version(p) for p in sys.argv[1:]])"
    versions = subprocess.run([interpreter, "-c", asked, *_PACKAGES], capture_output=True, text=True, check=True).stdout.strip()
    key = sha256(repr((versions, _WORKER.read_bytes(), parameters, ablated)).encode())[:16]
    network = folder.resolve() / f"c302-{parameters}-{key}"
    if not network.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        # Built in a temporary folder and moved into place, so that an interrupted build is never taken for a network.
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            _call(interpreter, "build", Path(partial) / "network", parameters, *ablated)
            try:
                os.replace(Path(partial) / "network", network)
            except OSError:
                if not network.is_dir():  # else another process was faster
                    raise
    return network


def _call(interpreter: Path, *arguments: str | Path) -> None:
    # The worker runs as a script, so that its interpreter needs neither torch nor this package.
    done = subprocess.run([interpreter, _WORKER, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"NEURON's worker failed at '{arguments[0]}': {said}")
