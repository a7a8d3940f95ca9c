from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from elegans_pyg._settings import Count, Free, Names, Place, Settings, read_yaml


class Inner(Settings):
    rate: float = Field(0.004, gt=0, description="Adam's rate: the first.")
    device: Annotated[str, Free()] = "auto"


class Outer(Settings):
    channels: Count = Field(24, description="Feature maps per node.")
    families: Names = ("ws",)
    kind: Literal["a", "b"] = "a"
    root: Annotated[str | None, Place()] = None
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "channels: expected at least 1, got 0"),
        ({"channels": "7"}, "channels: expected a whole number, got '7'"),
        ({"channels": True}, "channels: expected a whole number, got True"),
        ({"channels": 10**20}, "channels: expected at most 9,007,199,254,740,992"),
        ({"kind": "z"}, "kind: unknown choice 'z'; choose from a, b"),
        ({"colour": 1}, "unknown key 'colour'; choose from channels, families"),
        ({"families": ["a", "a"]}, "families: expected each value once, got a, a"),
        ({"families": "a"}, "families: expected a list"),
        ({"inner": {"rate": -1}}, "rate: expected a number above 0, got -1"),
        ({"inner": {"rate": float("nan")}}, "rate: expected a finite number"),
        ({"inner": 3}, "inner: expected a mapping of settings, got 3"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_with_its_name(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Outer(**values)
    assert "\n" not in str(caught.value)


def test_yaml_has_the_meaning_and_reads_back_equal(tmp_path: Path) -> None:
    settings = Outer(channels=3, families=["x", "1e3", "no"], root=str(tmp_path), inner={"rate": 1e-7})
    (tmp_path / "c.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    assert "# Feature maps per node.\nchannels: 3\n" in settings.to_yaml()
    assert Outer(**read_yaml(tmp_path / "c.yaml")) == settings


def test_copies_are_checked_and_groups_are_changed_member_by_member() -> None:
    settings = Outer(inner={"device": "cpu"}).model_copy(update={"inner": {"rate": 0.5}})
    assert settings.inner == Inner(rate=0.5, device="cpu")
    assert settings.with_flat({"rate": 0.25, "channels": 2}) == Outer(channels=2, inner={"rate": 0.25, "device": "cpu"})
    with pytest.raises(ValueError, match="channels: expected at least 1"):
        settings.model_copy(update={"channels": 0})
    with pytest.raises(ValueError, match="unknown key 'x'"):
        settings.with_flat({"x": 1})


def test_what_a_result_depends_on_leaves_the_free_settings_out() -> None:
    assert Outer().fixed() == {"channels": 24, "families": ["ws"], "kind": "a", "root": None, "inner": {"rate": 0.004}}


def test_files_that_are_there_are_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert Outer(root="here").with_absolute_paths().root == str(tmp_path / "here")
    assert Outer(root="name").with_absolute_paths().root == "name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", "has aliases"),
        ("[" * 5000, "nested too deeply"),
        ("a: [", "is not valid YAML at line"),
        ("- 1", "expected a YAML mapping"),
        ("1: 2", "expected a YAML mapping of names"),
        ("a: " + "1 " * 2**20, "expected at most"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_device_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="a pipe or a device"):
        read_yaml("/dev/zero")
