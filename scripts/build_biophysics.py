#!/usr/bin/env python3
"""Write data/biophysics/c302-C1.* and data/connectomes/somata.csv from the network that c302 generates, and the NEURON traces that the
tests compare with.

    pip install neuron==9.0.2 c302==0.12.1 pyneuroml==1.3.22        # in an environment of its own; Java 11 or newer, gcc and make beside it
    python scripts/build_biophysics.py constants                    # seconds
    python scripts/build_biophysics.py trace                        # half an hour: three stimuli at two small steps
    python scripts/build_biophysics.py ordinary                     # an hour: five more, at smaller ones

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
ORDINARY, KEPT_MV = ROOT / "tests" / "dynamics" / "c302-C1-ordinary.npz", 0.002
SPACE = "{http://www.neuroml.org/schema/neuroml2}"
LEVEL = "C1"
# Factors to the units of the files: nS, mV, ms, pF, um, pM; `density` to nS/um2, `specific` capacitance to pF/um2.
UNITS = {
    "nS": 1.0,
    "mV": 1.0,
    "ms": 1.0,
    "mM": 1e9,
    "per_ms": 1.0,
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


def constants(folder: Path, c302_version: str) -> tuple[dict[str, object], list[tuple[str, str, float, str]]]:
    """Every constant of the membrane, and the connections, of the network in ``folder``."""
    document = ElementTree.parse(folder / "worm.net.nml").getroot()
    types = ElementTree.parse(folder / "cell_C.xml").getroot()
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
    synapses = {element.attrib["id"].split("_")[3]: element.attrib for element in document.findall(f"{SPACE}gradedSynapse")}

    def synapse(kind: str) -> dict[str, float]:
        names = {"conductance_nS": "conductance", "reversal_mV": "erev", "threshold_mV": "Vth", "delta_mV": "delta", "rate_per_ms": "k"}
        return {name: value(synapses[kind][attribute]) for name, attribute in names.items()}

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
        "source": f"OpenWorm c302 {c302_version}, parameter set {LEVEL}, data reader UpdatedSpreadsheetDataReader2",
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
        "synapse": {"kinetics": "graded", "excitatory": synapse("exc"), "inhibitory": synapse("inh")},
        "gap_junction_nS": value(only(document, f"{SPACE}gapJunction").attrib["conductance"]),
        "neurons": neurons,
        "inhibitory": sorted(inhibitory),
    }
    return membrane, [(*key, weight) for key, weight in sorted(edges.items())]  # type: ignore[misc]


def somata(folder: Path) -> list[tuple[str, float, float, float]]:
    """Name of every neuron and where its cell body is, in um: along the body from the most anterior one, up to the back, to the left."""
    document = ElementTree.parse(folder / "worm.net.nml").getroot()
    places = {}
    for population in document.iter(f"{SPACE}population"):
        location = only(population, f"{SPACE}instance/{SPACE}location").attrib
        places[population.attrib["id"]] = [float(location[axis]) for axis in "yzx"]
    front = min(along for along, _, _ in places.values())
    return [(name, along - front, up, left) for name, (along, up, left) in sorted(places.items())]


def write_constants() -> None:
    import c302

    with tempfile.TemporaryDirectory() as folder:
        parameters = __import__(f"c302.parameters_{LEVEL}", fromlist=["ParameterisedModel"]).ParameterisedModel()
        c302.generate(
            "worm",
            parameters,
            data_reader="UpdatedSpreadsheetDataReader2",
            cells_to_stimulate=[],
            muscles_to_include=[],
            verbose=False,
            target_directory=folder,
        )
        membrane, edges = constants(Path(folder), c302.__version__)
        places = somata(Path(folder))
    target = ROOT / "data" / "biophysics"
    target.mkdir(parents=True, exist_ok=True)
    (target / f"c302-{LEVEL}.json").write_text(json.dumps(membrane, indent=1) + "\n")
    with open(target / f"c302-{LEVEL}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pre", "post", "weight", "synapse"])
        writer.writerows((pre, post, f"{weight:g}", kind) for pre, post, kind, weight in edges)
    with open(ROOT / "data" / "connectomes" / "somata.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "along_um", "up_um", "left_um"])
        writer.writerows((name, *(f"{value:.2f}" for value in place)) for name, *place in places)
    chemical = sum(kind == "chemical" for _, _, kind, _ in edges)
    print(f"{len(membrane['neurons'])} neurons, {chemical} chemical, {len(edges) - chemical} electrical pairs")  # type: ignore[arg-type]


def write_trace(work: Path) -> None:
    """Voltages at a step of 0, extrapolated from two small ones, since NEURON's error is of first order in the step."""
    import numpy as np

    membrane = json.loads((ROOT / "data" / "biophysics" / f"c302-{LEVEL}.json").read_text())
    network = work / "network"
    if not network.is_dir():
        subprocess.run([sys.executable, str(WORKER), "build", str(network), LEVEL], check=True)
    current = reference_currents()
    voltages = {}
    for step_ms in (0.01, 0.005):
        result = work / f"result-{step_ms}.npz"
        if not result.is_file():
            substeps = round(0.05 / step_ms)
            np.savez(
                work / "job.npz",
                duration_ms=500.0,
                integration_dt_ms=step_ms,
                inputs=np.array(["PLML", "PLMR", "AVBL", "AVBR"]),
                record=np.array(membrane["neurons"]),
                current_pA=current,
                substeps=substeps,
                every=10,
            )
            subprocess.run([sys.executable, str(WORKER), "run", str(network), str(work / "job.npz"), str(result)], check=True)
        voltages[step_ms] = np.load(result)["voltage_mV"]
    coarse, fine = voltages[0.01], voltages[0.005]
    apart = coarse - fine
    print(f"0.01 against 0.005 ms: root mean square {np.sqrt((apart**2).mean()):.4f} mV, largest {abs(apart).max():.4f} mV")
    limit = (2 * fine - coarse)[:, 4::5]  # every 2.5 ms
    np.savez_compressed(
        TRACE,
        voltage_mV=limit.astype(np.float32),
        time_ms=np.arange(1, limit.shape[1] + 1) * 2.5,
        neuron_name=np.array(membrane["neurons"]),
    )
    print(f"{TRACE}: {TRACE.stat().st_size / 1e3:.0f} kB")


def write_ordinary(work: Path) -> None:
    """Five stimuli to which the simulator was never fitted, each from NEURON at 0.0025 and 0.005 ms and extrapolated to a step of 0. Kept
    are, every 0.25 ms, the neurons that move most, in 0.002 mV and as differences, which compress well."""
    import numpy as np

    membrane = json.loads((ROOT / "data" / "biophysics" / f"c302-{LEVEL}.json").read_text())
    network = work / "network"
    if not network.is_dir():
        subprocess.run([sys.executable, str(WORKER), "build", str(network), LEVEL], check=True)
    kept = {}
    for name, (inputs, current) in ordinary_currents().items():
        voltages = {}
        for step_ms in (0.005, 0.0025):
            job, result = work / f"job-{name}-{step_ms}.npz", work / f"nrn-{name}-{step_ms}.npz"
            if not result.is_file():
                times = {"duration_ms": 300.0, "integration_dt_ms": step_ms, "substeps": round(0.05 / step_ms), "every": 1}
                np.savez(job, inputs=np.array(inputs), record=np.array(membrane["neurons"]), current_pA=current[None], **times)
                subprocess.run([sys.executable, str(WORKER), "run", str(network), str(job), str(result)], check=True)
            voltages[step_ms] = np.load(result)["voltage_mV"][0]
        limit = 2 * voltages[0.0025] - voltages[0.005]
        most = np.argsort(-np.ptp(limit, axis=0), kind="stable")[:16]
        steps = np.round(limit[4::5, most] / KEPT_MV).astype(np.int32)
        kept |= {f"{name}_mV": np.diff(steps, axis=0, prepend=0).astype(np.int16), f"{name}_neurons": np.array(membrane["neurons"])[most]}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["constants", "trace", "ordinary"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "elegans_pyg-biophysics", help="where NEURON's files go")
    options = parser.parse_args()
    if options.what == "constants":
        write_constants()
    else:
        options.work.mkdir(parents=True, exist_ok=True)
        (write_trace if options.what == "trace" else write_ordinary)(options.work.resolve())


if __name__ == "__main__":
    main()
