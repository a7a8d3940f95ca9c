"""
Bring a wiring of your own
==========================

Any graph will do: a file of edges, a matrix, GraphML, a pandas or NetworkX graph. The graph here is made up: 60 nodes, mostly feed-forward.
For a real one, part of the fly larva's brain (Winding et al. 2023, doi:10.1126/science.add9330), fetch
``data/processed_split/maggot_subset_edgelist.csv`` from https://github.com/neurodata/bgm and read it with ``Connectome.from_edges``. That
repository states no licence, so this package does not include it.
"""

# %%
import networkx as nx
import numpy as np

from elegans_pyg import analysis, plots
from elegans_pyg.datasets import Connectome, WiringEnsemble
from elegans_pyg.transforms import ConstrainedDAG

rng = np.random.default_rng(0)
graph = nx.DiGraph()
for source, target in rng.integers(0, 60, size=(420, 2)).tolist():
    if source < target or rng.random() < 0.2:
        graph.add_edge(f"n{source:02d}", f"n{target:02d}", weight=int(rng.integers(1, 20)))

# %%
# Input and output neurons can be named; without names, sources are inputs and sinks are outputs.
wiring = Connectome.from_networkx(graph)
print(wiring)

# %%
# It can be used like the worm's: DAG, nulls, measures, models.
figure = plots.layered_dag(ConstrainedDAG()(wiring))

# %%
# Fifty nulls that keep every node's numbers of incoming and outgoing edges:
nulls = list(WiringEnsemble(wiring, family="rewired", count=50, seed=0))
table = analysis.measures([ConstrainedDAG()(wiring), *nulls], which=["reciprocity", "clustering", "efficiency", "dag"])
table.iloc[1:].describe().loc[["mean", "std"]]

# %%
# The wiring's own values, in standard deviations of its nulls:
((table.iloc[0] - table.iloc[1:].mean()) / table.iloc[1:].std()).round(2)
