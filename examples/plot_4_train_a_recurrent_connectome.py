"""
Train a recurrent connectome
============================

``ConnectomeRNN`` makes every neuron a leaky unit and every synapse a weight, with all cycles. Here it learns to reproduce, at the motor
neurons, the input of its sensory neurons a few steps earlier, beside two rewired null wirings that start from the same seed.
"""

# %%
import matplotlib.pyplot as plt
import torch

from elegans_pyg.datasets import Connectome
from elegans_pyg.models import ConnectomeRNN
from elegans_pyg.transforms import Rewired

herm = Connectome("cook2019-hermaphrodite", edge_attributes=True)[0]
wirings = [herm, Rewired(seed=1)(herm), Rewired(seed=2)(herm)]
model = ConnectomeRNN(wirings, inputs=1, outputs=1, seeds=[0, 0, 0], dale=False)
print(sum(parameter.numel() for parameter in model.parameters()) // 3, "parameters in each of", model.num_variants, "networks")

# %%
# A smooth random signal, and the same 4 steps earlier.
delay, generator = 4, torch.Generator().manual_seed(0)
noise = torch.randn(9, 1, 220, generator=generator)
signal = torch.nn.functional.avg_pool1d(noise, 5, stride=1).squeeze(1).unsqueeze(-1)
inputs, targets = signal[:, delay:], signal[:, :-delay]
train, test = slice(0, 8), slice(8, 9)

# %%
# The networks share no parameters, so minimising the sum of their losses trains each of them independently.
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
losses = []
for _ in range(60):
    loss = (model(inputs[train]) - targets[train]).square().mean(dim=(1, 2, 3))
    optimizer.zero_grad()
    loss.sum().backward()
    optimizer.step()
    losses.append(loss.detach())

# %%
with torch.no_grad():
    found = model(inputs[test])
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.semilogy(torch.stack(losses), label=["connectome", "rewired 1", "rewired 2"])
left.set(xlabel="step", ylabel="mean squared error", title="training")
left.legend()
right.plot(targets[test][0, 20:120, 0], "k", label="target")
right.plot(found[0, 0, 20:120, 0], label="connectome")
right.set(xlabel="time step", title="test sequence")
right.legend()
