"""Numbers about graphs and results."""

from elegans_pyg.analysis.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
