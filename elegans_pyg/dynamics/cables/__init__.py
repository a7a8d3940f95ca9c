"""Neurons with their shape: segments, the compartments they are cut into, and the solver of the cable equation on their trees."""

from elegans_pyg.dynamics.cables.compartments import Cables, cut
from elegans_pyg.dynamics.cables.segments import Segments, read_segments

__all__ = ["Cables", "Segments", "cut", "read_segments"]
