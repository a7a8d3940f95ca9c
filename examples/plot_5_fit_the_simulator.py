"""
Fit the simulated worm by gradient
==================================

``dynamics.simulate`` is differentiable in currents, conductances and every other table of the worm. Here two factors, of all gap junctions
and of all leaks, are recovered from the voltages of three neurons.
"""

# %%
# The target voltages are simulated with twice the gap-junction and two thirds of the leak conductances.
import matplotlib.pyplot as plt
import torch

from elegans_pyg import dynamics

worm = dynamics.Worm("c302-C1")
names = ["DB1", "VB1", "PVR"]
current_pA = torch.full((1, 300, 2), 3.0, dtype=torch.float64)  # 30 ms into each AVB
one = torch.tensor(1.0, dtype=torch.float64)


def voltages(gap: torch.Tensor, leak: torch.Tensor) -> dynamics.Simulation:
    scaled = worm.scaled(excitatory=one, inhibitory=one, gap=gap, leak=leak)
    return dynamics.simulate(scaled, current_pA, ["AVBL", "AVBR"], dt_ms=0.1, duration_ms=30.0, record=names, estimate=False)


time_ms, measured_mV = voltages(2 * one, 2 / 3 * one)

# %%
# Start from the original worm. The logarithms of the factors are fitted, which keeps the factors positive.
logarithms = torch.zeros(2, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.LBFGS([logarithms], max_iter=12, line_search_fn="strong_wolfe")


def loss() -> torch.Tensor:
    optimizer.zero_grad()
    gap, leak = logarithms.exp()
    error = (voltages(gap, leak).voltage_mV - measured_mV).square().mean()
    error.backward()
    print(f"root mean square error {float(error.detach()) ** 0.5:.5f} mV, gap {float(gap.detach()):.3f}, leak {float(leak.detach()):.3f}")
    return error


optimizer.step(loss)

# %%
fitted_mV = voltages(*logarithms.detach().exp()).voltage_mV
unfitted_mV = voltages(one, one).voltage_mV
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for neuron, (name, colour) in enumerate(zip(names, ("tab:blue", "tab:orange", "tab:green"), strict=True)):
    axis.plot(time_ms, measured_mV[0, :, neuron], color=colour, lw=4, alpha=0.3, label=f"{name}, measured")
    axis.plot(time_ms, fitted_mV[0, :, neuron], color=colour, label=f"{name}, fitted")
    axis.plot(time_ms, unfitted_mV[0, :, neuron], ":", color=colour)
axis.set(xlabel="time, ms", ylabel="membrane potential, mV", title="dotted: before the fit")
axis.legend(fontsize=8)
