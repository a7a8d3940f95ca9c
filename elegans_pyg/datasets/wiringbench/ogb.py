"""WiringBench in the format of the Open Graph Benchmark (Hu et al. 2020, arXiv:2005.00687), and an evaluator with OGB's interface.

ogb is imported only when used, because that takes seconds.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice
from elegans_pyg._extras import require
from elegans_pyg.datasets.wiringbench import tables
from elegans_pyg.datasets.wiringbench.wirings import SPLITS

if TYPE_CHECKING:
    from elegans_pyg.datasets.wiringbench.dataset import WiringBench


def to_ogb(bench: WiringBench, folder: str | Path) -> dict[str, Any]:
    """Write a data set in the format of OGB, by :class:`ogb.io.DatasetSaver`, as ``ogbg-wiringbench-<target>``.

    Node features are neuron types, edge features synapse counts, labels the means over the target's repeats. All three splits are written;
    that of ``bench`` is the default. :func:`read_ogb` reads it back.

    Args:
        bench: the data set.
        folder: created if missing; must not hold this data set already.

    Returns:
        OGB's ``meta_dict``, for its loader.

    Raises:
        ImportError: if the extra ``ogb`` is missing.
        FileExistsError: if the data set is already in ``folder``.
    """
    saver_class = require("ogb.io", "ogb", "writing OGB's format").DatasetSaver
    name = f"ogbg-wiringbench-{bench.target}"
    root = Path(folder).expanduser().resolve()
    place = root / ("wiringbench_" + bench.target.replace("-", "_"))
    if place.exists():
        raise FileExistsError(f"folder: expected a folder without this data set, but {place} exists; give another folder, or remove it")
    root.mkdir(parents=True, exist_ok=True)
    graphs = [
        {
            "edge_index": data.edge_index.numpy(),
            "num_nodes": data.num_nodes,
            "node_feat": data.neuron_type[:, None].numpy(),
            "edge_feat": data.edge_weight[:, None].numpy(),
        }
        for data in bench
    ]
    # The saver writes to <root>_<kind>_<name>, and prints a lot.
    with tempfile.TemporaryDirectory(dir=root) as scratch, _silent():
        saver = saver_class(name, is_hetero=False, version=1, root=str(Path(scratch) / "saved"))
        saver.save_graph_list(graphs)
        saver.save_target_labels(torch.stack([data.y[0] for data in bench]).double().numpy())
        for split in sorted(SPLITS, key=lambda split: split == bench.split):
            saver.save_split({part: index.numpy() for part, index in bench.get_idx_split(split).items()}, split)
        saver.save_task_info("regression", "spearman")
        mapping = Path(scratch) / "mapping"
        mapping.mkdir()
        (mapping / "README.md").write_text(f"Rows are the wirings of WiringBench({bench.target!r}), in order; see its card.\n")
        saver.copy_mapping_dir(str(mapping))
        meta = dict(saver.get_meta_dict())
        Path(saver.dataset_dir).replace(place)
    meta["dir_path"] = str(place)
    return meta


def read_ogb(name: str, meta: Mapping[str, Any]) -> Any:
    """Read a data set written by :func:`to_ogb`, as an :class:`ogb.graphproppred.PygGraphPropPredDataset`.

    Since PyTorch 2.6, ``torch.load`` accepts other classes than plain tensors only if they are allowed by name, which OGB's loader does not
    do. Here the few classes in its files are allowed while it reads, and no others, so that no file can run code.

    Args:
        name: such as ``"ogbg-wiringbench-memory"``.
        meta: the return value of :func:`to_ogb`.

    Raises:
        ImportError: if the extra ``ogb`` is missing.
    """
    dataset = require("ogb.graphproppred", "ogb", "reading OGB's format").PygGraphPropPredDataset

    class SafeDataset(dataset):  # type: ignore[misc, valid-type]
        def get_idx_split(self, split_type: str | None = None) -> dict[str, Tensor]:
            with _allowed():
                return {part: torch.as_tensor(index) for part, index in super().get_idx_split(split_type).items()}

    with _allowed(), _silent():
        return SafeDataset(name, meta_dict=dict(meta))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _allowed() -> Any:
    from torch_geometric.data.data import Data, DataEdgeAttr, DataTensorAttr
    from torch_geometric.data.storage import GlobalStorage

    core = getattr(np, "_core", None) or np.core  # its name before NumPy 2
    # Arrays without elements, such as an empty part of a split, are stored as an empty `bytes`.
    arrays = [core.multiarray._reconstruct, core.multiarray.scalar, np.ndarray, np.dtype, type(np.dtype(np.int64)), bytes]
    return torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, *arrays])


class Evaluator:
    r"""Scores predictions, with the interface of OGB's evaluators.

    The scores are ``spearman``, ``r2``, ``mae``, and ``ceiling_share``: Spearman's correlation divided by :math:`\sqrt{r}`, the largest
    value to be expected if the measured means have reliability :math:`r`.

    Args:
        target: a target of :class:`~elegans_pyg.datasets.WiringBench`.

    Example:
        >>> Evaluator("memory").eval({"y_true": y, "y_pred": prediction})["spearman"]
    """

    expected_input_format = "{'y_true': array or tensor (graphs, 1), 'y_pred': the same}"
    expected_output_format = "{'spearman': float, 'r2': float, 'mae': float, 'ceiling_share': float}"

    def __init__(self, target: str) -> None:
        targets = tables.read("targets").set_index("target")
        check_choice("target", target, targets.index.tolist())
        self.target = target
        self.ceiling = math.sqrt(max(float(targets.loc[target, "reliability"]), 0.0))

    def eval(self, given: Mapping[str, Any]) -> dict[str, float]:
        """Compute the scores; raises ``ValueError`` for a missing entry, another shape, or a number that is not finite."""
        from scipy.stats import spearmanr

        for name in ("y_true", "y_pred"):
            if name not in given:
                raise ValueError(f"{name}: expected {self.expected_input_format}, got none; add it")
        true, predicted = (np.asarray(torch.as_tensor(given[name]).detach().cpu(), dtype=np.float64) for name in ("y_true", "y_pred"))
        if true.shape != predicted.shape or true.ndim != 2 or true.shape[1] != 1 or not np.isfinite([true, predicted]).all():
            got = f"{true.shape} and {predicted.shape}"
            raise ValueError(
                f"y_pred: expected finite numbers (graphs, 1) like y_true, got {got}; reshape them, or drop rows that are not finite"
            )
        error, spread = true - predicted, true - true.mean()
        # A constant prediction has no ranking.
        spearman = float(spearmanr(true[:, 0], predicted[:, 0]).statistic) if np.ptp(predicted) > 0 and np.ptp(true) > 0 else 0.0
        return {
            "spearman": spearman,
            "r2": float(1 - (error**2).sum() / (spread**2).sum()),
            "mae": float(np.abs(error).mean()),
            "ceiling_share": spearman / self.ceiling if self.ceiling else math.nan,
        }
