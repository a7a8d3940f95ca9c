#!/usr/bin/env python3
"""Write the extrasynaptic layers and the table of polarity in data/connectomes/ from the papers' tables that `wormneuroatlas` carries.

    pip download --no-deps wormneuroatlas==0.0.7.3 && unzip -d atlas wormneuroatlas-*.whl && pip install openpyxl
    python scripts/build_layers.py --source atlas/wormneuroatlas/data

Bentley et al. 2016, doi:10.1371/journal.pcbi.1005283, S1 Dataset, and Fenyves et al. 2020, doi:10.1371/journal.pcbi.1007974, S3 Table, both
CC BY. Of that package only the tables are read, and its code, which is under the GPL, is not needed. Running the script again gives the
same bytes. What each file holds is in data/README.md.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from build_connectomes import canonical, read_sheet, write

LAYERS = {
    "bentley2016-monoamine": "esconnectome_monoamines_Bentley_2016.csv",
    "bentley2016-neuropeptide": "esconnectome_neuropeptides_Bentley_2016.csv",
}
POLARITY = "journal.pcbi.1007974.s003.xlsx"
# The first six columns of the sheet of receptor genes, and of the sheet of predictions from its seventh on.
CLASSES = ("Glu+", "Glu-", "ACh+", "ACh-", "GABA+", "GABA-")


def layer(path: Path, order: dict[str, int]) -> list[list[str]]:
    """One row per pair of neurons; its weight counts the transmitters with their receptors that link the two."""
    signals: dict[tuple[str, str], set[str]] = defaultdict(set)
    with path.open(newline="", encoding="utf-8") as file:
        for row in list(csv.reader(file))[1:]:
            pre, post, transmitter, receptor = (cell.strip() for cell in row[:4])
            signals[canonical(pre), canonical(post)].add(f"{transmitter}:{receptor}")
    pairs = sorted(signals, key=lambda pair: (order[pair[0]], order[pair[1]]))
    return [[*pair, str(len(signals[pair])), "extrasynaptic", ";".join(sorted(signals[pair]))] for pair in pairs]


def polarity(path: Path) -> list[list[str]]:
    """What each neuron releases, the dominant transmitter first, and the classes of ionotropic receptors that it expresses."""
    genes: dict[object, str] = {
        row[column]: name for row in read_sheet(path, "2. Receptor gene table")[1:] for column, name in enumerate(CLASSES)
    }
    genes.pop(None, None)
    expressed = {row[0]: {genes[gene] for gene in row[1:] if gene in genes} for row in read_sheet(path, "3. Receptor Gene expression")}
    return [
        [canonical(row[0]), " ".join(str(cell) for cell in row[1:3] if cell), " ".join(sorted(expressed[row[0]], key=CLASSES.index))]
        for row in read_sheet(path, "1. NT expr")[1:]
        if row[0]
    ]


def predictions(path: Path) -> list[list[str]]:
    """The connections and the polarity that the authors print for each."""
    rows = read_sheet(path, "5. Sign prediction")[2:]
    return [[canonical(row[0]), canonical(row[3]), str(row[4]), str(row[16])] for row in rows if row[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parent.parent
    parser.add_argument("--source", type=Path, required=True, help="the folder data/ of the unpacked package wormneuroatlas")
    parser.add_argument("--out", type=Path, default=root / "data" / "connectomes")
    parser.add_argument("--predictions", type=Path, default=root / "tests" / "datasets" / "fenyves2020-predictions.csv")
    options = parser.parse_args()
    with (options.out / "neurons.csv").open(newline="", encoding="utf-8") as file:
        order = {row["name"]: number for number, row in enumerate(csv.DictReader(file))}
    for title, source in LAYERS.items():
        rows = layer(options.source / source, order)
        write(options.out / f"{title}.csv", ["pre", "post", "weight", "synapse", "signals"], rows)
        print(
            title,
            f"{len({name for row in rows for name in row[:2]})} neurons, {len(rows)} pairs, {sum(int(row[2]) for row in rows)} signals",
        )
    rows = sorted(polarity(options.source / POLARITY), key=lambda row: order[row[0]])
    write(options.out / "polarity.csv", ["name", "transmitters", "receptors"], rows)
    print(
        f"polarity {len(rows)} neurons, {sum(bool(row[1]) for row in rows)} with and {sum(not row[1] for row in rows)} without transmitter"
    )
    rows = predictions(options.source / POLARITY)
    write(options.predictions, ["pre", "post", "weight", "prediction"], rows)
    print(f"predictions {len(rows)} connections, {sum(int(row[2]) for row in rows)} synapses")


if __name__ == "__main__":
    main()
