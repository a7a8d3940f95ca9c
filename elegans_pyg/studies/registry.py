"""Studies by name, as given on the command line or in the first line of a run folder's ``config.yaml``."""

from importlib import import_module
from typing import Any

RECIPES = {
    "ensemble": "ensemble:ENSEMBLE",
    "train": "ensemble:TRAIN",
    "reproduce park-kim": "park_kim:PARK_KIM",
    "reproduce elegans-m1": "elegans_m1:ELEGANS_M1",
    "reproduce elegans-m2": "elegans_m2:ELEGANS_M2",
    "reproduce elegans-echo": "elegans_echo:ELEGANS_ECHO",
    "reproduce time-tasks": "time_tasks:TIME_TASKS",
    "reproduce elegans-structure": "elegans_structure:ELEGANS_STRUCTURE",
    "reproduce signal-propagation": "signal_propagation:SIGNAL_PROPAGATION",
    "reproduce signal-simulation": "signal_simulation:SIGNAL_SIMULATION",
    "reproduce barbulescu": "barbulescu:BARBULESCU",
    "reproduce wiringbench": "wiringbench:WIRINGBENCH",
    "build-wiringbench": "build_wiringbench:BUILD_WIRINGBENCH",
    "fit-rnn": "fit_rnn:FIT_RNN",
    "analyze": "analyze:ANALYZE",
    "relate": "relate:RELATE",
    "simulate": "simulate:SIMULATE",
}
"""Module of :mod:`elegans_pyg.recipes` and name in it, by command. Only names, so that no recipe is imported before it is needed."""


def find(name: str) -> Any:
    """Return the study of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in RECIPES:
        raise ValueError(f"study: unknown name {name!r}; choose from {', '.join(RECIPES)}")
    module, _, attribute = RECIPES[name].partition(":")
    return getattr(import_module(f"elegans_pyg.recipes.{module}"), attribute)
