"""The families of wirings, by name."""

import inspect
from dataclasses import dataclass

from elegans_pyg.transforms.generated import BarabasiAlbert, ErdosRenyi, GeneratedWiring, WattsStrogatz
from elegans_pyg.transforms.names_shuffled import NamesShuffled
from elegans_pyg.transforms.random_rewired import RandomRewired
from elegans_pyg.transforms.rewired import Rewired, TypeRewired
from elegans_pyg.transforms.rewiring import Rewiring
from elegans_pyg.transforms.strength_rewired import StrengthRewired
from elegans_pyg.transforms.weight_shuffled import WeightShuffled


@dataclass(frozen=True)
class Family:
    """Where the variants of an ensemble come from.

    Attributes:
        description: one line on what is kept and what is random.
        rewiring: the transform of the cyclic connectome, or ``None`` if that is left unchanged.
    """

    description: str
    rewiring: type[Rewiring] | None = None

    @property
    def options(self) -> dict[str, float]:
        """The rewiring's options besides its seed, with their defaults."""
        if self.rewiring is None:
            return {}
        parameters = inspect.signature(self.rewiring).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "seed"}

    @property
    def has_density(self) -> bool:
        """Whether the number of edges can be chosen."""
        return self.rewiring is not None and issubclass(self.rewiring, GeneratedWiring)


FAMILIES = {
    "connectome": Family("the connectome itself; its variants differ only in their seed"),
    "ws": Family("Watts-Strogatz small world with the connectome's numbers of neurons, edges and types", WattsStrogatz),
    "er": Family("Erdős-Rényi random graph with the connectome's numbers of neurons, edges and types", ErdosRenyi),
    "ba": Family("Barabási-Albert graph with hubs and the connectome's numbers of neurons, edges and types", BarabasiAlbert),
    "rewired": Family("connectome with swapped edges: every neuron keeps its in- and out-degree", Rewired),
    "type_rewired": Family("connectome with swapped edges: every neuron keeps its degrees to and from each type", TypeRewired),
    "strength_rewired": Family(
        "connectome with swapped edges: every neuron keeps its degrees, and nearly its summed weights", StrengthRewired
    ),
    "random_rewired": Family("connectome with ends of edges moved to random neurons: degrees are not kept", RandomRewired),
    "weight_shuffled": Family("connectome with the same edges and permuted synapse counts", WeightShuffled),
    "names_shuffled": Family("connectome with the same graph, and the neurons of each type permuted among its nodes", NamesShuffled),
    "random_dag": Family("the connectome's edges, redirected along a random numbering of the neurons"),
}
