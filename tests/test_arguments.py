"""What arguments are refused, and how values are quoted."""

from __future__ import annotations

import pytest

from elegans_pyg._arguments import check_number, check_seed, shown


@pytest.mark.parametrize("value", [True, 1.5, "1", None])
def test_seed_type(value: object) -> None:
    with pytest.raises(TypeError, match="seed: expected an integer"):
        check_seed(value)  # type: ignore[arg-type]


def test_ranges() -> None:
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        check_seed(-1)
    with pytest.raises(ValueError, match=r"seed: expected less than 2\*\*63, got 12345678901234567890"):
        check_seed(12345678901234567890)
    assert check_seed(2**63 - 1) == 2**63 - 1
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="p: expected a number from 0 to 1"):
            check_number("p", value, high=1.0)
    with pytest.raises(TypeError, match="p: expected a number from 0 to 1, got '1'"):
        check_number("p", "1", high=1.0)  # type: ignore[arg-type]
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="density: expected a number above 0"):
            check_number("density", value, above=True)


@pytest.mark.parametrize("value", ["a\nb\0c", "x" * 1000, 10**5000, -1, [1, "\n"], None, b"\n\xff"], ids=range(7))
def test_values_are_shown_on_one_short_line(value: object) -> None:
    text = shown(value)
    assert text.isprintable()
    assert 0 < len(text) <= 60
