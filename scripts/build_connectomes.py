#!/usr/bin/env python3
"""Write data/connectomes/ from the spreadsheets that the package `cect` carries.

    pip install --no-deps cect==0.3.5 && pip install openpyxl xlrd
    python scripts/build_connectomes.py

The result depends on the spreadsheets alone: running the script again gives the same bytes. What each file holds, and where the counts
differ from the published ones, is in data/README.md, whose tables this script prints at the end.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

CORRECTED = "SI 5 Connectome adjacency matrices, corrected July 2020.xlsx"
UNCORRECTED = "SI 5 Connectome adjacency matrices.xlsx"
# Weights are written with as many digits as the sheets have; every one of them is an integer or a half.
Edges = dict[tuple[str, str, str], float]
SECTIONS = {
    "PHARYNX": "pharyngeal",
    "SENSORY NEURONS": "sensory",
    "INTERNEURONS": "inter",
    "MOTOR NEURONS": "motor",
    "SEX SPECIFIC": "sex-specific",
}


def canonical(name: object) -> str:
    """`DD01` and `DD1` are one neuron; the form without zeros is used."""
    return re.sub(r"^([A-Z]+)0+(?=[1-9])", r"\1", str(name).strip())


def read_sheet(path: Path, sheet: str) -> list[tuple[object, ...]]:
    import openpyxl

    return list(openpyxl.load_workbook(path, read_only=True, data_only=True)[sheet].iter_rows(values_only=True))


def matrix_entries(rows: list[tuple[object, ...]]) -> list[tuple[str, str, float]]:
    """The non-empty cells of an adjacency sheet: names of rows in column 3, of columns in row 3."""
    columns = [(j, canonical(name)) for j, name in enumerate(rows[2]) if name and j > 2]
    entries = []
    for row in rows[3:]:
        if row[2]:
            entries += [(canonical(row[2]), name, float(str(row[j]))) for j, name in columns if j < len(row) and row[j]]
    return entries


def sections(rows: list[tuple[object, ...]]) -> dict[str, str]:
    """Type of every neuron, from the section of the chemical sheet that its row stands in."""
    types: dict[str, str] = {}
    current = ""
    for row in rows[3:]:
        current = str(row[0]) if row[0] else current
        if row[2]:
            types.setdefault(canonical(row[2]), SECTIONS[current])
    return types


def cook(folder: Path, file: str, chemical: str, electrical: str) -> tuple[dict[str, str], Edges]:
    rows = read_sheet(folder / file, chemical)
    # The canal-associated neurons make no chemical synapse, so only the electrical sheets list them.
    types = {**sections(rows), "CANL": "other", "CANR": "other"}
    edges: Edges = Counter()
    seen = set()
    for pre, post, weight in matrix_entries(rows):
        if post in types:
            edges[pre, post, "chemical"] += weight
    for pre, post, weight in matrix_entries(read_sheet(folder / file, electrical)):
        first, second = sorted((pre, post))
        if pre in types and post in types and (first, second) not in seen:
            seen.add((first, second))
            edges[first, second, "electrical"] = weight
    return types, edges


def varshney(folder: Path, types: dict[str, str]) -> Edges:
    """S and Sp rows are chemical synapses as their sender lists them (R and Rp list them again); EJ rows come once per direction."""
    import xlrd

    sheet = xlrd.open_workbook(folder / "NeuronConnect.xls").sheet_by_index(0)
    edges: Edges = Counter()
    for i in range(1, sheet.nrows):
        pre, post, kind, count = sheet.row_values(i)
        pre, post = canonical(pre), canonical(post)
        if kind in ("S", "Sp"):
            edges[pre, post, "chemical"] += count
        elif kind == "EJ":
            first, second = sorted((pre, post))
            edges[first, second, "electrical"] = count
    unknown = {name for *pair, _ in edges for name in pair} - set(types)
    if unknown:
        sys.exit(f"neurons of NeuronConnect.xls that Cook et al. do not list: {sorted(unknown)}")
    return edges


def witvliet(folder: Path, file: str, types: dict[str, str]) -> Edges:
    """Muscles, glia and fragments are left out; electrical rows are merged over both directions."""
    edges: Edges = Counter()
    path = folder / file
    for pre, post, kind, count in read_sheet(path, path.stem)[1:]:
        pre, post = canonical(pre), canonical(post)
        if pre in types and post in types:
            first, second = (pre, post) if kind == "chemical" else sorted((pre, post))
            edges[first, second, str(kind)] += float(str(count))
    return edges


def transmitters(folder: Path) -> dict[str, tuple[str, str]]:
    """Class and neurotransmitters of each neuron, from Wang et al. 2024; marks of what was new in that paper are dropped, the
    asterisk of what its authors call tentative stays."""
    table: dict[str, tuple[str, str]] = {}
    for file, sheet, first in (("elife-95402-supp2-v1.xlsx", "Supp File 2", 20), ("elife-95402-supp3-v1.xlsx", "Supp File 3", 21)):
        current = ""
        for row in read_sheet(folder / file, sheet)[4:]:
            current = str(row[1]).strip() if row[1] else current
            if not row[2]:
                continue
            found = []
            for cell in row[first : first + 3]:
                text = re.sub(r"\s+", " ", re.sub(r"\(?\bnew\b\)?", "", str(cell or ""), flags=re.IGNORECASE)).strip(" -")
                if text:
                    found.append(text)
            # `DB1/3` stands for both, because the two cannot be told apart by their lineage.
            either = re.fullmatch(r"([A-Z]+)(\d)/(\d)", str(row[2]).strip())
            names = [either[1] + either[2], either[1] + either[3]] if either else [canonical(row[2])]
            for name in names:
                table.setdefault(name, (current.strip("* "), "; ".join(found)))
    return table


def write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of the spreadsheets; default: the one inside the installed package cect")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data" / "connectomes")
    options = parser.parse_args()
    folder = options.source
    if folder is None:
        spec = find_spec("cect")
        if spec is None or spec.origin is None:
            sys.exit("the package cect is not installed; run: pip install --no-deps cect==0.3.5")
        folder = Path(spec.origin).parent / "data"

    herm_types, herm = cook(folder, CORRECTED, "hermaphrodite chemical", "hermaphrodite gap jn symmetric")
    male_types, male = cook(folder, CORRECTED, "male chemical", "male gap jn symmetric")
    old_types, old = cook(folder, UNCORRECTED, "male chemical", "male gap jn symmetric")
    differing = {n for n in herm_types.keys() & male_types.keys() if herm_types[n] != male_types[n]}
    if differing or old_types.keys() - male_types.keys():
        sys.exit(f"the sheets disagree on neurons: {sorted(differing)}, {sorted(old_types.keys() - male_types.keys())}")
    types = {**herm_types, **male_types}
    connectomes = {"cook2019-hermaphrodite": herm, "cook2019-male": male, "cook2019-male-uncorrected": old}
    connectomes["varshney2011-hermaphrodite"] = varshney(folder, types)
    for stage, age in enumerate(["L1", "L1", "L1", "L1", "L2", "L3", "adult", "adult"], start=1):
        connectomes[f"witvliet2021-{stage}"] = witvliet(folder, f"witvliet_2020_{stage} {age}.xlsx", types)

    known = transmitters(folder)
    rows = []
    for name, kind in types.items():
        neuron_class, transmitter = known.get(name, (name, ""))
        sex = "male" if name not in herm_types else "both" if name in male_types else "hermaphrodite"
        rows.append([name, neuron_class, kind, sex, transmitter])
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "neurons.csv", ["name", "class", "type", "sex", "neurotransmitter"], rows)
    order = {name: i for i, name in enumerate(types)}
    for title, edges in connectomes.items():
        listed = sorted(edges.items(), key=lambda item: (item[0][2], order[item[0][0]], order[item[0][1]]))
        write(
            options.out / f"{title}.csv",
            ["pre", "post", "weight", "synapse"],
            [[pre, post, f"{weight:g}", kind] for (pre, post, kind), weight in listed],
        )
        names = {name for *pair, _ in edges for name in pair}
        counts = Counter(types[name] for name in names)
        kinds = Counter(kind for *_, kind in edges)
        print(title, len(names), dict(sorted(counts.items())), dict(sorted(kinds.items())))


if __name__ == "__main__":
    main()
