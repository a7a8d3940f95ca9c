"""The part of scripts/bench_cable.py that runs in the interpreter that has Jaxley: nothing here imports torch or elegans_pyg.

python jaxley_worker.py MEMBRANE.json JOB.npz RESULT.npz

simulates the uncoupled cells under one stimulus and writes their potentials into ``RESULT.npz``, adds the synapses, compiles, and then
reads from its input, line by line, the number of a batch of stimuli to simulate, and answers with the seconds that it took.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxley as jx
import numpy as np
from jaxley.channels import Channel, Leak
from jaxley.connect import connectivity_matrix_connect
from jaxley.synapses import Synapse

PA_PER_UM2 = 10.0
"""One mA/cm2 in pA/um2; so one nS/um2 is 0.1 S/cm2."""


def relaxed(value, steady, rate, dt):
    return steady + (value - steady) * jnp.exp(-rate * dt)


class Gated(Channel):
    """A channel whose current is density times powers of its gates, of constant time constants, times the driving force."""

    def __init__(self, name, table):
        self.current_is_in_mA_per_cm2 = True
        super().__init__(name)
        self.density, self.reversal = table["conductance_nS"] / PA_PER_UM2, table["reversal_mV"]
        self.gates = {f"{name}_{gate}": SimpleNamespace(**constants) for gate, constants in table["gates"].items()}
        self.channel_params, self.channel_states, self.current_name = {}, dict.fromkeys(self.gates, 0.0), f"i_{name}"

    def init_state(self, states, v, params, delta_t):
        return {name: jax.nn.sigmoid((v - gate.midpoint_mV) / gate.scale_mV) for name, gate in self.gates.items()}

    def update_states(self, states, dt, v, params):
        steady = self.init_state(states, v, params, dt)
        return {name: relaxed(states[name], steady[name], 1 / gate.tau_ms, dt) for name, gate in self.gates.items()}

    def opened(self, states):
        result = self.density
        for name, gate in self.gates.items():
            result = result * states[name] ** gate.power
        return result

    def compute_current(self, states, v, params):
        return self.opened(states) * (v - self.reversal)


class Calcium(Gated):
    """A calcium channel with its pool, which calcium enters through it, and which closes it in part."""

    def __init__(self, name, table, calcium):
        super().__init__(name, table)
        self.pool, self.calcium, self.block = f"{name}_pool", SimpleNamespace(**calcium), SimpleNamespace(**calcium["block"])
        self.channel_states[self.pool] = self.calcium.resting_pM

    def opened(self, states):
        closed = jax.nn.sigmoid((self.block.half_pM - states[self.pool]) / self.block.scale_pM)
        return super().opened(states) * (1 - self.block.alpha * closed)

    def update_states(self, states, dt, v, params):
        states = states | super().update_states(states, dt, v, params)
        inflow = -PA_PER_UM2 * self.calcium.pM_per_pA_ms * self.compute_current(states, v, params)
        steady = self.calcium.resting_pM + inflow * self.calcium.decay_ms
        pool = jnp.maximum(relaxed(states[self.pool], steady, 1 / self.calcium.decay_ms, dt), 0)
        return {name: states[name] for name in self.gates} | {self.pool: pool}


class Sigmoid(Synapse):
    """A chemical synapse with rise and decay, driven by a sigmoid of the presynaptic potential."""

    def __init__(self, name=None):
        super().__init__(name)
        self.synapse_params = dict.fromkeys(("conductance", "reversal", "threshold", "delta", "rise", "decay"), 1.0)
        self.synapse_states = {"activation": 0.0}

    def update_states(self, states, delta_t, pre_voltage, post_voltage, params):
        rise = params["rise"] * jax.nn.sigmoid((pre_voltage - params["threshold"]) / params["delta"])
        rate = rise + params["decay"]
        return {"activation": relaxed(states["activation"], rise / rate, rate, delta_t)}

    def compute_current(self, states, pre_voltage, post_voltage, params):
        return params["conductance"] * states["activation"] * (post_voltage - params["reversal"])


class Gap(Synapse):
    """One direction of a gap junction."""

    def __init__(self, name=None):
        super().__init__(name)
        self.synapse_params, self.synapse_states = {"gap": 1.0}, {}

    def update_states(self, states, delta_t, pre_voltage, post_voltage, params):
        return {}

    def compute_current(self, states, pre_voltage, post_voltage, params):
        return params["gap"] * (post_voltage - pre_voltage)


def topology(parent, number):
    """Compartments in the order of Jaxley's branches, and for each cell the numbers of compartments and the parents of its branches.

    A branch runs from a soma or a fork to the next fork or to an end. Nodes from ``number`` on are forks, which have no membrane.
    """
    children = [[] for _ in parent]
    for node, above in enumerate(parent):
        if node != above:
            children[above].append(node)
    order, cells = [], []
    for soma in np.flatnonzero(parent == np.arange(len(parent))):
        lengths, stems, waiting = [], [], [(soma, -1)]
        while waiting:
            node, stem = waiting.pop()
            first, branch = len(order), len(lengths)
            order.append(node)
            while len(children[node]) == 1 and (node := children[node][0]) < number:
                order.append(node)
            lengths.append(len(order) - first)
            stems.append(stem)
            waiting += [(child, branch) for child in children[node]]
        cells.append((tuple(lengths), tuple(stems)))
    return np.array(order), cells


def loads(parent, path, number):
    """Integrals of ``1 / (pi r^2)`` from each compartment's start to its centre, and from there to its end.

    Where two compartments meet end to end, only the sum counts, and each gets half of it.
    """
    inner, outer = np.ones(number), np.ones(number)
    for node in np.flatnonzero(parent != np.arange(len(parent))):
        above = parent[node]
        if node >= number:
            outer[above] = path[node]
        elif above >= number:
            inner[node] = path[node]
        else:
            inner[node] = outer[above] = path[node] / 2
    return inner, outer


def uncoupled(job, membrane):
    """The cells, with their membrane, axial resistances and channels, without synapses."""
    number = len(job["area_um2"])
    order, cells = topology(job["parent"], number)
    compartment = jx.Compartment()
    branches = {length: jx.Branch(compartment, length) for lengths, _ in set(cells) for length in set(lengths)}
    # Jaxley takes seconds to build a cell, so that cells of one topology are built once.
    built = {(lengths, stems): jx.Cell([branches[length] for length in lengths], list(stems)) for lengths, stems in set(cells)}
    net = jx.Network([built[key] for key in cells])
    inner, outer = loads(job["parent"], job["path_per_um"], number)
    for key, values in (("area", job["area_um2"]), ("resistive_load_in", inner), ("resistive_load_out", outer)):
        net.set(key, values[order])
    net.set("capacitance", 100 * membrane["capacitance_pF"])
    net.set("axial_resistivity", membrane["resistivity_ohm_cm"])
    net.set("v", membrane["initial_mV"])
    net.insert(Leak())
    net.set("Leak_gLeak", membrane["leak"]["conductance_nS"] / PA_PER_UM2)
    net.set("Leak_eLeak", membrane["leak"]["reversal_mV"])
    for name, table in membrane["channels"].items():
        net.insert(Calcium(name, table, membrane["calcium"]) if name == "ca_boyle" else Gated(name, table))
    net.to_jax()
    net.init_states()
    net.cell("all").branch(0).comp(0).record(verbose=False)
    return net


def couple(net, job):
    """Add the synapses and gap junctions between somata, the first compartments of the cells."""
    chemical, gaps = job["chemical_nS"], job["gap_nS"]
    for synapse, matrix in ((Sigmoid(), chemical), (Gap(), gaps)):
        connectivity_matrix_connect(net.cell("all"), net.cell("all"), synapse, matrix > 0)
    source = np.nonzero(chemical)[0]
    net.set("conductance", chemical[chemical > 0] / 1000)
    net.set("gap", gaps[gaps > 0] / 1000)
    for key in ("threshold", "delta", "rise", "decay", "reversal"):
        net.set(key, job[key][source])


def simulator(net, inputs, dt):
    """A function from currents ``(S, T, I)`` in pA into the somata of ``inputs`` to their potentials ``(S, T, N)``."""
    somata = net.cell("all").branch(0).comp(0).nodes.index.to_numpy()
    ascending = np.argsort(inputs)
    into = net.select(nodes=somata[inputs][ascending])

    def one(current):
        return jx.integrate(net, data_stimuli=into.data_stimulate(current[:, ascending].T / 1000), delta_t=dt).T[1:]

    return jax.jit(jax.vmap(one))


def compiled(net, inputs, dt, current):
    """The simulation of a batch of stimuli as a function without arguments, in single precision."""
    current = jnp.asarray(current, jnp.float32)
    run = simulator(net, inputs, dt).lower(current).compile()
    return lambda: np.asarray(run(current))


def main(membrane_file, job_file, result_file):
    job, membrane = dict(np.load(job_file)), json.loads(Path(membrane_file).read_text())
    start = time.perf_counter()
    net = uncoupled(job, membrane)
    built = time.perf_counter()
    everywhere = np.arange(len(job["threshold"]))
    alone = compiled(net, everywhere, float(job["check_dt_ms"]), job["check_current_pA"])()
    checked = time.perf_counter()
    couple(net, job)
    batches = [compiled(net, job["inputs"], float(job["dt_ms"]), job[f"current_pA_{k}"]) for k in range(int(job["batches"]))]
    seconds = {"building the cells": built - start, "the check": checked - built, "compiling": time.perf_counter() - checked}
    np.savez(result_file, uncoupled_mV=alone, coupled_mV=batches[-1](), setup=json.dumps(seconds))
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        batches[int(line)]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
