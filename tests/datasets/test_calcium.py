"""Calcium recordings from small files in the layout of Simeon et al. 2024."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from elegans_pyg.datasets import load_calcium


def table() -> pd.DataFrame:
    """Two worms of one source and one of another; ``worm0`` is a name in both."""
    rng = np.random.default_rng(0)
    rows = []
    for source, worm, neurons, original, resampled in (
        ("Kato2015", "worm0", ["AVAL", "AVAR", "12"], 7, 5),
        ("Kato2015", "worm1", ["AVAL"], 4, 3),
        ("Nichols2017", "worm0", ["ASEL", "AVAL"], 6, 4),
    ):
        times = np.sort(rng.uniform(0, 9, original)).astype(np.float32)
        for slot, neuron in enumerate(neurons):
            rows.append(
                {
                    "source_dataset": source,
                    "raw_data_file": f"{source}.mat",
                    "worm": worm,
                    "neuron": neuron,
                    "slot": slot,
                    "is_labeled_neuron": not neuron.isdigit(),
                    "smooth_method": "none",
                    "interpolate_method": "linear",
                    "normalization_method": "standard",
                    "original_calcium_data": rng.normal(size=original).astype(np.float32),
                    "calcium_data": rng.normal(size=resampled).astype(np.float32),
                    "original_time_in_seconds": times,
                    "time_in_seconds": np.arange(resampled, dtype=np.float32) / 3,
                    "original_max_timesteps": original,
                    "max_timesteps": resampled,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def write(tmp_path):
    def write_file(rows: pd.DataFrame):
        rows.to_parquet(tmp_path / "worms.parquet", index=False)
        return tmp_path / "worms.parquet"

    return write_file


@pytest.mark.parametrize("original", [False, True])
def test_each_worm_is_a_graph(write, original):
    rows = table()
    worms = load_calcium(write(rows), original=original)
    assert [(worm.source_dataset, worm.worm) for worm in worms] == [("Kato2015", "worm0"), ("Kato2015", "worm1"), ("Nichols2017", "worm0")]
    assert worms[0].neuron_name == ["AVAL", "AVAR", "12"]
    assert worms[0].labeled.tolist() == [True, True, False]
    prefix = "original_" if original else ""
    start = 0
    for worm in worms:
        own = rows.iloc[start : start + worm.num_nodes]
        assert torch.equal(worm.calcium, torch.tensor(np.stack(own[f"{prefix}calcium_data"].to_list())))
        np.testing.assert_array_equal(worm.time_seconds, own[f"{prefix}time_in_seconds"].iloc[0])
        start += worm.num_nodes
    assert start == len(rows)


def test_sources_are_chosen(write):
    worms = load_calcium(write(table()), sources=["Nichols2017"])
    assert [(worm.source_dataset, worm.neuron_name) for worm in worms] == [("Nichols2017", ["ASEL", "AVAL"])]
    with pytest.raises(ValueError, match=r"expected rows of Nobody2000, got none; give other sources"):
        load_calcium(write(table()), sources=["Nobody2000"])
    with pytest.raises(TypeError, match=r"sources: expected a list of names, got 'Kato2015'; give \['Kato2015'\]"):
        load_calcium(write(table()), sources="Kato2015")


def change(column: str, values: object):
    rows = table().astype({column: object})
    rows.at[1, column] = values
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (table().drop(columns="worm"), "expected the column worm, got source_dataset, raw_data_file, "),
        (change("worm", None), "expected worm in every row, got an empty cell; fill it or leave the row out"),
        (change("source_dataset", None), "expected source_dataset in every row, got an empty cell"),
        (change("neuron", None), "expected neuron in every row, got an empty cell"),
        (change("is_labeled_neuron", None), "expected is_labeled_neuron in every row, got an empty cell"),
        (change("calcium_data", None), r"Kato2015, worm0: expected lists in calcium_data and time_in_seconds, got an empty cell"),
        (
            change("time_in_seconds", np.arange(5, dtype=np.float32) / 2),
            r"Kato2015, worm0: expected the same time_in_seconds for all neurons, got others",
        ),
        (change("calcium_data", np.zeros(9, dtype=np.float32)), r"Kato2015, worm0: expected calcium_data with 5 values, .* got 9; correct"),
        (change("calcium_data", np.full(5, np.nan, dtype=np.float32)), "Kato2015, worm0: expected finite traces and increasing times"),
        (change("neuron", "AVAL"), "Kato2015, worm0: expected each neuron once, got 'AVAL' again"),
        (table().iloc[:0], "expected rows, got none"),
    ],
)
def test_what_is_refused(write, rows, message):
    with pytest.raises(ValueError, match=message):
        load_calcium(write(rows))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="path: there is no file"):
        load_calcium(tmp_path / "none.parquet")
    for content in (b"source_dataset,worm\n", b"PAR1" + bytes(40) + (40).to_bytes(4, "little") + b"PAR1"):
        (tmp_path / "text.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"text\.parquet: expected a Parquet file, got unreadable content \(.+\); correct it or"):
            load_calcium(tmp_path / "text.parquet")
