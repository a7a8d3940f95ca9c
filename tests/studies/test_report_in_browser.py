"""``report.html`` in a real browser: it draws, without a network and without complaints, and what can be used works."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg.datasets import load_images
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.studies import Run, Units, load_run, run_study
from elegans_pyg.studies.html_report.page import Part, render
from elegans_pyg.studies.study import Classified, Report
from tests.recipes.tiny import learning_settings
from tests.recipes.undrawn import undrawn

pytestmark = pytest.mark.browser
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: install it, or name it in $CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra 'dev')")
    with playwright.sync_playwright() as own:
        browser = own.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("browser")
    settings = learning_settings(folder)
    for name in ("small.csv", "neurons.csv"):
        (folder / name).write_text((folder / name).read_text().replace("N03", SCRIPT))
    with undrawn():
        run_study(ENSEMBLE, settings, folder / "run", quiet=True)
    return load_run(folder / "run")


class Shown:
    """A page in the browser, and what it complained of or asked the network for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **options)
        self.page, self.complaints = self.context.new_page(), list[str]()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.page.on("request", self._requested)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]", timeout=120_000)

    def _requested(self, request: Any) -> None:
        if request.url.split(":")[0] not in ("file", "data", "blob") or (
            request.url.startswith("file:") and not request.is_navigation_request()
        ):
            self.complaints.append(request.url)

    def wait_for(self, expression: str) -> None:
        """Until it is true; the page's own policy keeps playwright from waiting in it."""
        end = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def lines(self, chart: str) -> int:
        """Curves that can be seen."""
        return int(self.page.locator(f"#{chart} .scatterlayer .trace").count())


@pytest.fixture
def shown(browser: Any, run: Run) -> Iterator[Shown]:
    shown = Shown(browser, run.folder.path / "report.html")
    yield shown
    shown.context.close()
    assert shown.complaints == []


def test_everything_is_drawn(shown: Shown) -> None:
    page = shown.page
    assert page.title() == "ensemble: small.csv, digits"
    assert page.inner_text(".answer p").startswith("Whether the accuracy on digits of the wiring of small (2 runs) differs from that of ")
    assert page.locator(".answer li").count() == 2
    assert page.locator(".chart .main-svg").count() > 0
    assert shown.lines("run1-1") > 0
    assert page.locator(".graph .point").count() == 24
    assert page.locator(".confusion .heatmaplayer image").count() == 1
    assert page.locator(".examples canvas").count() > 0
    # On a narrow screen nothing is wider than the screen.
    page.set_viewport_size({"width": 400, "height": 800})
    shown.wait_for("document.documentElement.scrollWidth <= 400")


def test_hover_says_what_a_dot_is(shown: Shown, run: Run) -> None:
    page = shown.page
    point = page.locator("#run1-0 .point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#run1-0 .hoverlayer .hovertext")
    text = page.locator("#run1-0 .hoverlayer .hovertext").first.text_content()
    assert "unit 0" in text
    assert f"seed {run.results['seed'][0]}" in text


def test_families_are_hidden_and_shown(shown: Shown) -> None:
    page, before = shown.page, shown.lines("run1-1")
    legend = page.locator("#run1-1 .legendtext", has_text="er (n")
    assert legend.count() == 1
    page.uncheck("input.family[value=er]")
    shown.wait_for(f"document.querySelectorAll('#run1-1 .scatterlayer .trace').length < {before}")
    assert legend.count() == 0
    page.check("input.family[value=er]")
    shown.wait_for(f"document.querySelectorAll('#run1-1 .scatterlayer .trace').length === {before}")
    page.check("input.each")
    shown.wait_for(f"document.querySelectorAll('#run1-1 .scatterlayer .trace').length === {before + 3}")
    page.uncheck("input.each")
    shown.wait_for(f"document.querySelectorAll('#run1-1 .scatterlayer .trace').length === {before}")
    # The legend does the same in one chart.
    page.locator("#run1-1 .legendtoggle").first.click()
    shown.wait_for(f"document.querySelectorAll('#run1-1 .scatterlayer .trace').length < {before}")


def test_a_chart_can_be_enlarged(shown: Shown) -> None:
    page = shown.page
    area = page.locator("#run1-1 .nsewdrag").first
    area.scroll_into_view_if_needed()
    before, box = page.evaluate("document.getElementById('run1-1').layout.xaxis.range"), area.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    shown.wait_for(f"document.getElementById('run1-1').layout.xaxis.range[0] > {before[0]}")


def test_a_neuron_is_found_with_its_paths(shown: Shown, run: Run) -> None:
    page, data = shown.page, run.wirings["connectome"]
    # With the keyboard alone.
    page.focus(".search")
    page.keyboard.type("n07")
    page.keyboard.press("Enter")
    text = page.inner_text(".wiring .told")
    node = data.neuron_name.index("N07")
    into, out = (int((data.edge_index[end] == node).sum()) for end in (1, 0))
    assert text.startswith("N07: ")
    assert f"level {int(data.level[node])}, {into} in, {out} out" in text
    way = text.partition("output: ")[2].rstrip(".").split(" → ")
    places = [data.neuron_name.index(name) for name in way]
    edges = set(zip(*data.edge_index.tolist(), strict=True))
    assert "N07" in way
    assert all(pair in edges for pair in pairwise(places))
    assert bool(data.input_mask[places[0]])
    assert bool(data.output_mask[places[-1]])
    # Another wiring has the same neuron.
    page.select_option(".which", "rewired")
    assert page.inner_text(".wiring .told").startswith("N07: ")
    page.select_option(".which", "connectome")
    assert page.inner_text(".wiring .told") == text
    page.fill(".search", SCRIPT)
    page.press(".search", "Enter")
    assert page.inner_text(".wiring .told").startswith(f"{SCRIPT}: ")
    page.fill(".search", "nobody")
    page.press(".search", "Enter")
    assert page.inner_text(".wiring .told") == "There is no neuron nobody."
    page.locator(".wiring button[type=reset]").click()
    assert page.inner_text(".wiring .told").startswith("Choose a neuron")


def test_hover_and_click_say_what_a_neuron_is(shown: Shown, run: Run) -> None:
    page = shown.page
    number = page.evaluate(
        "document.querySelector('.graph').data.findIndex((trace) => (trace.text || []).some((text) => text.includes('script')))"
    )
    place = page.evaluate(f"document.querySelector('.graph').data[{number}].text.findIndex((text) => text.includes('script'))")
    point = page.locator(".graph .scatterlayer .trace").nth(number).locator(".point").nth(place)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".graph .hoverlayer .hovertext")
    assert SCRIPT in page.locator(".graph .hoverlayer .hovertext").first.text_content()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.wait_for("document.querySelector('.search').value.includes('script')")
    assert page.inner_text(".wiring .told").startswith(f"{SCRIPT}: ")


def test_every_unit_has_its_confusions(shown: Shown, run: Run) -> None:
    page, rows = shown.page, run.results
    for unit, accuracy in enumerate(rows["accuracy"]):
        page.select_option(".unit", str(unit))
        assert f"correct, {100 * accuracy:.2f} %." in page.inner_text(".images .told")
    assert page.locator(".unit option").count() == len(rows)
    assert page.locator(".examples.wrong canvas").first.get_attribute("aria-label").startswith("true ")


def test_dark_follows_the_system(browser: Any, run: Run) -> None:
    dark = Shown(browser, run.folder.path / "report.html", color_scheme="dark")
    colours = "[getComputedStyle(document.body).backgroundColor, document.querySelector('#run1-1 .xtick text').style.fill]"
    ground, text = dark.page.evaluate(colours)
    assert (ground, text) == ("rgb(23, 25, 28)", "rgb(232, 234, 237)")
    dark.page.emulate_media(color_scheme="light")
    dark.wait_for("document.querySelector('#run1-1 .xtick text').style.fill === 'rgb(26, 26, 26)'")
    assert dark.page.evaluate(colours)[0] == "rgb(255, 255, 255)"
    assert dark.complaints == []
    dark.context.close()


def test_it_prints(shown: Shown, run: Run) -> None:
    page = shown.page
    shown_by = """(names) => [...document.querySelectorAll(names)]
        .filter((own) => own.textContent.trim()).map((own) => own.checkVisibility())"""
    assert not all(page.evaluate(shown_by, "td"))
    page.pdf(format="A4")
    # As wide as a page is within its margins.
    page.set_viewport_size({"width": 718, "height": 1000})
    page.emulate_media(media="print")
    assert all(sentence in page.inner_text(".answer") for sentence in run.summary["answer"])
    visible = page.evaluate(shown_by, ".answer, caption, th, td, figcaption, .files a")
    assert len(visible) > 100
    assert all(visible)
    assert not any(page.evaluate(shown_by, ".controls, .skip"))
    wide = "[...document.querySelectorAll('.scroll')].filter((own) => own.scrollWidth > own.clientWidth + 1).length"
    assert page.evaluate(wide) == 0


def test_the_toolbar_leaves_the_confusions_free(shown: Shown) -> None:
    bar, plot = (shown.page.locator(f".confusion {name}").first.bounding_box() for name in (".modebar-group", ".nsewdrag"))
    assert bar["height"] > 0
    assert bar["y"] + bar["height"] <= plot["y"]


def test_edges_that_are_too_many_to_draw_are_not_missed(browser: Any, run: Run, tmp_path: Path) -> None:
    pairs = torch.combinations(torch.arange(210))[:21_034].T
    units = Units(run.units.table.assign(wiring=0), [Data(edge_index=pairs, num_nodes=210)])
    path = tmp_path / "many.html"
    path.write_bytes(render([Part(run.study, run.settings, units, run.folder)], tmp_path))
    shown = Shown(browser, path)
    told = shown.page.inner_text(".wiring .told")
    assert told.startswith("Choose a neuron")
    assert told.endswith("Edges are drawn for a chosen neuron only, since there are 21,034.")
    assert shown.complaints == []
    shown.context.close()


def many_variants(run: Run, folder: Path) -> Path:
    """A page of 300 variants with 30 evaluations and 10,000 test images each."""
    rng, count = np.random.default_rng(0), 300
    rows = pd.DataFrame({"variant": range(count), "family": np.repeat(["connectome", "er", "rewired"], 100)})
    rows = rows.assign(wiring_seed=range(count), seed=range(count), accuracy=rng.uniform(0.9, 0.99, count))
    rows.loc[:99, "wiring_seed"] = 0
    steps = pd.concat(
        [rows.assign(iteration=step, split=split, loss=rng.random(count)) for step in range(30) for split in ("train", "validation")]
    )
    images = load_images("digits", quiet=True)
    many = torch.randint(0, len(images.test_labels), (10_000,), generator=torch.Generator().manual_seed(0))
    labels = images.test_labels[many]
    wrong = torch.from_numpy(rng.random((count, 10_000)) < 0.05)
    predictions = torch.where(wrong, torch.from_numpy(rng.integers(0, 10, (count, 10_000))), labels)
    pictures = torch.from_numpy(rng.integers(0, 256, (10_000, 1, 28, 28), dtype=np.uint8))
    report = Report(files={"metrics.csv": steps}, classified=Classified(pictures, labels, predictions, images.classes))
    units = Units(run.units.table, run.units.wirings)
    path = folder / "many.html"
    path.write_bytes(render([Part(run.study, run.settings, units, run.folder, rows, report)], folder))
    return path


def test_three_hundred_variants(browser: Any, run: Run, tmp_path: Path) -> None:
    path = many_variants(run, tmp_path)
    assert path.stat().st_size < 8_000_000
    shown = Shown(browser, path)
    assert shown.complaints == []
    shown.page.check("input.each")
    assert shown.page.locator(".unit option").count() == 300
    shown.context.close()
