"""
Predict a wiring's performance
==============================

WiringBench holds wirings and the performance of networks built from them. A graph network (GIN) learns to predict their memory capacity.
"""

# %%
# Each wiring is an ordinary ``Data``; ``y`` is the mean over several runs. The test part has families of wirings that are not in training.
from itertools import islice

import torch
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GIN, global_mean_pool

from elegans_pyg.datasets import WiringBench
from elegans_pyg.datasets.wiringbench import Evaluator

bench = WiringBench("memory", split="family")
part = bench.get_idx_split()
mean, sd = bench[part["train"]].y.mean(), bench[part["train"]].y.std()

torch.manual_seed(0)
gin, head = GIN(bench.num_features, 32, num_layers=3, norm="batch_norm"), torch.nn.Linear(32, 1)
optimizer = torch.optim.Adam([*gin.parameters(), *head.parameters()], lr=0.01)
for batch in islice(DataLoader(bench[part["train"]], batch_size=16, shuffle=True), 60):
    predicted = head(global_mean_pool(gin(batch.x, batch.edge_index), batch.batch))
    loss = (predicted - (batch.y - mean) / sd).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# How well are wirings of other families ranked?
gin.eval()
with torch.inference_mode():
    tests = [(batch, head(global_mean_pool(gin(batch.x, batch.edge_index), batch.batch))) for batch in DataLoader(bench[part["test"]], 64)]
y_pred, y_true = mean + sd * torch.cat([predicted for _, predicted in tests]), torch.cat([batch.y for batch, _ in tests])
print(Evaluator("memory").eval({"y_true": y_true, "y_pred": y_pred}))
