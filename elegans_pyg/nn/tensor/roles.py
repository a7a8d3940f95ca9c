"""Roles of neurons in a tensor network, role pairs, and checks of wirings."""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
from torch_geometric.data import Batch, Data

from elegans_pyg.wirings import NEURON_TYPES, SENSORY

ROLES = ("sensor", "interneuron", "motor")
SENSOR, INTERNEURON, MOTOR = range(3)
RolePair = tuple[str, str]
# Between two roles first, then each to itself.
PUBLISHED_ORDER: tuple[RolePair, ...] = (*permutations(ROLES, 2), *((role, role) for role in ROLES))


def numbers_of_pairs(argument: str, pairs: Sequence[RolePair]) -> list[int]:
    """Return role pairs as numbers ``3 * source + target``."""
    numbers = []
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or any(role not in ROLES for role in pair):
            raise ValueError(f"{argument}: expected pairs (source, target) of {', '.join(ROLES)}, got {pair!r}; correct that pair")
        numbers.append(3 * ROLES.index(pair[0]) + ROLES.index(pair[1]))
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{argument}: expected every pair at most once, got {list(pairs)}; remove the repeated ones")
    return numbers


def rank_of_pairs(order: Sequence[RolePair], skip: Sequence[RolePair]) -> np.ndarray:
    """Return the place in ``order`` of each role pair ``3 * source + target``; -1 for those to skip."""
    named = numbers_of_pairs("order", order)
    if len(named) != 9:
        rest = [pair for number, pair in enumerate(product(ROLES, ROLES)) if number not in named]
        raise ValueError(f"order: expected all 9 role pairs, but {rest} are missing; add them, and list pairs to leave out in skip")
    rank = np.full(9, -1)
    rank[named] = np.arange(9)
    rank[numbers_of_pairs("skip", skip)] = -1
    return rank


def check_roles(batch: Data | Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the role of each neuron, the offsets of the variants, the edges, and the type of each edge (zero if the wiring has none)."""
    if not isinstance(batch, Data):
        raise TypeError(
            f"batch: expected a Data or Batch of wirings, got {type(batch).__name__}; make one with Batch.from_data_list([...])"
        )
    if missing := [name for name in ("edge_index", "neuron_type") if batch.get(name) is None]:
        raise ValueError(f"batch: expected wirings, but they have no {', '.join(missing)}; load one with Connectome")
    neuron_type, edge_index = batch.neuron_type.cpu().numpy(), batch.edge_index.cpu().numpy()
    nodes = len(neuron_type)
    ptr = batch.ptr.cpu().numpy() if isinstance(batch, Batch) else np.array([0, nodes])
    if nodes == 0 or ptr[-1] != nodes:
        raise ValueError(f"batch.neuron_type: expected one entry for each of the {ptr[-1]} neurons, at least one, got {nodes}; add them")
    if neuron_type.min() < 0 or neuron_type.max() >= len(NEURON_TYPES):
        got = f"{neuron_type.min()}..{neuron_type.max()}"
        raise ValueError(f"batch.neuron_type: expected 0..{len(NEURON_TYPES) - 1}, got {got}; see elegans_pyg.wirings")
    if edge_index.size:
        if edge_index.min() < 0 or edge_index.max() >= nodes:
            got = f"{edge_index.min()}..{edge_index.max()}"
            raise ValueError(f"batch.edge_index: expected neurons 0..{nodes - 1}, got {got}; list every neuron in neuron_type")
        ends = np.searchsorted(ptr, edge_index, side="right")
        if (ends[0] != ends[1]).any():
            raise ValueError("batch.edge_index: expected edges inside each variant, got one between two; use Batch.from_data_list([...])")
    kind = np.zeros(edge_index.shape[1], dtype=np.int64) if batch.get("edge_type") is None else batch.edge_type.cpu().numpy()
    roles = np.full(len(NEURON_TYPES), INTERNEURON)
    roles[[SENSORY, NEURON_TYPES.index("motor")]] = SENSOR, MOTOR
    return roles[neuron_type], ptr, edge_index, kind
