"""
Classify images with the worm
=============================

The hermaphrodite's wiring becomes a directed acyclic graph, every neuron a small convolution, and the whole a classifier of 8x8 digits.
Null wirings of the same size train beside it, each as an independent experiment.
"""

# %%
# The connectome is an ordinary ``Data`` of PyTorch Geometric. ``ConstrainedDAG`` keeps the strongest edges that lead away from the sensory
# neurons.
from elegans_pyg import plots
from elegans_pyg.datasets import Connectome, WiringEnsemble, load_images
from elegans_pyg.transforms import ConstrainedDAG

herm = Connectome("cook2019-hermaphrodite", synapses="chemical")[0]
dag = ConstrainedDAG()(herm)
print(herm)
print(f"{dag.num_edges} edges on {int(dag.level.max()) + 1} levels")
figure = plots.layered_dag(dag)

# %%
# Nulls are rewired first and then made acyclic by the same procedure; ``match_report`` shows which counts do not match.
nulls = WiringEnsemble(herm, family="rewired", count=3, seed=0)
nulls.match_report(channels=8)[["family", "nodes", "edges", "dag_edges", "input_nodes", "output_nodes", "levels"]]

# %%
# One model holds all of them. Each variant draws its initial parameters from its own seed.
from torch_geometric.data import Batch

from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.training import FitSettings, fit

batch = Batch.from_data_list([dag, *nulls])
model = ConnectomeClassifier(batch, in_channels=1, num_classes=10, channels=8, seeds=[0, 1, 2, 3])
images = load_images("digits")
result = fit(model, images, FitSettings(iterations=60, batch_size=50, eval_every=20), quiet=True)
result.results.assign(family=["connectome"] + 3 * ["rewired"])[["family", "seed", "accuracy"]]

# %%
# Four runs are too few to decide anything. ``elegans-pyg ensemble`` trains more, and estimates how many a question needs.
