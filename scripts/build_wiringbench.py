#!/usr/bin/env python3
"""Measure WiringBench, or resume measuring it, and write data/wiringbench/ and the tables and figures of its card, docs/wiringbench.md.

    python scripts/build_wiringbench.py --run runs/wiringbench
    elegans-pyg reproduce wiringbench --out runs/leaderboard
    python scripts/build_wiringbench.py --run runs/wiringbench --leaderboard runs/leaderboard

The first is a study like any other: it can be killed at any moment, and the same command resumes it. A finished run is only read. With
`--every 32` it takes every 32nd wiring, a pilot in minutes. The leaderboard is a study of its own, on the tables that the first wrote;
without one the card says that there is none.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from elegans_pyg._files import sha256, write_atomic
from elegans_pyg.datasets.wiringbench.wirings import OPTIONS, SPLITS, parts, recipes
from elegans_pyg.recipes.build_wiringbench import BUILD_WIRINGBENCH, MEASURES, BuildSettings, known
from elegans_pyg.recipes.wiring_targets import GROUPS, LESS_IS_BETTER, UNDIRECTED
from elegans_pyg.recipes.wiringbench import COMPARISON, bench_hash, comparison_table
from elegans_pyg.studies import load_run, mean_and_sd, run_study
from elegans_pyg.studies.tables import between_marks, to_markdown

ROOT = Path(__file__).parent.parent
VERSION, PILOT = "1.0.0", "0.1.0"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
CREATORS = "The elegans_pyg developers"
_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5"
    " parentField path recordSet references regex repeated replace samplingRate separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
"""The context that Croissant 1.0 prescribes, whole: mlcroissant reads no file with less."""
ABOUT = {
    "wirings": "One row per wiring: its recipe, SHA-256 of its edges and the types of its neurons, and its part in each split.",
    "results": "One row per wiring, target and repeat.",
    "targets": "One row per target: what it is, and how reliable the mean of its repeats is.",
    "measures": "One row per wiring: structural measures of it and of its DAG.",
}


def tables(rows: pd.DataFrame, reliability: pd.DataFrame, measures: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is published, from what a run found."""
    columns = ["number", "base", "family", *OPTIONS, "draw", "wiring_seed", "sha256", "neurons", "edges"]
    wirings = rows.drop_duplicates("number")[columns].reset_index(drop=True)
    wirings = wirings.join(parts(wirings).add_prefix("split_"))
    names = reliability["target"].tolist()
    results = rows.melt(["number", "repeat"], names, "target", "value").dropna(subset=["value"])
    results = results.astype({"number": np.int16, "repeat": np.int8, "value": np.float32, "target": "category"})
    results["value"] = rounded(results["value"].to_numpy(), 12)
    results = results.sort_values(["target", "repeat", "number"])
    about = {target: text for group in GROUPS.values() for target, text in group.targets.items()}
    better = (~reliability["target"].isin(LESS_IS_BETTER)).astype("boolean").mask(reliability["target"].isin(UNDIRECTED))
    targets = reliability.assign(description=reliability["target"].map(about), more_is_better=better)
    names = measures.columns.drop("number")
    measures = measures.assign(**{name: rounded(measures[name].to_numpy(np.float32), 16) for name in names})
    return {"wirings": wirings, "results": results.reset_index(drop=True), "targets": targets, "measures": measures}


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Of float32 numbers the leading bits of the fraction: files hold no digits that mean nothing."""
    cut = np.uint32(23 - bits)
    return ((values.copy().view(np.uint32) + (np.uint32(1) << (cut - np.uint32(1)))) >> cut << cut).view(np.float32)


def write_data(found: dict[str, pd.DataFrame], folder: Path, published: str) -> None:
    """The tables in Parquet, metadata in Croissant (https://docs.mlcommons.org/croissant/) with their checksums, and a README."""
    files, records = [], []
    for name, table in found.items():
        buffer = io.BytesIO()
        floats = [column for column, kind in table.dtypes.items() if kind == np.float32]
        others = [column for column in table if column not in floats]
        table.to_parquet(buffer, index=False, compression="zstd", use_byte_stream_split=floats, use_dictionary=others)
        write_atomic(folder / f"{name}.parquet", buffer.getvalue())
        files.append(
            {
                "@type": "cr:FileObject",
                "@id": f"{name}.parquet",
                "name": f"{name}.parquet",
                "contentUrl": f"{name}.parquet",
                "encodingFormat": "application/x-parquet",
                "sha256": sha256(buffer.getvalue()),
            }
        )
        fields = [_field(name, column, str(kind)) for column, kind in table.dtypes.items()]
        records.append({"@type": "cr:RecordSet", "@id": name, "name": name, "description": ABOUT[name], "field": fields})
    metadata = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "WiringBench",
        "version": _version(found["wirings"]),
        "description": "Wirings like the connectomes of C. elegans, and what networks wired by them achieve, every repeat kept.",
        "license": LICENCE,
        "url": "README.md",
        "creator": {"@type": "sc:Organization", "name": CREATORS},
        "datePublished": published,
        "distribution": files,
        "recordSet": records,
    }
    # One line per column.
    text = re.sub(r"\n {4}}", "}", re.sub(r"\n {5,}", "", json.dumps(metadata, indent=1)))
    write_atomic(folder / "croissant.json", (text + "\n").encode())
    write_atomic(folder / "README.md", readme(found, published).encode())


def readme(found: dict[str, pd.DataFrame], published: str) -> str:
    wirings, targets = found["wirings"], found["targets"]
    version = _version(wirings)
    pilot = " This is a pilot: leaderboards need all wirings." if version == PILOT else ""
    ranked = ", ".join(f"`{name}`" for name in targets.loc[targets["ranked"], "target"])
    return f"""# WiringBench {version}

Wirings like the connectomes of *C. elegans*, and the performance of networks built from them: {len(wirings):,} of {len(recipes()):,}
wirings, {len(targets)} targets, every repeat. Published {published}.{pilot}

| file | rows | what |
| --- | --- | --- |
{chr(10).join(f"| `{name}.parquet` | {len(table):,} | {ABOUT[name]} |" for name, table in found.items())}
| `croissant.json` | | Every column with its type, checksums, version, licence (Croissant 1.0). |

Ranked targets, whose means have a reliability of at least 0.8: {ranked}.

`WiringBench.table` reads the tables and compares them with their checksums; `WiringBench("memory")` is a PyG data set of the wirings. How
every target was measured, the splits, what the data do not tell, and a leaderboard: `docs/wiringbench.md` of the package's source, whose
`scripts/build_wiringbench.py` wrote this folder.

## Licence

Copyright {published[:4]} {CREATORS}. Licensed under the Creative Commons Attribution 4.0 International License (CC BY 4.0),
{LICENCE}legalcode: you may share and adapt the tables for any purpose, if you name their
source, link the licence, and say what you changed; they come without any warranty. The connectomes that the wirings are made from are not
in this folder and have their own terms, see `../README.md`; please cite their papers.
"""


def _version(wirings: pd.DataFrame) -> str:
    return VERSION if len(wirings) == len(recipes()) else PILOT


def _field(table: str, column: str, kind: str) -> dict[str, Any]:
    what = "sc:Boolean" if "bool" in kind else "sc:Integer" if "int" in kind else "sc:Float" if "float" in kind else "sc:Text"
    source = {"fileObject": {"@id": f"{table}.parquet"}, "extract": {"column": column}}
    return {"@type": "cr:Field", "@id": f"{table}/{column}", "name": column, "dataType": what, "source": source}


def targets_text(found: dict[str, pd.DataFrame], seconds: dict[str, float]) -> str:
    wirings, targets = found["wirings"], found["targets"]
    ranked = int(targets["ranked"].sum())
    values = len(found["results"])
    pilot = f"**A pilot, version {PILOT}:** " if _version(wirings) == PILOT else ""
    lines = [
        f"{pilot}{len(wirings):,} of {len(recipes()):,} wirings, {values:,} values, {len(targets)} targets, {ranked} ranked."
        f" Computing time: {sum(seconds.values()) / 3600:.1f} hours of one core"
        f" ({', '.join(f'{name} {value:,.0f} s' for name, value in seconds.items())}), without what was lost when the build was killed.",
        "",
        "![Reliability of each target, with the least of a ranked one](wiringbench/reliability.svg)",
        "",
        "| target | what it is | wirings | repeats | mean ± SD | one run | reliability of the mean (95 %) | within a recipe | ranked |"
        " repeats for 0.8 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in targets.itertuples():
        interval = f"{row.reliability:.2f} ({row.low:.2f} to {row.high:.2f})" if row.repeats > 1 else "1 (nothing random)"
        lines.append(
            f"| `{row.target}` | {row.description} | {row.wirings:,} | {row.repeats} | {row.mean:.3f} ± {row.sd:.3f} | {row.icc:.2f} |"
            f" {interval} | {known(row.within, 2)} | {'yes' if row.ranked else 'no'} | {known(row.repeats_needed, 0)} |"
        )
    return "\n".join(lines)


def leaderboard_text(folder: Path | None, wirings: pd.DataFrame) -> str:
    if folder is None:
        sizes = [int((wirings[f"split_{split}"] == "test").sum()) for split in SPLITS]
        pilot = ", too small to put models in order" if _version(wirings) == PILOT else ""
        return f"Not run yet on these wirings: the test parts have {min(sizes)} to {max(sizes)}{pilot}."
    run = load_run(folder)
    if run.folder.read_json("identity.json")["data"] != bench_hash(run.settings):
        raise ValueError(f"leaderboard: expected a run on the tables of this build, got {folder} on others; run it again")
    board, notes = run.folder.read_table("leaderboard.csv"), run.summary["notes"]
    lines = ["![Share of the ceiling by model and split](wiringbench/leaderboard.svg)", ""]
    for split, own in board.groupby("split", sort=False):
        targets = list(dict.fromkeys(own["target"]))
        lines += [f"**{split} split**", "", f"| model | {' | '.join(targets)} | share of ceiling |", "| --- " * (len(targets) + 2) + "|"]
        for model, rows in own.groupby("model", sort=False):
            rows = rows.set_index("target")
            cells = [mean_and_sd(rows.loc[name, "spearman_mean"], rows.loc[name, "spearman_std"], 2) for name in targets]
            lines.append(f"| {model} | {' | '.join(cells)} | {rows['ceiling_share_mean'].mean():.2f} |")
        lines.append("")
    if (run.folder.path / COMPARISON).is_file():
        lines.append(to_markdown(comparison_table(run.folder.read_table(COMPARISON))))
    return "\n".join([*lines, *(f"- {note}" for note in notes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder: begun, resumed, or read if it is finished")
    parser.add_argument("--every", type=int, default=1, help="take every n-th wiring only")
    parser.add_argument("--groups", default=",".join(GROUPS), help="groups of targets, with commas between them")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--leaderboard", type=Path, help="finished run of `elegans-pyg reproduce wiringbench`, for the card")
    options = parser.parse_args()
    settings = BuildSettings(every=options.every, groups=tuple(options.groups.split(",")))
    run_study(BUILD_WIRINGBENCH, settings, options.run, resume=True, workers=options.workers)
    run = load_run(options.run)
    found = tables(run.results, run.folder.read_table("reliability.csv"), run.folder.read_table(MEASURES))
    write_data(found, ROOT / "data" / "wiringbench", run.summary["finished"][:10])
    filled = {
        "targets": targets_text(found, run.summary["cpu_seconds"]),
        "leaderboard": leaderboard_text(options.leaderboard, found["wirings"]),
    }
    card, drawn = ROOT / "docs" / "wiringbench.md", [options.run / "figures" / "reliability.svg"]
    if options.leaderboard is not None:
        drawn.append(options.leaderboard / "figures" / "leaderboard.svg")
    for figure in drawn:
        write_atomic(card.with_suffix("") / figure.name, figure.read_bytes())
    write_atomic(card, between_marks(card.read_text(encoding="utf-8"), filled).encode())


if __name__ == "__main__":
    main()
