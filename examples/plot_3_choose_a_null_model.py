"""
Choose a null model
===================

A null model keeps some properties of a wiring and randomises the rest. What it keeps determines what a difference means. Here four measures
of the worm, among them its left-right symmetry, are compared with four families.
"""

# %%
import matplotlib.pyplot as plt

from elegans_pyg import analysis
from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import FAMILIES

herm = Connectome("cook2019-hermaphrodite")[0]
families = ["er", "rewired", "type_rewired", "weight_shuffled"]
nulls = {family: [FAMILIES[family].rewiring(seed=seed)(herm) for seed in range(30)] for family in families}

# %%
# What the families keep:
for family in families:
    print(f"{family:16s} {FAMILIES[family].description}")

# %%
measures = ["reciprocity", "clustering", "symmetry"]
own = analysis.measures([herm], which=measures).iloc[0]
tables = {family: analysis.measures(graphs, which=measures) for family, graphs in nulls.items()}
shown = list(own.index[:4])
figure, axes = plt.subplots(1, len(shown), figsize=(3 * len(shown), 3.2), layout="constrained")
for axis, name in zip(axes, shown, strict=True):
    axis.boxplot([tables[family][name].dropna() for family in families], orientation="horizontal", tick_labels=families)
    axis.axvline(own[name], color="tab:red")
    axis.set_title(name, fontsize=9)
    axis.label_outer()

# %%
# The red line is the worm. ``weight_shuffled`` keeps every edge, so these measures cannot differ; ``er`` keeps only the numbers of neurons
# and edges, so nearly all differ. A difference from ``rewired`` is not due to degrees, and a difference from ``type_rewired`` is not due to
# the numbers of edges between types either.
