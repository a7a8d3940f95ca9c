"""
Fit the simulated worm by gradient
==================================

``dynamics.simulate`` is differentiable in currents, conductances and every other table of the worm. Here the currents into two touch
neurons are found that gave a voltage in the motor neuron DB1.
"""

# %%
import matplotlib.pyplot as plt
import torch

from elegans_pyg import dynamics

worm = dynamics.Worm("c302-C1")
steps, options = 600, {"inputs": ["PLML", "PLMR"], "record": ["DB1", "VB1"], "dt_ms": 0.05, "duration_ms": 30.0}


def current(strength: torch.Tensor) -> torch.Tensor:
    return strength.view(1, 1, 2).expand(1, steps, 2)


time_ms, measured = dynamics.simulate(worm, current(torch.tensor([4.0, 1.0], dtype=torch.float64)), **options)

# %%
# Start elsewhere, and go down the gradient of the squared difference.
strength = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([strength], lr=0.3)
path = []
for _ in range(12):
    _, voltage = dynamics.simulate(worm, current(strength), **options)
    loss = (voltage - measured).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    path.append([float(loss.detach()), *strength.detach().tolist()])
for step, (loss_mV2, left_pA, right_pA) in enumerate(path):
    print(f"{step:2d}  loss {loss_mV2:.2e} mV²  PLML {left_pA:.2f} pA  PLMR {right_pA:.2f} pA  sum {left_pA + right_pA:.2f} pA")

# %%
# The two neurons drive the same circuit, so that their sum is found well and their difference hardly: the data cannot tell it.
_, fitted = dynamics.simulate(worm, current(strength.detach()), **options)
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.plot(time_ms, measured[0], "k", lw=3, alpha=0.3, label=["DB1, target", "VB1, target"])
axis.plot(time_ms, fitted[0], "--", label=["DB1, fitted", "VB1, fitted"])
axis.set(xlabel="time, ms", ylabel="membrane potential, mV")
axis.legend(fontsize=8)
