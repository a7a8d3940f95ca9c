"""Writes the pages of the documentation that say what the code says: cheat sheets, commands, and the API of each room.

python scripts/reference_pages.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import elegans_pyg as ep
import elegans_pyg.cli
from elegans_pyg.analysis import MEASURES
from elegans_pyg.cli.app import app
from elegans_pyg.datasets.sequences import METRICS, SEQUENCE_TASKS
from elegans_pyg.studies.info import connectome_counts
from elegans_pyg.transforms import FAMILIES
from elegans_pyg.wirings import NEURON_TYPES, SYNAPSES


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
        "Connectomes": table(("name", "neurons", *NEURON_TYPES, *SYNAPSES), counts),
        "Families": table(("name", "what it is", "options"), families),
        "Measures of structure": table(("name", "what it is", "group", "source"), measures),
        "Tasks in time": table(("name", "what is asked", "score", "what it is"), tasks),
        "Rooms": table(("import", "what is there"), rooms),
    }
    return "# Cheat sheets\n\n" + "\n".join(f"## {title}\n\n{body}" for title, body in parts.items())


def commands() -> str:
    return "# Commands\n\n" + str(app.generate_docs()).partition("\n")[2]


def rooms() -> dict[str, str]:
    """A page for each room, of all that it exports."""
    page = "# {0}\n\n```{{eval-rst}}\n.. automodule:: elegans_pyg.{0}\n   :imported-members:\n```\n"
    listed = "\n".join(ep.__all__)
    index = f"# API\n\nWhat each room exports; everything else is the package's own business.\n\n```{{toctree}}\n{listed}\n```\n"
    return {"index": index, **{room: page.format(room) for room in ep.__all__}}


def write(folder: Path) -> None:
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for name, page in {"sheets": sheets(), "commands": commands(), **{f"api/{room}": page for room, page in rooms().items()}}.items():
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
