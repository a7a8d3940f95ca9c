"""The signal propagation atlas: every neuron stimulated, all others recorded."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

from elegans_pyg._arguments import check_choice, check_whole
from elegans_pyg._files import data_folder
from elegans_pyg._tensor_files import read_tensors
from elegans_pyg.datasets.edge_attributes import plain_name
from elegans_pyg.wirings import as_wiring

STRAINS = ("wild-type", "unc-31")
_MATRICES = ("dff", "dff_odd", "dff_even", "q", "q_equal", "count")


class SignalPropagation(InMemoryDataset):
    """Responses of each neuron of *C. elegans* to the stimulation of each other one, as a data set of one graph.

    From Randi et al. (2023), Nature 623:406-414, doi:10.1038/s41586-023-06683-4 (CC BY 4.0): one neuron at a time was stimulated by light
    while the calcium of the head was recorded. Animals of the strain unc-31 lack most of the release of neuropeptides and monoamines.

    ========= ============ ======= ==================== ================ ===========================
    strain    pairs tested trials  observed >= 2 times  of these q<0.05  the same without the two AWC
    ========= ============ ======= ==================== ================ ===========================
    wild-type 23,902       109,271 18,974               1,022            18,559 and 992
    unc-31    9,119        16,713  4,850                209              4,716 and 202
    ========= ============ ======= ==================== ================ ===========================

    Pairs are of two different neurons. Neurons are the 300 of the atlas, which lacks CANL and CANR, under the names of the connectomes. The
    atlas distinguishes the two AWC neurons by gene expression (AWCON, AWCOFF), the connectomes by side; which is which varies at random
    between animals. Here AWCOFF is called AWCL, and AWCON AWCR; leave both out where that matters. What else was left out:
    ``data/README.md``.

    Args:
        strain: ``"wild-type"`` or ``"unc-31"``.
        transform, pre_transform: as in any PyG data set.

    Shapes (of the one ``Data``, N = 300; row: stimulated neuron, column: responding neuron, as source and target of an edge):
        - ``dff (N, N)``: change of fluorescence after stimulation, relative to the baseline (dF/F), mean over a time window and over
          trials; NaN for pairs not tested. ``dff_odd`` and ``dff_even (N, N)``: means over the first, third, ... and the second, fourth,
          ... trials
        - ``q (N, N)``: false discovery rate of "responds"; ``q_equal (N, N)``: of "does not respond"; NaN for pairs not tested
        - ``count (N, N)`` int64: number of joint observations, 0 for pairs not tested
        - ``trial_pair (2, T)``, ``trial_dff (T,)``: single trials, pair by pair; some trials in ``count`` have no recorded response
        - ``neuron_name``: list of ``N`` names

    Raises:
        ValueError: for an unknown strain.

    Example:
        Predict responding pairs by direct synapses, without training:

        >>> wiring = Connectome("cook2019-hermaphrodite", synapses="both", pharynx=True)[0]
        >>> seen = SignalPropagation().align(wiring)
        >>> connected = torch.zeros(seen.q.shape).index_put(tuple(wiring.edge_index), torch.tensor(1.0))
        >>> significant = (seen.q < 0.05)[seen.pair_mask]
        >>> roc_auc_score(significant, connected[seen.pair_mask])
        0.567...
    """

    def __init__(
        self,
        strain: str = "wild-type",
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
    ) -> None:
        check_choice("strain", strain, STRAINS)
        super().__init__(root=None, transform=transform)
        self.strain = strain
        tensors, content = read_tensors(data_folder("activity") / f"randi2023-{strain}.safetensors")
        data = _matrices(tensors, content["neuron_name"])
        self.data, self.slices = self.collate([data if pre_transform is None else pre_transform(data)])

    def align(self, wiring: Data, at_least: int = 2) -> Data:
        """Reorder the matrices to the neurons of a wiring, so that ``[source, target]`` means the same in both.

        Args:
            wiring: any graph with the worm's neuron names; it is not changed.
            at_least: minimum number of observations of a pair.

        Returns:
            ``dff``, ``dff_odd``, ``dff_even``, ``q``, ``q_equal``, ``count``, all ``(N, N)`` for the wiring's ``N`` neurons, NaN or 0 for
            those that the atlas lacks; ``pair_mask (N, N)`` bool: two different neurons, tested, with at least that many observations;
            ``neuron_name`` of the wiring.

        Raises:
            TypeError, ValueError: as :func:`~elegans_pyg.wirings.as_wiring`; if no neuron of the wiring is in the atlas.
        """
        at_least, names = check_whole("at_least", at_least, 1), as_wiring(wiring, "wiring").neuron_name
        atlas = self.get(0)
        number = {name: row for row, name in enumerate(atlas.neuron_name)}
        rows = torch.tensor([number.get(plain_name(name), -1) for name in names])
        here = rows >= 0
        if not bool(here.any()):
            raise ValueError(f"wiring.neuron_name: expected names of the worm's neurons, got {names[0]!r}, ...; load it with names")
        both = here[:, None] & here[None, :]
        aligned = Data(neuron_name=list(names), num_nodes=len(names))
        for name in _MATRICES:
            matrix = atlas[name][rows[:, None], rows[None, :]]
            aligned[name] = matrix.masked_fill(~both, 0 if name == "count" else torch.nan)
        different = ~torch.eye(len(names), dtype=torch.bool)
        aligned.pair_mask = different & ~aligned.q.isnan() & (aligned["count"] >= at_least)
        return aligned

    def __repr__(self) -> str:
        return f"SignalPropagation('{self.strain}')"


def _matrices(tensors: dict[str, Tensor], names: list[str]) -> Data:
    pair, trials, response = tensors["pair"].long(), tensors["trials"].long(), tensors["response"]
    place = torch.arange(len(trials)).repeat_interleave(trials)
    turn = torch.arange(len(response)) - (trials.cumsum(0) - trials).repeat_interleave(trials)

    def mean(chosen: Tensor) -> Tensor:
        total = torch.zeros(len(trials), dtype=torch.float64).index_add(0, place[chosen], response[chosen].double())
        return (total / place[chosen].bincount(minlength=len(trials))).float()

    def matrix(values: Tensor, empty: float) -> Tensor:
        return torch.full((len(names), len(names)), empty, dtype=values.dtype).index_put(tuple(pair), values)

    means = {"dff": turn >= 0, "dff_odd": turn % 2 == 0, "dff_even": turn % 2 == 1}
    measured = {name: mean(chosen) for name, chosen in means.items()} | {name: tensors[name] for name in ("q", "q_equal")}
    return Data(
        **{name: matrix(values, torch.nan) for name, values in measured.items()},
        count=matrix(tensors["count"].long(), 0),
        trial_pair=pair[:, place],
        trial_dff=response,
        neuron_name=list(names),
        num_nodes=len(names),
    )
