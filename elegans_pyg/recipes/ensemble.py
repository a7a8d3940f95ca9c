"""The main job: the connectome and its controls, trained side by side on real images in a few minutes."""

from __future__ import annotations

from elegans_pyg.recipes.config import RunConfig, schedule_for
from elegans_pyg.training.config import FitConfig

ITERATIONS = 500
CHANNELS = 24
BATCH_SIZE = 50


def ensemble_config(iterations: int = ITERATIONS) -> RunConfig:
    """Park & Kim's recipe, scaled down to minutes on two CPU cores.

    The hermaphrodite with 3 seeds and 3 wirings each of Watts-Strogatz, Erdős-Rényi, Barabási-Albert and rewired controls, on the 8x8
    digits. Optimiser, learning rate and the proportions of its schedule are the published ones (doi:10.5607/en23004); channels, iterations
    and the batch of 50, half the published one, were compared on validation images.

    Args:
        iterations: optimiser steps; the schedule keeps its proportions.
    """
    return RunConfig(
        channels=CHANNELS, training=FitConfig.from_dict({"iterations": iterations, "batch_size": BATCH_SIZE, **schedule_for(iterations)})
    )


def train_config(wiring: str = "constrained", seeds: int = 1, iterations: int = ITERATIONS) -> RunConfig:
    """The same for a single wiring.

    Args:
        wiring: ``"constrained"`` or ``"random"``: the connectome, made into a DAG that way; or a family: one wiring drawn from it.
        seeds: runs of this wiring, which differ in their first parameters only.
        iterations: optimiser steps.
    """
    base = ensemble_config(iterations)
    if wiring in ("constrained", "connectome"):
        return base.updated({"families": [], "seeds": seeds})
    family = "random_dag" if wiring == "random" else wiring
    return base.updated({"families": [family], "seeds": 0, "variants": 1, "repeats": seeds})
