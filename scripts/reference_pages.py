"""Writes the pages of the documentation that say what the code says: cheat sheets, commands, and the API of each room.

python scripts/reference_pages.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import elegans_pyg as ep
import elegans_pyg.cli
from elegans_pyg.analysis import MEASURES
from elegans_pyg.cli.app import app
from elegans_pyg.datasets.sequences import METRICS, SEQUENCE_TASKS
from elegans_pyg.studies.info import connectome_counts
from elegans_pyg.studies.registry import RECIPES, find
from elegans_pyg.transforms import FAMILIES
from elegans_pyg.wirings import NEURON_TYPES, SYNAPSES

MODULES = (*ep.__all__, "datasets.wiringbench", "dynamics.cables", "models.export", "wirings")
"""The modules that have a page in the API: the rooms, and those whose names are imported from further inside."""


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *([str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def sheets() -> str:
    families = [
        (f"`{name}`", family.description, ", ".join(f"`{option}={default:g}`" for option, default in family.options.items()))
        for name, family in FAMILIES.items()
    ]
    rooms = [(f"`elegans_pyg.{room}`", first_line(getattr(ep, room))) for room in ep.__all__]
    measures = [(f"`{name}`", measure.description, measure.group, measure.source) for name, measure in MEASURES.items()]
    tasks = [(f"`{name}`", first_line(make), score, METRICS[score][0]) for name, (make, score) in SEQUENCE_TASKS.items()]
    counts = [(f"`{name}`", *connectome_counts(name)) for name in ep.datasets.Connectome.names()]
    parts = {
        "Connectomes": "Neurons are those of `Connectome(name)[0]`, which has no pharynx; edges, those of every kind.\n\n"
        + table(("name", "neurons", *NEURON_TYPES, *SYNAPSES), counts),
        "Families": table(("name", "what it is", "options"), families),
        "Measures of structure": table(("name", "what it is", "group", "source"), measures),
        "Tasks in time": table(("name", "what is asked", "score", "what it is"), tasks),
        "Rooms": table(("import", "what is there"), rooms),
    }
    return "# Cheat sheets\n\n" + "\n".join(f"## {title}\n\n{body}" for title, body in parts.items())


def commands() -> str:
    # Of the running program's name, which starts each usage line, cyclopts drops one word: of "python -m sphinx" the rest would stay.
    with patch.object(sys, "argv", ["elegans-pyg"]):
        return "# Commands\n\n" + str(app.generate_docs()).partition("\n")[2]


def exported(module: str) -> list[str]:
    return list(getattr(import_module(f"elegans_pyg.{module}"), "__all__", ()))


def module_page(module: str) -> str:
    """What a module exports and its room does not, and the values of constants, which autodoc leaves out: their text is in another file."""
    names, (room, _, inside) = exported(module), module.partition(".")
    options = "\n   :imported-members:" * bool(names) + f"\n   :exclude-members: {', '.join(exported(room))}" * bool(inside)
    values = {name: getattr(import_module(f"elegans_pyg.{module}"), name) for name in names}
    shown = {
        name: f"dict of {', '.join(value)}" if isinstance(value, dict) else value for name, value in values.items() if not callable(value)
    }
    constants = "".join(f"\n.. py:data:: {name}\n   :value: {value}\n" for name, value in shown.items())
    return f"# {module}\n\n```{{eval-rst}}\n.. automodule:: elegans_pyg.{module}{options}\n{constants}```\n"


def recipes() -> dict[str, tuple[str, str, str]]:
    """Module, name and settings class of every study, by command."""
    places = {command: place.split(":") for command, place in RECIPES.items()}
    return {command: (f"elegans_pyg.recipes.{module}", name, find(command).settings.__name__) for command, (module, name) in places.items()}


def api() -> dict[str, str]:
    """A page for each module, of all that it exports, and one for the recipes."""
    listed = "\n".join((*MODULES, "recipes"))
    index = f"# API\n\nWhat users import; everything else is the package's own business.\n\n```{{toctree}}\n{listed}\n```\n"
    text = "A recipe is a study with a name: `run_study(STUDY, SETTINGS(), out=FOLDER)` ([the settings' fields](../../settings.md))."
    rows = [(f"`{command}`", f"`{module}`", f"`{name}`", f"`{settings}`") for command, (module, name, settings) in recipes().items()]
    body = table(("command", "import from", "study", "settings"), rows)
    return {"index": index, "recipes": f"# recipes\n\n{text}\n\n{body}", **{module: module_page(module) for module in MODULES}}


def write(folder: Path) -> None:
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for name, page in {"sheets": sheets(), "commands": commands(), **{f"api/{name}": page for name, page in api().items()}}.items():
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
