#!/usr/bin/env python3
"""Time the structural measures: the coloured census against a loop with NetworkX, and all measures over an ensemble of rewired graphs.

    python scripts/bench_analysis.py                  # the hermaphrodite, 1,000 rewired graphs
    python scripts/bench_analysis.py --graphs 100 --rounds 3

The loop is the one that the tests check the census against (tests/analysis/networkx_census.py). Times are medians over rounds in which the
contenders take turns, so that a slow moment of the machine hits both. Compiling, once for each installation, is timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
from rich.progress import track
from torch_geometric.data import Data

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.analysis import MEASURES, measures, motif_counts
from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import Rewired
from tests.analysis.graphs import digraph
from tests.analysis.networkx_census import coloured_census


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def time_census(data: Data, rounds: int) -> dict[str, float]:
    """Median seconds; the loop gets its NetworkX graph made, the census starts from the ``Data``."""
    graph: nx.DiGraph = digraph(data)
    contenders: dict[str, Callable[[], object]] = {
        "elegans_pyg": lambda: motif_counts(data),
        "networkx loop, coloured": lambda: coloured_census(graph),
        "networkx.triadic_census, no colours": lambda: nx.triadic_census(graph),
    }
    first = seconds(contenders["elegans_pyg"])
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(seconds(run))
    return {"elegans_pyg, first call": first, **{name: statistics.median(values) for name, values in times.items()}}


def time_groups(graphs: list[Data], groups: list[str]) -> dict[str, float]:
    """Median seconds per graph of each group alone."""
    return {group: statistics.median(seconds(lambda g=graph, n=group: measures(g, [n])) for graph in graphs) for group in groups}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectome", default="cook2019-hermaphrodite")
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    data = Connectome(options.connectome)[0]
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "settings": {key: str(value) for key, value in vars(options).items()},
    }

    print(f"coloured three-neuron census of {options.connectome}: {data.num_nodes} neurons, {data.num_edges} edges")
    report["census"] = census = time_census(data, options.rounds)
    for name, value in census.items():
        print(f"  {name:38}{1e3 * value:10.2f} ms{value / census['elegans_pyg']:10.1f}x")

    start = time.perf_counter()
    graphs = [Rewired(seed)(data) for seed in track(range(options.graphs), "rewiring", transient=True)]
    report["rewiring_seconds"] = time.perf_counter() - start
    groups = list(dict.fromkeys(entry.group for entry in MEASURES.values() if entry.needs != "level"))
    report["groups"] = times = time_groups(graphs[:11], groups)
    print("\nmilliseconds per graph, each group alone")
    for name, value in times.items():
        print(f"  {name:20}{1e3 * value:8.1f}")

    start = time.perf_counter()
    table: pd.DataFrame = measures(graphs, quiet=False)
    report["measures_seconds"] = spent = time.perf_counter() - start
    print(f"\n{table.shape[1]} measures of {len(table)} rewired graphs: {spent:.1f} s, {1e3 * spent / len(table):.1f} ms per graph", end="")
    print(f" (making them took {report['rewiring_seconds']:.1f} s)")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
