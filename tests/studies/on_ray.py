"""Runs a study on a Ray of two nodes, and kills what it is told to: ``python -m tests.studies.on_ray FOLDER SCENE``."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from elegans_pyg.studies import run_study
from tests.studies.counting import COUNTING, CountingSettings

PAUSE_S = 0.3
QUIET = {"include_dashboard": False, "num_cpus": 1}


def wait_for_state(folder: Path) -> None:
    while not list(folder.glob("shards/*/state.txt")):
        time.sleep(0.02)


def kill_worker(folder: Path) -> None:
    wait_for_state(folder)
    for process in psutil.process_iter(["cmdline"]):
        if any(part.startswith("ray::run_one") for part in process.info["cmdline"] or []):
            process.kill()
            print("killed a worker", flush=True)
            return


def kill_node(folder: Path, cluster: Cluster, node: object) -> None:
    wait_for_state(folder)
    cluster.remove_node(node, allow_graceful=False)
    print("killed a node", flush=True)


def main() -> None:
    folder, scene = Path(sys.argv[1]), sys.argv[2]
    cluster = Cluster(initialize_head=True, head_node_args=QUIET)
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    kill = {"worker": (kill_worker, (folder,)), "node": (kill_node, (folder, cluster, node))}.get(scene)
    if kill is not None:
        threading.Thread(target=kill[0], args=kill[1], daemon=True).start()
    settings = CountingSettings(units=2, steps=6, shard_size=1, step_s=PAUSE_S)
    run_study(COUNTING, settings, folder, "ray", resume=True, quiet=True, cpus=1)
    print("done", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
