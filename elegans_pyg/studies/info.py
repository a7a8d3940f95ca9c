"""What there is to run with: connectomes, families, image sets, executors, devices, versions."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from elegans_pyg._files import cache_folder
from elegans_pyg.datasets import Connectome
from elegans_pyg.datasets.images import IMAGE_SETS
from elegans_pyg.studies import machine
from elegans_pyg.transforms import FAMILIES
from elegans_pyg.wirings import NEURON_TYPES

_IMAGE_SOURCES = {
    "digits": "8x8, grey, 10 classes; embedded",
    "mnist": "28x28, grey, 10 classes",
    "fashion_mnist": "28x28, grey, 10 classes",
    "cifar10": "32x32, RGB, 10 classes",
    "cifar100": "32x32, RGB, 100 classes",
}


def info_tables() -> list[Table | Text]:
    """The tables of ``elegans-pyg info``."""
    return [_connectomes(), _families(), _images(), _machine()]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    return table


def _connectomes() -> Table:
    table = _table("Connectomes (--connectome; without the pharynx)", "name", "neurons", *NEURON_TYPES, "chemical", "electrical")
    for name in Connectome.names():
        data = Connectome(name, synapses="both")[0]
        types = [int((data.neuron_type == number).sum()) for number in range(len(NEURON_TYPES))]
        # An electrical synapse is stored in both directions.
        electrical = int(((data.edge_type == 1) & (data.edge_index[0] <= data.edge_index[1])).sum())
        counts = [int(data.num_nodes or 0), *types, int((data.edge_type == 0).sum()), electrical]
        table.add_row(Text(name), *(f"{count:,}" if count else "–" for count in counts))
    return table


def _families() -> Table:
    table = _table("Families of control wirings (--families)", "name")
    table.add_column("what it is", overflow="fold")
    table.add_column("--family-option")
    for name, family in FAMILIES.items():
        if name != "connectome":
            options = ", ".join(f"{option}={default:g}" for option, default in family.options.items())
            table.add_row(name, family.description, options or "–")
    return table


def _images() -> Table:
    table = _table("Image sets (--dataset; or a folder)", "name")
    table.add_column("images")
    for name in IMAGE_SETS:
        table.add_row(name, _IMAGE_SOURCES[name] + ("" if name == "digits" else "; --image-root FOLDER, or downloaded (extra 'images')"))
    table.add_row("", f"decoded images are kept in {cache_folder()}")
    return table


def _machine() -> Table:
    table = _table("This machine")
    table.show_header = False
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("devices (--device)", f"{', '.join(machine.devices())}; auto picks the first")
    table.add_row("executors (--executor)", machine.executors_in_words())
    table.add_row("versions", ", ".join(f"{name} {number}" for name, number in machine.versions().items()))
    return table
