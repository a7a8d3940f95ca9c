#!/usr/bin/env python3
"""Write data/activity/ from the signal propagation atlas of Randi et al. 2023 as the package `wormneuroatlas` carries it.

    pip download --no-deps wormneuroatlas==0.0.7.3 && unzip -d atlas wormneuroatlas-*.whl && pip install h5py
    python scripts/build_activity.py --source atlas/wormneuroatlas/data/funatlas.h5

The paper, doi:10.1038/s41586-023-06683-4, is open access under CC BY 4.0. Of that package only this file is read, and its code, which is
under the GPL, is not needed. Running the script again gives the same bytes. What each file holds is in data/README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch

from elegans_pyg._tensor_files import write_tensors

STRAINS = {"wild-type": "wt", "unc-31": "unc31"}
# Which AWC is which is left to chance in every animal; the connectomes name them by side.
NAMES = {"AWCOF": "AWCL", "AWCON": "AWCR"}


def pairs(group: h5py.Group) -> dict[str, np.ndarray]:
    """The pairs that were tested, in the order of (stimulated, responding), and the responses of their single trials, pair by pair."""
    # The file has the responding neuron first.
    tables = {name: group[key][:].T for name, key in (("q", "q"), ("q_equal", "q_eq"), ("count", "occ1"), ("trials", "dFF_all"))}
    stimulated, responding = np.nonzero(np.isfinite(tables["q"]))
    chosen = {name: table[stimulated, responding] for name, table in tables.items()}
    trials = [np.asarray(values, dtype=np.float32) for values in chosen["trials"]]
    return {
        "pair": np.stack([stimulated, responding]).astype(np.int16),
        "q": chosen["q"].astype(np.float32),
        "q_equal": chosen["q_equal"].astype(np.float32),
        "count": chosen["count"].astype(np.uint8),
        "trials": np.array([len(values) for values in trials], dtype=np.uint8),
        "response": np.concatenate(trials),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="funatlas.h5 of the unpacked package wormneuroatlas")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data" / "activity")
    options = parser.parse_args()
    with h5py.File(options.source) as file:
        names = [name.decode() for name in file["neuron_ids"][:]]
        content = {"neuron_name": [NAMES.get(name, name) for name in names], "source": "Randi et al. 2023, doi:10.1038/s41586-023-06683-4"}
        for strain, key in STRAINS.items():
            found = pairs(file[key])
            path = options.out / f"randi2023-{strain}.safetensors"
            write_tensors(path, {name: torch.from_numpy(values) for name, values in found.items()}, content)
            print(f"{path.name}: {len(found['q']):,} pairs, {len(found['response']):,} trials, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
