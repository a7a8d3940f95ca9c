"""The published tables of WiringBench."""

import io
import json
from functools import lru_cache

import pandas as pd

from elegans_pyg._arguments import check_choice
from elegans_pyg._files import data_folder, sha256

TABLES = ("wirings", "results", "targets", "measures")


@lru_cache(maxsize=len(TABLES))
def read(name: str) -> pd.DataFrame:
    """Return a table of data/wiringbench, cached, not to be modified; raises ``ValueError`` if it differs from its metadata."""
    check_choice("name", name, TABLES)
    folder = data_folder("wiringbench")
    content = (folder / f"{name}.parquet").read_bytes()
    known = {file["name"]: file["sha256"] for file in json.loads((folder / "croissant.json").read_bytes())["distribution"]}
    if sha256(content) != known[f"{name}.parquet"]:
        raise ValueError(f"{folder / name}.parquet: expected the table described in croissant.json, got another; reinstall the package")
    return pd.read_parquet(io.BytesIO(content))
