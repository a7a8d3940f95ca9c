"""The registry of families."""

from __future__ import annotations

from elegans_pyg.transforms import FAMILIES


def test_names_options_and_descriptions() -> None:
    assert list(FAMILIES) == [
        "connectome",
        "ws",
        "er",
        "ba",
        "rewired",
        "type_rewired",
        "strength_rewired",
        "random_rewired",
        "weight_shuffled",
        "names_shuffled",
        "random_dag",
    ]
    assert {name: family.options for name, family in FAMILIES.items() if family.options} == {
        "ws": {"p": 0.1, "density": 1.0},
        "er": {"density": 1.0},
        "ba": {"density": 1.0},
        "rewired": {"fraction": 1.0},
        "type_rewired": {"fraction": 1.0},
        "random_rewired": {"fraction": 1.0},
    }
    assert [name for name, family in FAMILIES.items() if family.has_density] == ["ws", "er", "ba"]
    assert all(family.description and "\n" not in family.description for family in FAMILIES.values())
