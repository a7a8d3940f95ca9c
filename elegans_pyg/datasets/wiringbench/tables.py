"""The tables of WiringBench as they are published."""

import io
import json
from functools import lru_cache

import pandas as pd

from elegans_pyg._arguments import check_choice
from elegans_pyg._files import data_folder, sha256

TABLES = ("wirings", "results", "targets", "measures")


@lru_cache(maxsize=len(TABLES))
def read(name: str) -> pd.DataFrame:
    """A table of data/wiringbench, which is not to be changed; raises ``ValueError`` if it is not as its metadata says."""
    check_choice("name", name, TABLES)
    folder = data_folder("wiringbench")
    content = (folder / f"{name}.parquet").read_bytes()
    known = {file["name"]: file["sha256"] for file in json.loads((folder / "croissant.json").read_bytes())["distribution"]}
    if sha256(content) != known[f"{name}.parquet"]:
        raise ValueError(
            f"{folder / name}.parquet: expected the table that croissant.json describes, got another; install the package again"
        )
    return pd.read_parquet(io.BytesIO(content))
