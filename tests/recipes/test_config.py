from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.recipes.config import RunConfig, schedule_for
from elegans_pyg.recipes.ensemble import ensemble_config, train_config
from elegans_pyg.training import FitConfig


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    families = draw(st.lists(st.sampled_from(["ws", "er", "ba", "rewired", "random_dag"]), unique=True, min_size=1))
    return RunConfig(
        connectome=draw(st.text("abcé:# -'\"", min_size=1)),
        neuron_table=draw(st.none() | st.just("a b.csv")),
        families=tuple(families),
        seeds=draw(st.integers(0, 5)),
        seed=draw(st.integers(0, 2**40)),
        match=draw(st.sampled_from([None, "dag"])),
        family_options={families[0]: {"p": draw(st.floats(0, 1))}},
        training=FitConfig(learning_rate=draw(st.floats(1e-9, 10)), iterations=draw(st.integers(1, 10**6))),
    )


@settings(max_examples=30, deadline=None)
@given(configs())
def test_yaml_gives_back_the_same_settings(tmp_path_factory: pytest.TempPathFactory, config: RunConfig) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert RunConfig.from_yaml(path) == config


def test_what_a_file_leaves_out_comes_from_the_base(tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text("families: [ba]\ntraining:\n  iterations: 7\n")
    config = RunConfig.from_yaml(path, ensemble_config())
    assert (config.families, config.training.iterations, config.channels, config.training.batch_size) == (("ba",), 7, 24, 50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chanels: 4", "unknown key 'chanels'; choose from connectome, .*channels"),
        ("training: {iteration: 4}", "unknown key 'iteration'; choose from iterations"),
        ("training: 4", "training: expected a mapping"),
        ("channels: many", "channels: expected a whole number, got 'many'"),
        ("channels: true", "channels: expected a whole number"),
        ("channels: 0", "channels: expected at least 1, got 0"),
        ("variants: 0", "variants: expected at least 1"),
        ("families: ws", r"families: expected a list of names, got 'ws'; write it as \[ws, er\]"),
        ("families: [ws, ws]", "families: expected each name once"),
        ("families: [connectome]", "the connectome itself is always there"),
        ("{families: [], seeds: 0}", "seeds: expected at least 1"),
        ("wiring: dense", "wiring: unknown choice 'dense'; choose from constrained, random"),
        ("match: edges", "match: unknown choice 'edges'; choose from dag"),
        ("connectome: 3", "connectome: expected a name, got 3"),
        ("family_options: {ba: {density: 1}, er: 3}", "family_options: expected options by family"),
        ("family_options: {random_dag: {p: 1}}", "'random_dag' is not among the families of this run"),
        ("training: {learning_rate: fast}", "learning_rate: expected a number"),
        ("- 1\n- 2", "expected a YAML mapping in .*, got a list"),
        ("a: [1, 2", "is no YAML at line"),
        ("!!python/object/apply:os.system ['true']", "is no YAML at line 1"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        RunConfig.from_yaml(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text file"):
        RunConfig.from_yaml(path)


def test_the_schedule_has_the_published_proportions() -> None:
    published = FitConfig()
    names = ("lr_decay_every", "eval_every", "checkpoint_every")
    assert schedule_for(15_000) == {name: getattr(published, name) for name in names}
    assert min(schedule_for(1).values()) == 1


def test_files_are_named_in_full_and_known_names_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("worm.csv", "digits", "cook2019-male"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    config = RunConfig(connectome="worm.csv", beside=("cook2019-male",), dataset="digits").with_absolute_paths()
    assert (config.connectome, config.beside, config.dataset) == (str(tmp_path / "worm.csv"), ("cook2019-male",), "digits")


def test_train_has_one_wiring() -> None:
    assert (train_config().families, train_config(seeds=4).seeds) == ((), 4)
    random = train_config("random", seeds=2)
    assert (random.families, random.seeds, random.variants, random.repeats) == (("random_dag",), 0, 1, 2)
    assert train_config("er").families == ("er",)
