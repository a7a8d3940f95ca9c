"""``report.html``: what it says is what the run folder holds, and nothing in it can do harm."""

from __future__ import annotations

import gzip
import json
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from safetensors.torch import load_file
from torch_geometric.data import Data

from elegans_pyg.datasets import load_images
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.studies import Run, load_run, run_study
from elegans_pyg.studies.html_report import charts, wirings
from elegans_pyg.studies.html_report.images import confusions
from elegans_pyg.studies.html_report.page import Part, render
from elegans_pyg.studies.saved import report_runs
from elegans_pyg.studies.study import Classified
from elegans_pyg.transforms import ConstrainedDAG
from tests.commands import invoke, refused
from tests.recipes.tiny import learning_settings, tiny_settings
from tests.recipes.undrawn import undrawn
from tests.studies import counting

SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The text of a page's elements, by the tag, and the attributes of all of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text: dict[str, list[str]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.data = json.loads(next(text for text in self.text["script"] if text.startswith("{")))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "img"):
            self._open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open[-1]][-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on a wiring whose neurons have names that are markup."""
    folder = tmp_path_factory.mktemp("report")
    settings = learning_settings(folder, margin=0.003)
    for name in ("small.csv", "neurons.csv"):
        text = (folder / name).read_text().replace("N03", SCRIPT).replace("N04", "a&b</script>")
        (folder / name).write_text(text)
    with undrawn():
        run_study(ENSEMBLE, settings, folder / "run", quiet=True)
    return load_run(folder / "run")


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(run.folder.path / "report.html")


def test_the_answer_and_the_tables_are_the_runs(run: Run, page: Page) -> None:
    answer = run.summary["answer"]
    assert len(answer) == 3
    assert "of the wiring of small (2 runs) differs from that of " in answer[0]
    assert answer[0] in page.text["p"]
    assert set(answer[1:]) <= set(page.text["li"])
    assert "Results by unit, and training curves" in page.text["h3"]
    assert page.text["h1"] == ["ensemble: small.csv, digits"]
    assert "Accuracy by family, compared with connectome" in page.text["caption"]
    means = run.results.groupby("family")["accuracy"].mean()
    for family, mean in means.items():
        assert family in page.text["th"]
        assert any(cell.startswith(f"{100 * mean:.2f}") for cell in page.text["td"])


def test_settings_are_shown_as_one_would_write_them(run: Run, page: Page) -> None:
    assert run.settings.training.validation_fraction == 1 / 12
    assert {"0.0833333", "er, rewired", "none"} <= set(page.text["td"])
    assert not {"None", "{}", "[]", "True", "False"} & set(page.text["td"])
    own = run.settings.model_copy(update={"families": ("rewired",), "family_options": {"rewired": {"fraction": 0.5}}})
    text = render([Part(run.study, own, run.units, run.folder)], run.folder.path).decode()
    assert "<td>rewired.fraction=0.5</td>" in text


def test_names_that_are_markup_stay_names(run: Run, page: Page) -> None:
    text = (run.folder.path / "report.html").read_text()
    assert SCRIPT not in text
    assert "a&b</script>" not in text
    # The page's own data, library and code.
    assert text.count("</script>") == 3
    names = page.data["wirings"]["run1"]["connectome"]["name"]
    assert SCRIPT in names
    assert "a&b</script>" in names
    chart = charts.dots(pd.DataFrame({"family": [SCRIPT] * 2, "variant": [0, 1], "value": [1.0, 2.0]}), SCRIPT, None)
    assert "<script" not in json.dumps(chart)
    # As the page's script writes it, which leaves quotes alone.
    assert charts.by_family(["worm's"], None)["worm's"]["legendgroup"] == "worm's"
    assert charts.short([1.0, float("inf"), float("nan")]) == [1.0, None, None]


def test_the_page_needs_nothing_else(run: Run, page: Page) -> None:
    folder = run.folder.path
    for tag, attributes in page.tags:
        assert attributes.get("src", "data:") == "" or str(attributes.get("src", "data:")).startswith("data:"), tag
        address = attributes.get("href") or ""
        if tag == "a" and not address.startswith("#"):
            assert (folder / unquote(address)).is_file(), address
        assert "http" not in address
    linked = {unquote(str(attributes["href"])) for tag, attributes in page.tags if tag == "a"}
    assert {"results.csv", "metrics.csv", "predictions.safetensors", "config.yaml", "summary.json"} <= linked
    library = gzip.decompress(b64decode(next(text for text in page.text["script"] if text.startswith("H4sI"))))
    assert b"plotly.js" in library[:200]
    assert (folder / "report.html").stat().st_size < 2_500_000


def test_every_element_that_needs_a_name_has_one(page: Page) -> None:
    known = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    for tag, attributes in page.tags:
        # A screen reader would read all of it after the name.
        assert "aria-describedby" not in attributes
        for reference in ("aria-labelledby", "list"):
            if attributes.get(reference) is not None:
                assert attributes[reference] in known, attributes
        if attributes.get("role") in ("img", "region"):
            assert attributes.get("aria-label") or attributes.get("aria-labelledby"), attributes
        if tag == "img":
            assert attributes.get("alt")
    assert page.tags[0] == ("html", {"lang": "en"})
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")


def test_charts_are_plotlys_and_hold_the_runs_numbers(run: Run, page: Page) -> None:
    dots, accuracy, loss = page.data["charts"].values()
    for chart in (dots, accuracy, loss):
        # Refuses names and values that plotly does not know.
        go.Figure(chart)
    values = sorted(x for trace in dots["data"] if "text" in trace for x in trace["x"])
    np.testing.assert_allclose(values, sorted(100 * run.results["accuracy"]), rtol=1e-5)
    for chart, split, value, scale in ((accuracy, "validation", "accuracy", 100), (loss, "train", "loss", 1)):
        table = run.metrics[run.metrics["split"] == split]
        for family, own in table.groupby("family"):
            mean = scale * own.groupby("iteration")[value].mean()
            (trace,) = [t for t in chart["data"] if t["name"].startswith(f"{family} (n")]
            assert trace["x"] == mean.index.tolist()
            np.testing.assert_allclose(trace["y"], mean, rtol=1e-5)
            (each,) = [t for t in chart["data"] if t["legendgroup"] == family and t.get("meta") == "runs"]
            assert each["visible"] is False
            np.testing.assert_allclose(
                [y for y in each["y"] if y is not None], scale * own.sort_values(["variant", "iteration"])[value], rtol=1e-5
            )


def test_one_evaluation_is_no_curve() -> None:
    table = pd.DataFrame({"iteration": [5, 5], "variant": [0, 1], "family": "er", "accuracy": [0.5, 0.6]})
    assert charts.curves(table, "iteration", "accuracy", "accuracy", None) is None
    assert charts.dots(table.assign(value=np.nan), "accuracy", None) is None


def test_the_wirings_are_the_runs(run: Run, page: Page) -> None:
    for family, data in run.wirings.items():
        drawn = page.data["wirings"]["run1"][family]
        assert [drawn["source"], drawn["target"]] == data.edge_index.tolist()
        assert drawn["level"] == data.level.tolist()
        assert drawn["into"] == torch.bincount(data.edge_index[1], minlength=data.num_nodes).tolist()
        assert drawn["out"] == torch.bincount(data.edge_index[0], minlength=data.num_nodes).tolist()
        assert drawn["inputs"] == data.input_mask.nonzero().flatten().tolist()
        reached = data.level >= 0
        x = torch.tensor(drawn["x"])
        assert bool((x[data.edge_index[0]] < x[data.edge_index[1]])[reached[data.edge_index].all(0)].all())


def test_a_wiring_with_cycles_stands_by_distance() -> None:
    edges = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 0, 3, 2]])
    drawn = wirings.drawn(Data(edge_index=edges, num_nodes=5, neuron_type=torch.tensor([0, 1, 2, 1, 1])))
    assert drawn is not None
    assert drawn["level"] == [0, 1, 1, -1, -1]
    assert (drawn["inputs"], drawn["outputs"]) == ([0], [2])
    assert min(drawn["x"][3:]) > max(drawn["x"][:3])
    assert wirings.drawn(Data(edge_index=edges, num_nodes=wirings.MOST_NODES + 1)) is None
    # Without types, from the sources to the sinks.
    untyped = wirings.drawn(Data(edge_index=torch.tensor([[3, 1, 2, 1], [1, 2, 0, 3]]), num_nodes=5))
    assert untyped is not None
    assert (untyped["level"], untyped["inputs"], untyped["outputs"]) == ([2, 0, 1, 1, -1], [1], [0])


def test_confusions_and_examples_are_the_predictions(run: Run, page: Page) -> None:
    images, found = load_images("digits", quiet=True), page.data["images"]["run1"]
    predictions = load_file(run.folder.path / "predictions.safetensors")["predictions"].long()
    counts = np.frombuffer(gzip.decompress(b64decode(found["counts"])), "<u2").reshape(len(predictions), 10, 10)
    labels = images.test_labels
    for unit, own in enumerate(predictions):
        for truth in range(10):
            assert counts[unit, truth].tolist() == torch.bincount(own[labels == truth], minlength=10).tolist()
        right, wrong = found["examples"][unit]
        for kind, examples in ((True, right), (False, wrong)):
            wanted = ((own == labels) == kind).nonzero().flatten()[: len(examples)]
            assert [read for _, read in examples] == own[wanted].tolist()
            assert [found["labels"][place] for place, _ in examples] == labels[wanted].tolist()
    sheet = _pixels(found["sheet"])
    place, _ = found["examples"][0][1][0]
    first = images.test_images[(predictions[0] != labels).nonzero()[0, 0], 0].numpy()
    row, column = divmod(place, found["columns"])
    assert (sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] == first).all()


def test_a_stopped_unit_has_read_nothing_and_few_images_do_for_many_units() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (3_000, 3, 4, 4), dtype=np.uint8))
    labels, predictions = (torch.from_numpy(rng.integers(0, 4, size)) for size in (3_000, (200, 3_000)))
    predictions[7] = -1
    found = confusions(Classified(images, labels, predictions, list("abcd")))
    counts = np.frombuffer(gzip.decompress(b64decode(found["counts"])), "<u2").reshape(200, 4, 4)
    assert counts[7].sum() == 0
    assert (np.delete(counts, 7, 0).sum((1, 2)) == 3_000).all()
    assert found["examples"][7] == [[], []]
    assert len(found["labels"]) <= 1_500
    assert _pixels(found["sheet"]).shape == (4 * -(-len(found["labels"]) // 50), 200, 3)


def test_the_same_folder_gives_the_same_page(run: Run, tmp_path: Path) -> None:
    before = (run.folder.path / "report.html").read_bytes()
    copy = tmp_path / "elsewhere"
    shutil.copytree(run.folder.path, copy)
    (copy / "report.html").unlink()
    code, out, _ = invoke("report", copy)
    assert (code, out) == (0, f"report: {copy}/report.html\n")
    assert (copy / "report.html").read_bytes() == before
    # The checksums go with it.
    assert load_run(copy).summary["sha256"] == run.summary["sha256"]
    page = invoke("report", copy, "--out", tmp_path / "sub" / "page.html")
    assert page[0] == 0
    assert b'href="../elsewhere/results.csv"' in (tmp_path / "sub" / "page.html").read_bytes()


def test_runs_side_by_side(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with undrawn():
        run_study(ENSEMBLE, run.settings.model_copy(update={"seed": 5, "margin": None}), other, quiet=True)
    path = report_runs([run.folder.path, other], tmp_path / "both.html")
    page = Page(path)
    assert page.text["h1"] == ["2 runs side by side"]
    assert {"All runs together", "run: ensemble: small.csv, digits", "other: ensemble: small.csv, digits"} <= set(page.text["h2"])
    assert set(page.data["wirings"]) == {"run1", "run2"}
    assert page.text["code"][::2] == ["run", "other"]
    # The families of both runs together.
    assert sum("4 against 2 are too few, p (Holm) can reach 0.05 with 3 more of each" in text for text in page.text["li"]) == 2
    with pytest.raises(ValueError, match="is named twice"):
        report_runs([other, other])
    assert "not a run folder" in refused("report", run.folder.path, tmp_path)


def test_runs_that_learned_nothing_are_not_called_equal(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, margin=0.1)
    with undrawn():
        for seed in (0, 5):
            run_study(ENSEMBLE, settings.model_copy(update={"seed": seed}), tmp_path / f"run{seed}", quiet=True)
    labels = load_images("digits", quiet=True).test_labels
    share = f"{100 * int(labels.bincount().max()) / len(labels):.2f} %"
    told = f"No network does better than always naming the most frequent class ({share}): nothing was learned, so nothing can be compared"
    one = load_run(tmp_path / "run0")
    assert one.summary["answer"] == [f"{told}; raise --iterations."] == one.summary["notes"][:1]
    page = Page(report_runs([tmp_path / "run0", tmp_path / "run5"], tmp_path / "both.html"))
    # As the answer of both together, of either, and nothing beside it.
    assert page.text["p"].count(f"{told}; raise --iterations.") == 3
    assert not any(text.startswith(("Whether", "The accuracy", "Not tested against")) for text in [*page.text["p"], *page.text["li"]])


def test_runs_that_cannot_be_compared_are_shown_all_the_same(run: Run, tmp_path: Path) -> None:
    path = report_runs([run.folder.path, _unfinished(tmp_path)], tmp_path / "both.html")
    assert any(text.startswith("The runs' families are not compared with each other:") for text in Page(path).text["li"])


def test_a_run_that_was_killed_has_the_parts_that_exist(tmp_path: Path) -> None:
    folder = _unfinished(tmp_path)
    page = Page(report_runs([folder]))
    (missing,) = [text for text in page.text["li"] if "is not finished" in text]
    assert "0 of 1 shards are done. Finish it with: elegans-pyg ensemble --resume --out" in missing
    assert "Results" not in page.text["h3"]
    assert "The wiring" in page.text["h3"]
    assert "channels" in page.text["th"]
    assert not (folder / "summary.json").exists()


def test_a_run_without_its_shards_keeps_what_can_be_shown(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder.path, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "shards")
    page = Page(report_runs([tmp_path / "old"]))
    assert any("could not be computed again" in text for text in page.text["li"])
    # The dots need the results alone.
    assert len(page.data["charts"]) == 1
    assert "Results by unit" in page.text["h3"]


def test_a_study_of_ones_own_gets_a_page(tmp_path: Path) -> None:
    run_study(counting.COUNTING, counting.CountingSettings(), tmp_path / "run", quiet=True)
    page = Page(tmp_path / "run" / "report.html")
    assert "This run is descriptive. It tests no hypothesis." in page.text["p"]
    assert "counted" in page.text["p"]
    assert "step_s" not in page.text["th"]
    assert "steps" in page.text["th"]


def test_figures_without_a_chart_are_in_the_page(run: Run, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from elegans_pyg.studies import Report

    shutil.copytree(run.folder.path, tmp_path / "run")
    for name, size in (("own", 100), ("large", 4_000_000), ("confusion", 100)):
        (tmp_path / "run" / "figures" / f"{name}.png").write_bytes(b"\x89PNG" + bytes(size))
    own = load_run(tmp_path / "run")
    figure = Figure()
    figure.suptitle("digits, small.csv:\nconnectome")
    report = Report(figures=dict.fromkeys(("own", "large", "confusion", "gone"), figure))
    text = render([Part(own.study, own.settings, own.units, own.folder, own.results, report)], tmp_path).decode()
    assert text.count("<img") == 2  # nothing stands for the confusion matrix here
    assert text.count('alt="Own: digits, small.csv: connectome"') == 1
    assert '<a href="run/figures/large.png">' in text
    assert "gone" not in text


def _unfinished(tmp_path: Path) -> Path:
    """A run that has begun, and no more."""
    from elegans_pyg.studies.folder import RunFolder
    from elegans_pyg.studies.run import prepare

    folder = RunFolder(tmp_path / "begun")
    with folder.claim():
        prepare(ENSEMBLE, tiny_settings(tmp_path), folder, resume=False, quiet=True)
    return folder.path


def _pixels(address: str) -> Any:
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(b64decode(address.partition(",")[2]))))


def test_a_large_wiring_is_drawn_in_time() -> None:
    rng = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 2_000, (2, 30_000), generator=rng).unique(dim=1)
    drawn = wirings.drawn(ConstrainedDAG()(Data(edge_index=edges[:, edges[0] != edges[1]], num_nodes=2_000)))
    assert drawn is not None
    assert len(drawn["x"]) == 2_000
