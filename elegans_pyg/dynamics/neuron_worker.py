"""The part of the NEURON backend that runs in the interpreter that has NEURON, as a script: nothing here imports torch or this package.

python neuron_worker.py build FOLDER LEVEL [NAME ...]     # c302 -> NeuroML -> jNeuroML -> compiled mechanisms, without the named cells
python neuron_worker.py run FOLDER JOB.npz RESULT.npz     # the stimuli of JOB, one after another
"""

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

NETWORK = "worm"
READER = "UpdatedSpreadsheetDataReader2"


def build(folder: Path, level: str, ablated: list[str]) -> None:
    """Write the network's NeuroML into ``folder``, export it for NEURON and compile its mechanisms."""
    import c302
    from pyneuroml.pynml import run_jneuroml

    # jNeuroML looks for NEURON's compiler in bin/ of NEURON_HOME, and that compiler for its interpreter on PATH.
    home = Path(sys.executable).parent
    os.environ["NEURON_HOME"] = str(home.parent)
    os.environ["PATH"] = f"{home}{os.pathsep}{os.environ.get('PATH', '')}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cells").mkdir(exist_ok=True)  # where level D puts a morphology a cell; c302 does not make it
    parameters = importlib.import_module(f"c302.parameters_{level}").ParameterisedModel()
    reader = importlib.import_module(f"c302.{READER}")
    cells, _ = reader.read_data(include_nonconnected_cells=True)
    left = {"cells": sorted(set(cells) - set(ablated)), "cells_to_stimulate": [], "muscles_to_include": []}
    c302.generate(NETWORK, parameters, data_reader=READER, **left, verbose=False, target_directory=str(folder))
    lems = folder / f"LEMS_{NETWORK}.xml"
    # Nothing is to be drawn, and voltages are read directly, so that no vector of every cell is kept.
    lems.write_text(re.sub(r"<(Display|OutputFile)\b.*?</\1>", "", lems.read_text(), flags=re.DOTALL))
    if not run_jneuroml("", lems.name, "-neuron", max_memory="4G", exec_in_dir=str(folder), verbose=False, exit_on_fail=False):
        raise RuntimeError("jNeuroML did not export the network")
    compiler = shutil.which("nrnivmodl", path=str(Path(sys.executable).parent)) or shutil.which("nrnivmodl")
    if compiler is None:
        raise RuntimeError("nrnivmodl was not found beside the interpreter nor on PATH")
    subprocess.run([compiler], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def run(folder: Path, job_file: Path, result_file: Path) -> None:
    """Simulate every stimulus of a job; elegans_pyg/dynamics/neuron_backend.py writes them."""
    import numpy as np

    job = dict(np.load(job_file))
    os.environ.setdefault("NEURON_MODULE_OPTIONS", "-nogui")
    os.chdir(folder)  # NEURON loads the mechanisms of the folder it is imported in
    sys.path.insert(0, str(folder))
    started = time.perf_counter()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        from neuron import h

        module = importlib.import_module(f"LEMS_{NETWORK}_nrn")
        network = module.NeuronSimulation(tstop=float(job["duration_ms"]), dt=float(job["integration_dt_ms"]))
    setup_s = time.perf_counter() - started

    if d_lambda := float(job.get("d_lambda", 0)):
        h.load_file("stdlib.hoc")
        for section in h.allsec():
            share = section.L / (d_lambda * h.lambda_f(100, sec=section))
            section.nseg = int((share + 0.9) / 2) * 2 + 1

    def place(name: str):  # type: ignore[no-untyped-def]
        """A soma's middle, or that of c302's segment, such as 17 of "PLML:17"."""
        neuron, _, number = name.partition(":")
        cell = getattr(h, f"a_{neuron}")[0]
        if not number:
            return (cell.Soma if hasattr(cell, "Soma") else cell.soma)(0.5)
        return segment(cell, folder / "cells" / f"{neuron}_D.cell.nml", number)

    clamps = []
    for name in job["inputs"]:
        clamp = h.IClamp(place(str(name)))
        clamp.delay, clamp.dur, clamp.amp = 0, 1e9, 0
        clamps.append(clamp)
    record = [str(name) for name in job["record"]]
    pointers, values = h.PtrVector(len(record)), h.Vector(len(record))
    for position, name in enumerate(record):
        pointers.pset(position, place(name)._ref_v)
    current_na = job["current_pA"] / 1000.0
    stimuli, steps, _ = current_na.shape
    substeps, every = int(job["substeps"]), int(job["every"])
    voltage = np.empty((stimuli, steps // every, len(record)), dtype=np.float64)
    seconds = np.empty(stimuli)
    for stimulus in range(stimuli):
        started = time.perf_counter()
        for clamp, amplitude in zip(clamps, current_na[stimulus, 0], strict=True):
            clamp.amp = amplitude
        h.dt = float(job["integration_dt_ms"])
        h.finitialize()
        for step in range(steps):
            for clamp, amplitude in zip(clamps, current_na[stimulus, step], strict=True):
                clamp.amp = amplitude
            for _ in range(substeps):
                h.fadvance()
            if (step + 1) % every == 0:
                pointers.gather(values)
                voltage[stimulus, step // every] = values.as_numpy()
        seconds[stimulus] = time.perf_counter() - started
    np.savez(result_file, voltage_mV=voltage, seconds=seconds, setup_s=setup_s)
    del network


def segment(cell, file: Path, number: str):  # type: ignore[no-untyped-def]
    """Where NEURON has the middle of a segment of a NeuroML cell, whose unbranched groups are its sections."""
    space = "{http://www.neuroml.org/schema/neuroml2}"
    for group in ElementTree.parse(file).iter(f"{space}segmentGroup"):
        members = [member.attrib["segment"] for member in group.iter(f"{space}member")]
        if number in members:
            section = getattr(cell, group.attrib["id"])
            row = members.index(number)
            return section((section.arc3d(row) + section.arc3d(row + 1)) / 2 / section.L)
    raise ValueError(f"{file}: expected segment {number} in one of its groups")


def main(arguments: list[str]) -> None:
    if arguments[0] == "build":
        build(Path(arguments[1]).resolve(), arguments[2], arguments[3:])
    else:
        run(*(Path(argument).resolve() for argument in arguments[1:4]))


if __name__ == "__main__":
    main(sys.argv[1:])
