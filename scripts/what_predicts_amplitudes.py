#!/usr/bin/env python3
"""Say what the measurements themselves predict of the amplitudes of significant responses in the worm's atlas; print a table.

    python scripts/what_predicts_amplitudes.py

No wiring is used. Pairs, folds and noise ceilings are those of ``elegans-pyg reproduce signal-propagation``; Pearson's r is over the
significant pairs, the mean over the folds of stimulated neurons and, in brackets, over all folds together.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes.signals import HOLDOUTS, STRAINS, SignalSettings, ceilings, pairs_of


def significant_pairs() -> pd.DataFrame:
    """The significant pairs of the wild type: the two neurons, the fold of the stimulated one, and the amplitude."""
    atlas = pairs_of(SignalSettings(), Connectome("cook2019-hermaphrodite", synapses="both")[0])
    measured, tested = atlas.measured[STRAINS[0]], atlas.tested[STRAINS[0]]
    columns = {"stimulated": measured.row, "responding": measured.neuron, "fold": atlas.fold[HOLDOUTS[0]], "amplitude": measured.amplitude}
    print(ceilings(atlas)[["by", "pairs", "r_significant"]].round(3).to_string(index=False))
    return pd.DataFrame({name: values[tested & measured.responds].numpy() for name, values in columns.items()}).astype({"amplitude": float})


def mean_of_others(pairs: pd.DataFrame, same: str, left_out: list[str]) -> pd.Series:
    """The mean amplitude of a neuron's other pairs: those of the same neuron that do not agree in ``left_out`` too."""
    everything, own = (pairs.groupby(columns)["amplitude"].transform for columns in ([same], [same, *left_out]))
    return (everything("sum") - own("sum")) / (everything("count") - own("count")).replace(0, np.nan)


def main() -> None:
    pairs = significant_pairs()
    spread = (pairs["amplitude"] - pairs["amplitude"].mean()).pow(2).sort_values(ascending=False)
    shares = ", ".join(f"{number} of {len(pairs)} pairs {spread[:number].sum() / spread.sum():.2f}" for number in (10, 40))
    print(f"shares of the variance: {shares}")
    stimulated = mean_of_others(pairs, "stimulated", ["responding"])
    responding = mean_of_others(pairs, "responding", ["fold"])
    found = {
        "the stimulated neuron's other significant responses": stimulated,
        "significant responses of the responding neuron in the other folds": responding,
        "the sum of both": stimulated + responding,
    }
    for name, predicted in found.items():
        table = pairs.assign(predicted=predicted).dropna()
        folds = [own["predicted"].corr(own["amplitude"]) for _, own in table.groupby("fold")]
        print(f"{name}: r {np.mean(folds):.3f} ({table['predicted'].corr(table['amplitude']):.3f}), {len(table)} pairs")


if __name__ == "__main__":
    main()
