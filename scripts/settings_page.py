"""Writes docs/settings.md, the reference of every setting of every study, from the settings classes.

python scripts/settings_page.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

from elegans_pyg.cli.options import settings_options
from elegans_pyg.studies.registry import RECIPES, find

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Every setting of every study, with its bounds and its default. An option `--learning-rate` of a command is the line `learning_rate` of
`config.yaml` and the argument `learning_rate` in Python: `study.make({"learning_rate": 0.01})`. `WIRING` and `RUNS` are given
without an option, and are `wiring` and `runs` there. This page is written by `python scripts/settings_page.py` from the settings classes,
which also check every value.
"""


def rows(parameters: list[inspect.Parameter], places: str) -> str:
    """The table of one study's settings, group by group; the one of positional arguments as the command line shows it."""
    options = [get_args(parameter.annotation)[1] for parameter in parameters]
    lines, last = ["| option | what it is | default |", "| --- | --- | --- |"], ""
    # sorted() keeps the order within a group.
    for option in sorted(options, key=lambda option: option.group[0].sort_key):
        group = option.group[0].name
        if group != last:
            lines.append(f"| **{group}** | | |")
        shown = places.upper() if option.name[0] == f"--{places}" else option.name[0]
        meaning, _, default = option.help.rstrip("]").rpartition("[")
        lines.append("| " + " | ".join(cell.strip().replace("|", "\\|") for cell in (f"`{shown}`", meaning, default)) + " |")
        last = group
    return "\n".join(lines)


def page() -> str:
    parts = [HEAD]
    for name in RECIPES:
        study = find(name)
        defaults = study.defaults()
        quick = f" `--quick`: {study.quick}" if study.quick else ""
        table = rows(settings_options(study.settings, defaults), study.places)
        parts.append(f"## `elegans-pyg {name}`\n\n{inspect.cleandoc(study.text)}{quick}\n\n{table}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
