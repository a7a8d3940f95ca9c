"""Counts of the wirings of families, against those of the connectome."""

from __future__ import annotations

import pandas as pd

from elegans_pyg.studies.match import COUNTS, match_table


def test_counts_that_differ_by_over_a_percent_either_way_are_named() -> None:
    rows = [
        ("connectome", 100, 999, 10, 20, 0, 30, 5000),
        ("connectome", 100, 1001, 10, 20, 0, 30, 5000),
        ("er", 100, 980, 10, 20, 3, 30, 5049),
        ("ws", 100, 1009, 11, 20, 0, 30, 4950),
    ]
    table = match_table(pd.DataFrame(rows, columns=["family", *COUNTS])).set_index("family")
    assert table["differs"].to_dict() == {"connectome": "", "er": "edges -2.0%, unreached +3", "ws": "inputs +10.0%"}
    assert table["variants"].tolist() == [2, 1, 1]
    assert table.loc["connectome", "edges"] == 1000
