#!/usr/bin/env python3
"""Write data/biophysics/c302-* from the networks and shapes that c302 has, data/connectomes/somata.csv from where it has the neurons, and
the NEURON traces that the tests compare with.

    pip install neuron==9.0.2 c302==0.12.1 pyneuroml==1.3.22        # in an environment of its own; Java 11 or newer, gcc and make beside it
    python scripts/build_biophysics.py constants                    # seconds
    python scripts/build_biophysics.py shapes --c302 ENV/lib/python3.11/site-packages/c302      # seconds, where this package runs
    python scripts/build_biophysics.py trace                        # half an hour: three stimuli at two small steps
    python scripts/build_biophysics.py trace-shapes                 # a quarter of an hour: c302-D1, with two sizes of compartments
    python scripts/build_biophysics.py ordinary                     # an hour and a half: five more, at smaller ones

The constants depend on c302 alone, so that running the script again gives the same bytes. What each file holds is in data/README.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
WORKER = ROOT / "elegans_pyg" / "dynamics" / "neuron_worker.py"
TRACE = ROOT / "tests" / "dynamics" / "c302-C1-neuron.npz"
INPUTS = ["PLML", "PLMR", "AVBL", "AVBR"]
# The segments farthest from the soma.
DISTAL = ["PLML:45", "PLMR:45", "AVBL:58", "AVBR:58", "PVDL:1494", "ALML:32", "DB1:56", "VB1:22", "AVM:42", "PVR:74"]
TARGET = ROOT / "data" / "biophysics"
UNBRANCHED = "sao864921383"  # NeuroLex: a section, in the words of NEURON
ORDINARY, KEPT_MV = ROOT / "tests" / "dynamics" / "c302-C1-ordinary.npz", 0.002
SPACE = "{http://www.neuroml.org/schema/neuroml2}"
LEVELS = ("C1", "D1")
# Factors to the units of the files: nS, mV, ms, pF, um, pM, Ohm cm; `density` to nS/um2, `specific` capacitance to pF/um2.
UNITS = {
    "nS": 1.0,
    "mV": 1.0,
    "ms": 1.0,
    "mM": 1e9,
    "per_ms": 1.0,
    "per_s": 1e-3,
    "per_mV": 1.0,
    "kohm_cm": 1e3,
    "S_per_cm2": 10.0,
    "mS_per_cm2": 0.01,
    "uF_per_cm2": 0.01,
    "mol_per_m_per_A_per_s": 1.0,
}


def value(text: str) -> float:
    """A NeuroML quantity in the units of the files."""
    match = re.fullmatch(r"\s*([-+0-9.eE]+?)\s*([A-Za-z_][A-Za-z_0-9]*)\s*", text)
    if match is None or match[2] not in UNITS:
        raise ValueError(f"'{text}': expected a number and one of the units {', '.join(UNITS)}")
    # Ten digits hide the rounding of the factor and keep every digit that c302 gives.
    return float(f"{float(match[1]) * UNITS[match[2]]:.10g}") if UNITS[match[2]] != 1 else float(match[1])


def only(parent: ElementTree.Element, path: str) -> ElementTree.Element:
    found = parent.findall(path)
    if len(found) != 1:
        raise ValueError(f"expected one {path}, got {len(found)}")
    return found[0]


def gate(element: ElementTree.Element) -> dict[str, float]:
    course, steady = only(element, f"{SPACE}timeCourse"), only(element, f"{SPACE}steadyState")
    if (course.get("type"), steady.get("type"), steady.get("rate")) != ("fixedTimeCourse", "HHSigmoidVariable", "1"):
        raise ValueError(f"gate {element.get('id')}: expected a fixed time constant and a sigmoid steady state")
    return {
        "power": int(element.attrib["instances"]),
        "tau_ms": value(course.attrib["tau"]),
        "midpoint_mV": value(steady.attrib["midpoint"]),
        "scale_mV": value(steady.attrib["scale"]),
    }


def constants(folder: Path, c302_version: str, level: str) -> tuple[dict[str, object], list[tuple[str, str, float, str]]]:
    """Every constant of the membrane, and the connections, of the network in ``folder``."""
    document = ElementTree.parse(folder / "worm.net.nml").getroot()
    types = ElementTree.parse(folder / "cell_C.xml").getroot()
    shaped = level.startswith("D")
    if shaped:
        # All cells have the same densities, which are given for 1 um2.
        cells = [only(ElementTree.parse(file).getroot(), f"{SPACE}cell") for file in sorted((folder / "cells").glob("*.nml"))]
        cell, area_um2 = cells[0], 1.0
        texts = {ElementTree.tostring(only(own, f"{SPACE}biophysicalProperties/{SPACE}membraneProperties")) for own in cells}
        if len(texts) > 1:
            raise ValueError("expected cells that differ in nothing but their shape")
    else:
        cell = only(document, f"{SPACE}cell[@id='GenericNeuronCell']")
        segment = only(cell, f".//{SPACE}segment")
        proximal, distal = only(segment, f"{SPACE}proximal").attrib, only(segment, f"{SPACE}distal").attrib
        if proximal != distal:
            raise ValueError("expected a spherical cell")
        area_um2 = math.pi * float(proximal["diameter"]) ** 2
    leak, *active = cell.findall(f".//{SPACE}channelDensity")

    def conductance(density: ElementTree.Element) -> dict[str, float]:
        total = value(density.attrib["condDensity"]) * area_um2
        return {"conductance_nS": float(f"{total:.12g}"), "reversal_mV": value(density.attrib["erev"])}

    channels: dict[str, object] = {}
    block = None
    for density in active:
        channel = only(types, f"{SPACE}ionChannel[@id='{density.attrib['ionChannel']}']")
        gates = {element.attrib["id"]: gate(element) for element in channel.findall(f"{SPACE}gateHHtauInf")}
        channels[channel.attrib["id"]] = conductance(density) | {"gates": gates}
        custom = channel.find(f"{SPACE}customHGate")
        if custom is not None:
            block = {
                "alpha": float(custom.attrib["alpha"]),
                "half_pM": value(custom.attrib["ca_half"]),
                "scale_pM": value(custom.attrib["k"]),
            }
    pool = only(document, f"{SPACE}fixedFactorConcentrationModel").attrib
    # mol/(m A s) is pM/ms for each 1e-6 pA/um2.
    pool_rate = value(pool["rho"]) * 1e6 / area_um2
    names = {"conductance_nS": "conductance", "reversal_mV": "erev", "threshold_mV": "Vth", "delta_mV": "delta", "rate_per_ms": "k"}
    if shaped:
        names |= {"threshold_mV": "vth", "delta_mV": "beta", "rise_per_ms": "ar", "decay_per_ms": "ad"}
        del names["rate_per_ms"]
    found = document.findall(f"{SPACE}gradedSynapse{'2' if shaped else ''}")
    synapses = {element.attrib["id"].split("_")[3]: element.attrib for element in found}

    def synapse(kind: str) -> dict[str, float]:
        own = {name: value(synapses[kind][attribute]) for name, attribute in names.items()}
        # c302's beta is 1 / delta.
        return own | ({"delta_mV": 1 / own["delta_mV"]} if shaped else {})

    network = only(document, f"{SPACE}network")
    neurons = [population.attrib["id"] for population in network.findall(f"{SPACE}population")]
    edges: dict[tuple[str, str, str], float] = {}
    inhibitory = set()
    excitatory = set()
    for projection in network.findall(f"{SPACE}continuousProjection"):
        pre, post = projection.attrib["presynapticPopulation"], projection.attrib["postsynapticPopulation"]
        for connection in projection:
            (inhibitory if "_inh_" in connection.attrib["postComponent"] else excitatory).add(pre)
            edges[pre, post, "chemical"] = edges.get((pre, post, "chemical"), 0) + float(connection.get("weight", 1))
    for projection in network.findall(f"{SPACE}electricalProjection"):
        pre, post = sorted((projection.attrib["presynapticPopulation"], projection.attrib["postsynapticPopulation"]))
        for connection in projection:
            # No current flows through a gap junction of a neuron with itself.
            if pre != post:
                edges[pre, post, "electrical"] = edges.get((pre, post, "electrical"), 0) + float(connection.get("weight", 1))
    if inhibitory & excitatory:
        raise ValueError("expected each neuron to be of one sign")
    membrane: dict[str, object] = {
        "source": f"OpenWorm c302 {c302_version}, parameter set {level}, data reader UpdatedSpreadsheetDataReader2",
        "area_um2": float(f"{area_um2:.12g}"),
        "needs_shape": shaped,
        "resistivity_ohm_cm": value(resistivity()),
        "capacitance_pF": float(f"{value(only(cell, f'.//{SPACE}specificCapacitance').attrib['value']) * area_um2:.12g}"),
        "initial_mV": value(only(cell, f".//{SPACE}initMembPotential").attrib["value"]),
        "leak": conductance(leak),
        "channels": channels,
        "calcium": {
            "decay_ms": value(pool["decayConstant"]),
            "resting_pM": value(pool["restingConc"]),
            "pM_per_pA_ms": float(f"{pool_rate:.12g}"),
            "block": block,
        },
        "synapse": {"kinetics": "sigmoid" if shaped else "graded", "excitatory": synapse("exc"), "inhibitory": synapse("inh")},
        "gap_junction_nS": value(only(document, f"{SPACE}gapJunction").attrib["conductance"]),
        "neurons": neurons,
        "inhibitory": sorted(inhibitory),
    }
    return membrane, [(*key, weight) for key, weight in sorted(edges.items())]  # type: ignore[misc]


def resistivity() -> str:
    """That of D1, for C1 too: c302 declares C1's own, which one compartment has no use for, to be without meaning."""
    from c302.parameters_D1 import ParameterisedModel

    return ParameterisedModel().get_bioparameter("resistivity").value


def somata(folder: Path) -> list[tuple[str, float, float, float]]:
    """Name of every neuron and where its cell body is, in um: along the body from the most anterior one, up to the back, to the left."""
    document = ElementTree.parse(folder / "worm.net.nml").getroot()
    places = {}
    for population in document.iter(f"{SPACE}population"):
        location = only(population, f"{SPACE}instance/{SPACE}location").attrib
        places[population.attrib["id"]] = [float(location[axis]) for axis in "yzx"]
    front = min(along for along, _, _ in places.values())
    return [(name, along - front, up, left) for name, (along, up, left) in sorted(places.items())]


def write_constants(level: str) -> None:
    import c302

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cells").mkdir()
        parameters = __import__(f"c302.parameters_{level}", fromlist=["ParameterisedModel"]).ParameterisedModel()
        c302.generate(
            "worm",
            parameters,
            data_reader="UpdatedSpreadsheetDataReader2",
            cells_to_stimulate=[],
            muscles_to_include=[],
            verbose=False,
            target_directory=folder,
        )
        membrane, edges = constants(Path(folder), c302.__version__, level)
        places = somata(Path(folder))
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / f"c302-{level}.json").write_text(json.dumps(membrane, indent=1) + "\n")
    with open(TARGET / f"c302-{level}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pre", "post", "weight", "synapse"])
        writer.writerows((pre, post, f"{weight:g}", kind) for pre, post, kind, weight in edges)
    with open(ROOT / "data" / "connectomes" / "somata.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "along_um", "up_um", "left_um"])
        writer.writerows((name, *(f"{value:.2f}" for value in place)) for name, *place in places)
    chemical = sum(kind == "chemical" for _, _, kind, _ in edges)
    print(f"{len(membrane['neurons'])} neurons, {chemical} chemical, {len(edges) - chemical} electrical pairs")  # type: ignore[arg-type]


def write_shapes(c302: Path) -> None:
    """All segments of the 302 neurons, section by section."""
    import torch

    sys.path.insert(0, str(ROOT))

    from elegans_pyg._tensor_files import write_tensors

    neurons = json.loads((TARGET / "c302-C1.json").read_text())["neurons"]
    columns: dict[str, list[object]] = {name: [] for name in ("neuron", "section", "number", "parent", "proximal", "distal")}
    sections = 0
    for row, name in enumerate(neurons):
        cell = only(ElementTree.parse(c302 / "NeuroML2" / f"{name}.cell.nml").getroot(), f"{SPACE}cell")
        elements = {element.attrib["id"]: element for element in cell.iter(f"{SPACE}segment")}
        place: dict[str, int] = {}
        for group in cell.iter(f"{SPACE}segmentGroup"):
            if group.get("neuroLexId") != UNBRANCHED:
                continue
            for position, member in enumerate(group.findall(f"{SPACE}member")):
                number = member.attrib["segment"]
                element, place[number] = elements[number], len(columns["neuron"])
                parent = element.find(f"{SPACE}parent")
                if parent is not None and (float(parent.get("fractionAlong", 1)) != 1 or parent.attrib["segment"] not in place):
                    raise ValueError(f"{name}: expected segment {number} to grow from the end of an earlier one")
                above = -1 if parent is None else place[parent.attrib["segment"]]
                if position and above != place[number] - 1:
                    raise ValueError(f"{name}: expected segment {number} to follow the one before it in its section")
                proximal = element.find(f"{SPACE}proximal")
                distal = point(only(element, f"{SPACE}distal"))
                begin = columns["distal"][above] if proximal is None else point(proximal)
                values = (row, sections, int(number), above, begin, distal)
                for column, value_ in zip(columns.values(), values, strict=True):
                    column.append(value_)
            sections += 1
        if len(place) != len(elements):
            raise ValueError(f"{name}: expected every segment in one section")
    kinds = {"proximal": torch.float32, "distal": torch.float32, "parent": torch.int32}
    tensors = {name: torch.tensor(values, dtype=kinds.get(name, torch.int16)) for name, values in columns.items()}
    source = f"OpenWorm c302 {only_version(c302)}, NeuroML2/*.cell.nml, MIT licence; x, y, z and diameter in um"
    file = write_tensors(TARGET / "c302-morphologies.safetensors", tensors, {"source": source, "neurons": neurons})
    print(f"{len(columns['neuron'])} segments in {sections} sections, {file.stat().st_size / 1e3:.0f} kB")


def only_version(c302: Path) -> str:
    return re.search(r'__version__ = "(.*)"', (c302 / "__version__.py").read_text())[1]  # type: ignore[index]


def point(element: ElementTree.Element) -> list[float]:
    return [float(element.attrib[name]) for name in ("x", "y", "z", "diameter")]


def at_step_0(  # type: ignore[no-untyped-def]
    work: Path,
    level: str,
    name: str,
    job: dict[str, object],
    steps_ms: tuple[float, float] = (0.01, 0.005),
    every: int = 10,
):
    """NEURON's voltages every ``every`` times 0.05 ms at a step of 0, extrapolated from two small ones, since its error is of first order
    in the step."""
    import numpy as np

    network = work / f"network-{level}"
    if not network.is_dir():
        subprocess.run([sys.executable, str(WORKER), "build", str(network), level], check=True)
    voltages = []
    for step_ms in steps_ms:
        result = work / f"result-{level}-{name}-{step_ms}.npz"
        if not result.is_file():
            np.savez(work / "job.npz", integration_dt_ms=step_ms, substeps=round(0.05 / step_ms), every=every, **job)
            subprocess.run([sys.executable, str(WORKER), "run", str(network), str(work / "job.npz"), str(result)], check=True)
        voltages.append(np.load(result)["voltage_mV"])
    coarse, fine = voltages
    apart = coarse - fine
    print(
        f"{steps_ms[0]} against {steps_ms[1]} ms: root mean square {np.sqrt((apart**2).mean()):.4f} mV, largest {abs(apart).max():.4f} mV"
    )
    return 2 * fine - coarse


def write_trace(work: Path) -> None:
    import numpy as np

    neurons = json.loads((TARGET / "c302-C1.json").read_text())["neurons"]
    job = {"duration_ms": 500.0, "inputs": INPUTS, "record": neurons, "current_pA": reference_currents()}
    limit = at_step_0(work, "C1", "reference", job)[:, 4::5].astype(np.float32)  # every 2.5 ms
    np.savez_compressed(TRACE, voltage_mV=limit, time_ms=np.arange(1, limit.shape[1] + 1) * 2.5, neuron_name=np.array(neurons))
    print(f"{TRACE}: {TRACE.stat().st_size / 1e3:.0f} kB")


def write_traces_of_shapes(work: Path) -> None:
    """40 ms of c302-D1 at a step of 0, all somata and ten distal segments, with one compartment per section and with a ``d_lambda`` of
    0.3."""
    import numpy as np

    record = [*json.loads((TARGET / "c302-D1.json").read_text())["neurons"], *DISTAL]
    for d_lambda in (0.0, 0.3):
        job = {"duration_ms": 40.0, "inputs": INPUTS, "record": record, "d_lambda": d_lambda, "current_pA": shape_currents()}
        voltage = at_step_0(work, "D1", f"{d_lambda:g}", job)
        file = TRACE.with_name(f"c302-D1-{d_lambda:g}-neuron.npz")
        np.savez_compressed(file, voltage_mV=voltage.astype(np.float32), record=np.array(record), inputs=np.array(INPUTS))
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


def write_ordinary(work: Path) -> None:
    """Five stimuli to which the simulator was never fitted, each from NEURON at 0.0025 and 0.005 ms and extrapolated to a step of 0. Kept
    are, every 0.25 ms, the neurons that move most, in 0.002 mV and as differences, which compress well."""
    import numpy as np

    neurons, kept = json.loads((TARGET / "c302-C1.json").read_text())["neurons"], {}
    for name, (inputs, current) in ordinary_currents().items():
        job = {"duration_ms": 300.0, "inputs": np.array(inputs), "record": np.array(neurons), "current_pA": current[None]}
        limit = at_step_0(work, "C1", name, job, (0.005, 0.0025), every=1)[0]
        most = np.argsort(-np.ptp(limit, axis=0), kind="stable")[:16]
        steps = np.round(limit[4::5, most] / KEPT_MV).astype(np.int32)
        kept |= {f"{name}_mV": np.diff(steps, axis=0, prepend=0).astype(np.int16), f"{name}_neurons": np.array(neurons)[most]}
    np.savez_compressed(ORDINARY, **kept)
    print(f"{ORDINARY}: {ORDINARY.stat().st_size / 1e3:.0f} kB")


def ordinary_currents():  # type: ignore[no-untyped-def]
    """Inputs and currents in pA ``(6000, I)`` at 0.05 ms of each stimulus, by name."""
    import numpy as np

    time_ms = (np.arange(6000) + 0.5) * 0.05

    def during(begin: float, end: float, size: float):  # type: ignore[no-untyped-def]
        return size * ((time_ms >= begin) & (time_ms < end)).astype(float)

    odour = during(30, 180, 3)
    stairs = sum(during(20 + 50 * k, 70 + 50 * k, size) for k, size in enumerate((2, 4, 6, 7, 3)))
    swings = sum(during(40 + 60 * k, 100 + 60 * k, size) for k, size in enumerate((2, -2, 2, -2)))
    rng, knots = np.random.default_rng(5), np.linspace(0, 300, 16)
    noise = [np.interp(time_ms, knots, 5 * np.clip(0.5 + 0.4 * rng.standard_normal(16), 0, 1)) for _ in range(4)]
    ramp, train = np.interp(time_ms, [0, 30, 150, 240, 300], [0, 0, 7, 0, 0]), 6.0 * ((np.mod(time_ms, 60) < 30) & (time_ms > 20))
    chirp = 1 - np.cos(2 * np.pi * (time_ms / 120 + (time_ms / 220) ** 2))
    taps = during(80, 90, 6) + during(210, 220, 6)
    stimuli = {
        "odour": (["AWCL", "AWCR", "AVAL"], [odour, odour, during(120, 270, 1.5)]),
        "staircase": (["ASHL", "ASHR", "RIML"], [stairs, stairs, swings]),
        "noise": (["IL2L", "IL2R", "RIAL", "AIYL"], noise),
        "motor": (["DB1", "VB2", "DD3", "SMDVL"], [ramp, train, -ramp / 2, 0.7 * train]),
        "chirp": (["AVAL", "AVAR", "AVDL", "PVCR"], [chirp, 0.9 * chirp, taps, during(120, 240, 2)]),
    }
    return {name: (inputs, np.stack(columns, axis=1)) for name, (inputs, columns) in stimuli.items()}


def reference_currents():  # type: ignore[no-untyped-def]
    """(3, 10,000, 4) pA at 0.05 ms: 2 pA and 5 pA throughout, then pulses into PLM and half-waves into AVB."""
    import numpy as np

    time_ms = np.arange(10_000) * 0.05
    current = np.zeros((3, len(time_ms), 4))
    current[0], current[1] = 2, 5
    current[2, (time_ms >= 50) & (time_ms < 250), :2] = 5
    current[2, :, 2:] = (3 * np.sin(2 * np.pi * time_ms / 125)).clip(0)[:, None]
    return current


def shape_currents():  # type: ignore[no-untyped-def]
    """(1, 800, 4) pA at 0.05 ms: a pulse into PLM with a half-wave into AVB."""
    import numpy as np

    time_ms = np.arange(800) * 0.05
    current = np.zeros((1, len(time_ms), 4))
    current[0, (time_ms >= 8) & (time_ms < 25), :2] = 10
    current[0, :, 2:] = 20 * np.sin(np.pi * time_ms / 40)[:, None]
    return current


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["constants", "shapes", "trace", "trace-shapes", "ordinary"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "elegans_pyg-biophysics", help="where NEURON's files go")
    parser.add_argument("--c302", type=Path, help="folder of the package c302, for the shapes, which need torch beside it")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if options.what == "constants":
        for level in LEVELS:
            write_constants(level)
    elif options.what == "shapes":
        write_shapes(options.c302)
    elif options.what == "trace":
        write_trace(work)
    elif options.what == "trace-shapes":
        write_traces_of_shapes(work)
    else:
        write_ordinary(work)


if __name__ == "__main__":
    main()
