"""Whatever a recipe's test runs: its tables fit 80 columns without a broken word, and its figures have titles with data set
and family. Few tests draw them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from elegans_pyg._settings import Settings
from elegans_pyg.studies import Units, run
from elegans_pyg.studies.study import Report
from elegans_pyg.studies.tables import WIDTH, to_plain, to_text
from tests.recipes.undrawn import undrawn


def check_report(report: Report, settings: Settings, families: set[str]) -> None:
    text = to_text(*report.tables)
    assert max(map(cell_len, text.splitlines()), default=0) <= WIDTH, text
    printed = set(text.split())
    for part in to_plain(*report.tables):
        cells = [cell for row in (part.get("headings", []), *part.get("rows", [])) for cell in row] + part.get("notes", [])
        words = {word for cell in cells for word in cell.split() if cell_len(word) < WIDTH // 2}
        assert words <= printed, (words - printed, text)
    subjects = [Path(value).name for name in ("dataset", "connectome", "wiring") if (value := getattr(settings, name, None))]
    for figure in report.figures.values():
        title = " ".join(figure.get_suptitle().split())
        assert all(subject in title for subject in subjects), title
        assert any(family in title for family in families), title


@pytest.fixture(autouse=True)
def _reports_are_fit_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    join = run.join

    def checked(study: Any, settings: Settings, folder: Any, units: Units, **options: Any) -> Any:
        report, paths = join(study, settings, folder, units, **options)
        check_report(report, settings, set(units.table["family"]))
        return report, paths

    monkeypatch.setattr(run, "join", checked)


@pytest.fixture(autouse=True)
def _figures_are_drawn_on_request(request: pytest.FixtureRequest) -> Iterator[None]:
    """One test of a recipe, marked ``drawn``, draws its figures."""
    if request.node.get_closest_marker("drawn"):
        yield
        return
    with undrawn():
        yield
