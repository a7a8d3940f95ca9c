"""A wiring's measures against those of random wirings."""

import math

import numpy as np
import pandas as pd

from elegans_pyg.analysis.inference import Values, holm

_SAME = 1e-9


def against_null(observed: pd.Series, null: pd.DataFrame) -> pd.DataFrame:
    r"""Distance of a wiring from the graphs of a null model, measure by measure.

    .. math::
        z = \frac{x - \bar x_0}{s_0}, \qquad p = \frac{1 + \#\{i : |x_i - m| \ge |x - m|\}}{1 + N}

    with mean :math:`\bar x_0` and standard deviation :math:`s_0` (n - 1) of the :math:`N` graphs, and :math:`m` the mean of these and the
    wiring together: if the wiring is one of them, all :math:`N + 1` are equally likely to lie farthest out (Phipson & Smyth 2010,
    doi:10.2202/1544-6115.1585). Holm's correction is over the measures that are tested.

    Args:
        observed: one value per measure.
        null: one row per graph, with the same measures as columns; at least two rows.

    Returns:
        one row per measure: ``measure``, ``value``, ``mean`` and ``sd`` of the graphs, ``z``, ``p``, ``p_holm``. A measure that is the same
        for all, such as the number of neurons, is not tested, and its ``z``, ``p`` and ``p_holm`` are missing; if the graphs agree and
        the wiring differs, ``z`` is missing.

    Raises:
        ValueError: for fewer than two graphs, or a measure that one side lacks.
    """
    if len(null) < 2:
        raise ValueError(f"null: expected at least two graphs, got {len(null)}; give more")
    missing = [str(name) for name in observed.index.symmetric_difference(null.columns)]
    if missing:
        raise ValueError(f"null: expected the same measures as observed, but one side has no {', '.join(missing)}; measure both alike")
    names = list(observed.index)
    values, drawn = observed.to_numpy(dtype=np.float64), null[names].to_numpy(dtype=np.float64)
    tolerance = _SAME * np.maximum(1.0, np.abs(values))
    spread = np.ptp(drawn, axis=0) > tolerance
    mean, sd = drawn.mean(axis=0), np.where(spread, drawn.std(axis=0, ddof=1), 0.0)
    middle = (drawn.sum(axis=0) + values) / (len(drawn) + 1)
    farther = (np.abs(drawn - middle) >= np.abs(values - middle) - tolerance).sum(axis=0)
    varies = np.ptp(np.vstack([drawn, values]), axis=0) > tolerance
    p = np.where(varies, (1 + farther) / (1 + len(drawn)), math.nan)
    z = np.divide(values - mean, sd, out=np.full(len(names), math.nan), where=spread)
    return pd.DataFrame({"measure": names, "value": values, "mean": mean, "sd": sd, "z": z, "p": p, "p_holm": holm(p)})


def share_unusual(graphs: pd.DataFrame, null: pd.DataFrame, observed: pd.Series, alpha: float = 0.05) -> pd.Series:
    """Share of ``graphs``, by measure, that are farther from the mean of the null model's graphs than all but ``alpha`` (0 to 1) of these,
    on the side of the observed value: about ``alpha / 2`` for further graphs of the null model. Not corrected for the number of
    measures."""
    shares = {}
    for name in graphs.columns:
        middle = float(null[name].mean())
        tolerance = _SAME * max(1.0, abs(middle))
        away: Values = np.sort(np.abs(null[name].to_numpy(dtype=np.float64) - middle))
        found = (graphs[name].to_numpy(dtype=np.float64) - middle) * (1 if observed[name] >= middle else -1)
        p = (1 + len(away) - np.searchsorted(away, found - tolerance)) / (1 + len(away))
        shares[name] = float(np.mean(p <= alpha))
    return pd.Series(shares)
