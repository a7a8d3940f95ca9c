"""What is available: connectomes, families, image sets, executors, devices and versions."""

from rich.table import Table

from elegans_pyg._files import cache_folder
from elegans_pyg.datasets import Connectome
from elegans_pyg.datasets.images import IMAGE_SETS
from elegans_pyg.studies import machine
from elegans_pyg.studies.tables import make_table
from elegans_pyg.transforms import FAMILIES
from elegans_pyg.wirings import ELECTRICAL, NEURON_TYPES, SYNAPSES

_ELSEWHERE = "--image-root FOLDER, or downloaded (extra 'images')"
_IMAGE_SOURCES = {
    "digits": "8x8, grey, 10 classes; embedded",
    "mnist": f"28x28, grey, 10 classes; {_ELSEWHERE}",
    "fashion_mnist": f"28x28, grey, 10 classes; {_ELSEWHERE}",
    "cifar10": f"32x32, RGB, 10 classes; {_ELSEWHERE}",
    "cifar100": f"32x32, RGB, 100 classes; {_ELSEWHERE}",
}


def info_tables() -> list[Table]:
    """Return the tables of ``elegans-pyg info``."""
    families = [
        (name, family.description, ", ".join(f"{option}={default:g}" for option, default in family.options.items()) or "–")
        for name, family in FAMILIES.items()
        if name != "connectome"
    ]
    images = [(name, _IMAGE_SOURCES[name]) for name in IMAGE_SETS]
    here = [
        ("devices (--device)", f"{', '.join(machine.devices())}; auto picks the first"),
        ("executors (--executor)", machine.executors_in_words()),
        ("versions", ", ".join(f"{name} {number}" for name, number in machine.versions().items())),
        ("decoded images", str(cache_folder())),
    ]
    machine_table = make_table("This machine", ("", ""), here, left=2)
    machine_table.show_header = False
    return [
        make_table(
            "Connectomes (--connectome); neurons of the default graph, without the pharynx",
            ("name", "neurons", *NEURON_TYPES, *SYNAPSES),
            [(name, *connectome_counts(name)) for name in Connectome.names()],
        ),
        make_table("Families of nulls (--families)", ("name", "what it is", "--family-option"), families, left=3),
        make_table("Image sets (--dataset; or a folder)", ("name", "images"), images, left=2),
        machine_table,
    ]


def connectome_counts(name: str) -> list[str]:
    """Count neurons in total and by type, as the graph has them by default, and edges of every kind; an electrical edge counts once, though
    stored in both directions."""
    data, edges = Connectome(name)[0], Connectome(name, synapses="both")[0]
    types = data.neuron_type.bincount(minlength=len(NEURON_TYPES)).tolist()
    listed = edges.edge_type[(edges.edge_type != ELECTRICAL) | (edges.edge_index[0] <= edges.edge_index[1])]
    kinds = listed.bincount(minlength=len(SYNAPSES)).tolist()
    return [f"{count:,}" if count else "–" for count in (int(data.num_nodes or 0), *types, *kinds)]
