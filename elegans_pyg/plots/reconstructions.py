"""Images and their reconstructions by autoencoders."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from elegans_pyg.plots.style import INK, Array, family_styles, numbers


def reconstructions(originals: Array, reconstructed: Mapping[str, Array], reference: str | None = "connectome") -> Figure:
    """Images in the first row, and below it each family's reconstructions, with the share of correct pixels (threshold 0.5).

    Args:
        originals: shape ``(n, C, H, W)``, from 0 to 1; the first channel is drawn.
        reconstructed: by family, shape ``(n, C, H, W)``, from 0 to 1.
        reference: family named in red; ``None`` for none.
    """
    pictures = numbers(originals)
    rows = {name: numbers(values) for name, values in reconstructed.items()}
    if pictures.ndim != 4 or not len(pictures) or not rows:
        raise ValueError(f"originals: expected (n, C, H, W) and at least one family, got {pictures.shape} and {len(rows)}; give images")
    for name, values in rows.items():
        if values.shape != pictures.shape:
            got = f"{values.shape} for {name!r}"
            raise ValueError(f"reconstructed: expected {pictures.shape} like originals, got {got}; give the same images")
    styles = family_styles(list(rows), reference if reference in rows else None)
    count = len(pictures)
    tight = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(1.9 + 0.8 * count, 0.82 * (len(rows) + 1) + 0.15), layout=tight)
    grid = figure.subplots(len(rows) + 1, count, squeeze=False)
    for axes_row, (name, values) in zip(grid, {"original": pictures, **rows}.items(), strict=True):
        for axes, image in zip(axes_row, values, strict=True):
            axes.imshow(np.nan_to_num(image[0]), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="#C9CDD2", linewidth=0.6)
        label, colour = name, INK
        if name != "original":
            label, colour = f"{name}\n{100 * ((values > 0.5) == (pictures > 0.5)).mean():.2f} %", styles[name][0]
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9, color=colour, labelpad=6)
    return figure
