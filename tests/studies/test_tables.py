"""What is printed: it fits, and no word is broken."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.table import Table

from elegans_pyg.analysis import MEASURES, compare
from elegans_pyg.analysis import relate as relate_module
from elegans_pyg.analysis.relate import Relation, relate
from elegans_pyg.studies import tables
from elegans_pyg.studies.tables import bullets, comparison_table, make_table, relation_table, show, to_markdown, to_text
from elegans_pyg.transforms import FAMILIES


def comparison(share: bool = True, margin: float | None = None):
    rng = np.random.default_rng(0)
    rows = [
        (family, 0 if family == "connectome" else number, number, float(value))
        for family in FAMILIES
        for number, value in enumerate(rng.uniform(0.9, 1, 6))
    ]
    frame = pd.DataFrame(rows, columns=["family", "wiring_seed", "seed", "accuracy"]).assign(variant=range(len(rows)))
    return compare(frame if share else frame.assign(accuracy=1000 * frame["accuracy"]), resamples=200, share=share, margin=margin)


@pytest.fixture
def relation(monkeypatch: pytest.MonkeyPatch) -> Relation:
    monkeypatch.setattr(relate_module, "REPEATS", 1)
    rng = np.random.default_rng(0)
    names = sorted(MEASURES, key=len)[-8:]
    rows = [("ws" if wiring % 2 else "er", str(wiring), rng.uniform(), *rng.normal(size=len(names))) for wiring in range(12)]
    return relate(pd.DataFrame(rows, columns=["family", "wiring", "accuracy", *names]), names, resamples=200)


def check(parts: object, cells: list[str], width: int = 80) -> str:
    """The text, after a look at the length of its lines and for the words of the cells."""
    text = to_text(parts, width=width)  # type: ignore[arg-type]
    assert all(cell_len(line) <= width for line in text.splitlines())
    words = set(text.split())
    for cell in cells:
        assert set(cell.split()) <= words
    return text


@pytest.mark.parametrize("share", [True, False])
def test_a_comparison_fits(share: bool) -> None:
    table = comparison_table(comparison(share))
    cells = [str(cell) for column in table.renderables[0].columns for cell in (column.header, *column.cells)]  # type: ignore[union-attr]
    text = check(table, [*cells, *comparison(share).notes])
    # Numbers stay on one line, with their spread or their other end.
    headings = ("n for", "95 %", "its 95 %")
    assert all(cell in text for cell in cells if re.search(r"\d", cell) and not cell.startswith(headings))
    assert {"family minus connectome", "95 % (bootstrap)", "its 95 % (bootstrap)"} <= {cell.removesuffix(" pp") for cell in cells}
    assert "\x1b" not in text


@pytest.mark.parametrize("margin", [None, 0.05])
def test_verdicts_and_ranks_fit(margin: float | None) -> None:
    result = comparison(margin=margin)
    _, verdicts, ranks, _ = comparison_table(result).renderables
    for table in (verdicts, ranks):
        assert isinstance(table, Table)
        text = check(table, [str(cell) for column in table.columns for cell in (column.header, *column.cells)])
        assert "Rank" in text or ("90 % (t)" in " ".join(text.split())) == (margin is not None)
    undecided = result.table[result.table["verdict"] == "undecided"]
    assert len(undecided) > 2
    for row in undecided.itertuples():
        assert re.search(rf"{row.family} +undecided +{row.more:,} ", to_text(verdicts))
    assert re.search(rf"ws +{result.table['rank'][1]} of 7 ", to_text(ranks))


def test_a_relation_fits(relation: Relation) -> None:
    measures, models, notes = relation_table(relation).renderables
    assert isinstance(measures, Table)
    assert isinstance(models, Table)
    for table in (measures, models):
        cells = [str(cell) for column in table.columns for cell in (column.header, *column.cells)]
        text = check(table, cells)
        assert all(cell in text for cell in cells if re.search(r"\d\.\d", cell))
    check(notes, relation.notes)
    # Both parts of the long table name every measure.
    assert to_text(measures).count(relation.table["measure"][0]) >= 2


WORDS = st.text("abcdefg_|%", min_size=1, max_size=20)
CELLS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(0, 4), st.integers(1, 3), st.integers(80, 130))
def test_any_table_fits(data: st.DataObject, columns: int, rows: int, left: int, width: int) -> None:
    headings = data.draw(st.lists(CELLS, min_size=columns, max_size=columns))
    body = [data.draw(st.lists(CELLS, min_size=columns, max_size=columns)) for _ in range(rows)]
    table = make_table("A title of some words", headings, body, left)
    if rows:
        check(table, [*headings, *(cell for row in body for cell in row)], width)
    markdown = to_markdown(table).splitlines()
    assert len(markdown) == rows + 2
    assert all(len(re.findall(r"(?<!\\)\|", line)) == columns + 1 for line in markdown)


def test_what_is_too_wide_becomes_a_second_table_with_the_same_first_columns() -> None:
    rows = [(f"{leak}", f"{radius}", *("12.34 ± 0.56",) * 8) for leak in (1, 0.5) for radius in (0.8, 1.2)]
    text = check(make_table("Memory", ("leak", "radius", *map(str, range(8))), rows, left=0), ["12.34 ± 0.56"])
    headings = [line.split() for line in text.splitlines() if line.lstrip().startswith("leak")]
    assert [line[:2] for line in headings] == [["leak", "radius"]] * 2
    assert [name for line in headings for name in line[2:]] == [str(number) for number in range(8)]
    assert text.count("0.5") >= 4
    assert text.startswith("Memory\n")


def test_a_word_longer_than_the_width_is_all_that_is_broken() -> None:
    text = to_text(make_table("", ("name", "path"), [("folder", "x" * 100)], left=2))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.count("x") == 100
    assert "folder" in text


def test_numbers_are_those_of_the_result() -> None:
    result = comparison()
    first = result.table.iloc[1]
    text, markdown = to_text(comparison_table(result)), to_markdown(comparison_table(result))
    for part in (f"{100 * first['mean']:.2f} ± {100 * first['sd']:.2f}", f"{100 * first['difference']:+.2f}", f"{first['p']:.3f}"):
        assert part in text
        assert part in markdown
    assert markdown.count("\n- ") == len(result.notes)


def test_show_prints_80_columns_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table = comparison_table(comparison())
    show(table, bullets(["[not] *markup* 12"]))
    printed = capsys.readouterr().out
    assert max(map(cell_len, printed.splitlines())) <= tables.WIDTH
    assert "• [not] *markup* 12" in printed
    assert "\x1b" not in printed
    assert printed.split() == to_text(table, bullets(["[not] *markup* 12"])).split()
