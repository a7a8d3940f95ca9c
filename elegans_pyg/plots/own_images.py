"""Images of one's own and the classes predicted for them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from elegans_pyg.plots.style import BARE, Array, checked, dress, family_styles, numbers


def classified(
    images: Array, names: Sequence[str], probabilities: Mapping[str, Array], classes: Sequence[str], reference: str | None = "connectome"
) -> Figure:
    """Images as the networks saw them, and beside each the likeliest classes by family.

    Args:
        images: ``(n, C, H, W)``, uint8.
        names: of the images.
        probabilities: by family, ``(n, K)``.
        classes: names of the ``K`` classes.
        reference: family in red; ``None`` for none.
    """
    pictures, count = numbers(images), len(names)
    shares = {family: checked("probabilities", own, (count, len(classes)), f" for {family}") for family, own in probabilities.items()}
    styles, bar = family_styles(list(shares), reference if reference in shares else None), 0.8 / len(shares)
    columns = min(count, 3)
    rows, shown = -(-count // columns), min(len(classes), 5)
    figure = Figure(figsize=(5.2 * columns, 0.4 + rows * max(1.7, 0.14 * shown * len(shares) + 0.8)), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 1.9] * columns)
    for axes in grid.ravel()[2 * count :]:
        axes.axis("off")
    for number, name in enumerate(names):
        left, right = grid.ravel()[2 * number : 2 * number + 2]
        picture = pictures[number].transpose(1, 2, 0)
        left.imshow(picture.squeeze() if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        left.set(xticks=[], yticks=[])
        left.set_title(name if len(name) <= 22 else f"…{name[-21:]}", fontsize=8, loc="left")
        order = np.argsort(-np.mean([own[number] for own in shares.values()], axis=0), kind="stable")[:shown]
        for place, (family, own) in enumerate(shares.items()):
            right.barh(np.arange(shown) + bar * place, 100 * own[number, order], bar, color=styles[family][0], label=family)
        right.set_yticks(np.arange(shown) + bar * (len(shares) - 1) / 2, [classes[one] for one in order], fontsize=8)
        right.invert_yaxis()
        dress(right, grid="x", xlim=(0, 100))
        right.set_xlabel("probability (%)", fontsize=8)
        right.tick_params(labelsize=8, length=0)
    handles, labels = grid[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=min(len(labels), 5), **BARE)
    return figure
