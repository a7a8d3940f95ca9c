"""Cutting sections into compartments, as NEURON does, and the trees that join the compartments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elegans_pyg.dynamics.cables.segments import Floats, Ints, Segments

LENGTH_CONSTANT_HZ = 100.0
"""Frequency of the length constant that ``d_lambda`` is a share of, as in NEURON."""


class Cables(NamedTuple):
    """``M`` compartments, and the trees of ``P`` nodes that join them: the compartments, then the branch points, which have no membrane.

    Attributes:
        neuron, area_um2: ``(M,)``; position of the neuron, and area of the membrane.
        soma: ``(N,)``; compartment that holds the middle of each neuron's first segment.
        parent: ``(P,)``; next node on the way to the tree's root; a root is its own parent. ``owner (P,)``: position of its neuron.
        path_per_um: ``(P,)``; integral of ``4 / (pi d^2)`` over the way to the parent, infinite for a root. The axial resistance is the
            resistivity times this.
        levels: nodes by their depth, the roots first.
        segment: ``(G,)``; compartment that holds the middle of each segment.
    """

    neuron: Ints
    area_um2: Floats
    soma: Ints
    parent: Ints
    owner: Ints
    path_per_um: Floats
    levels: list[Ints]
    segment: Ints


def cut(segments: Segments, d_lambda: float | None, resistivity_ohm_cm: float, capacitance_uF_per_cm2: float) -> Cables:
    """Cut every section into an odd number of compartments of equal length.

    One if ``d_lambda`` is ``None``, else enough for each to be no longer than that share of the length constant at 100 Hz (Hines &
    Carnevale 2001, doi:10.1177/107385840100700207). The membrane of a compartment is that of its frusta; the resistance between two centres
    is that of the frusta between them.
    """
    first = np.flatnonzero(np.diff(segments.section, prepend=-1))
    last = np.append(first[1:], len(segments.section)) - 1
    line = _Line(segments, first, last)
    count = np.ones(len(first), dtype=np.int64)
    if d_lambda is not None:
        unit = np.sqrt(4 * np.pi * LENGTH_CONSTANT_HZ * resistivity_ohm_cm * capacitance_uF_per_cm2) * 1e-5
        count = 1 + 2 * ((line.lengths_per_root_diameter() * unit / d_lambda + 0.9) / 2).astype(np.int64)
    start = np.cumsum(count) - count
    section = np.repeat(np.arange(len(first)), count)
    within = np.arange(len(section)) - start[section]
    # Area and path at both ends and in the middle of each compartment.
    (area_0, path_0), (_, path_1), (area_2, path_2) = (line.at(section, (within + k / 2) / count[section]) for k in range(3))
    inner, outer = path_1 - path_0, path_2 - path_1

    grown = segments.parent[first]
    stem = segments.section[grown]
    place = line.fraction(grown)
    at_end, rooted = (grown == last[stem]) & (grown >= 0), grown < 0
    children = np.bincount(stem[at_end], minlength=len(first))
    # Two cables that meet end to end continue as one; three or more need a node in between.
    forks = np.flatnonzero(children > 1)
    fork = np.full(len(first), -1)
    fork[forks] = len(section) + np.arange(len(forks))
    tip = start + count - 1
    attached = np.where(fork[stem] >= 0, fork[stem], tip[stem])
    attached = np.where(at_end, attached, start[stem] + (place * count[stem]).astype(np.int64))
    parent = np.arange(len(section)) - 1
    parent[start] = np.where(rooted, start, attached)
    path = inner.copy()
    path[1:] += np.where(within[1:] > 0, outer[:-1], 0)
    path[start] += np.where(at_end & (fork[stem] < 0), outer[tip[stem]], 0)
    path[start[rooted]] = np.inf
    middle = line.fraction(np.arange(len(segments.section)), 0.5)
    holder = start[segments.section] + (middle * count[segments.section]).astype(np.int64)
    neuron = segments.neuron[first][section]
    parent, path = np.concatenate([parent, tip[forks]]), np.concatenate([path, outer[tip[forks]]])
    owner = np.concatenate([neuron, segments.neuron[first][forks]])
    soma = holder[np.flatnonzero(segments.parent < 0)]
    return Cables(neuron, area_2 - area_0, soma, parent, owner, path, _levels(parent), holder)


def _levels(parent: Ints) -> list[Ints]:
    depth, above = (parent != np.arange(len(parent))).astype(np.int64), parent
    while (above != above[above]).any():
        depth, above = depth + depth[above], above[above]
    order = np.argsort(depth, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)


class _Line:
    """All sections laid out one after another, with the membrane and the path up to each of their points."""

    def __init__(self, segments: Segments, first: Ints, last: Ints) -> None:
        length = np.linalg.norm(segments.distal[:, :3] - segments.proximal[:, :3], axis=1)
        # A sphere, both ends of which are its centre, is replaced by the cylinder of equal membrane, as in c302's export to NEURON.
        length = np.where((first == last)[segments.section] & (length == 0), segments.distal[:, 3], length)
        rows = np.arange(len(length)) + segments.section + 1
        total = len(length) + len(first)
        self.first, self.last, self.rows, self.section = first + np.arange(len(first)), rows[last], rows, segments.section
        self.diameter = np.empty(total)
        self.diameter[self.first], self.diameter[rows] = segments.proximal[first, 3], segments.distal[:, 3]
        self.along, self.area, self.path = np.zeros(total), np.zeros(total), np.zeros(total)
        begin, end = self.diameter[rows - 1], self.diameter[rows]
        self.along[rows], self.area[rows], self.path[rows] = length, *_frustum(begin, end, length)
        # A micrometre between sections separates the end of one from the start of the next.
        self.along[self.first] = 1
        self.along, self.area, self.path = (np.cumsum(part) for part in (self.along, self.area, self.path))
        self.length = self.along[self.last] - self.along[self.first]

    def at(self, section: Ints, fraction: Floats) -> tuple[Floats, Floats]:
        """Membrane and path from the line's start to a point of a section, given as a share of the section's length."""
        first, last = self.first[section], self.last[section]
        place = self.along[first] + fraction * self.length[section]
        row = np.clip(np.searchsorted(self.along, place, side="right") - 1, first, last - 1)
        span, begin = self.along[row + 1] - self.along[row], self.diameter[row]
        share = np.where(fraction >= 1, 1.0, (place - self.along[row]) / np.where(span > 0, span, 1))
        area, path = _frustum(begin, begin + share * (self.diameter[row + 1] - begin), share * span)
        whole = np.where(fraction > 0, self.area[row], self.area[first])
        return np.where(fraction > 0, whole + area, whole), self.path[row] + path

    def fraction(self, segment: Ints, share: float = 1.0) -> Floats:
        """Position of a point of a segment, given as a share of the segment's length, as a share of its section's."""
        row, section = self.rows[segment], self.section[segment]
        place = self.along[row - 1] + share * (self.along[row] - self.along[row - 1])
        return (place - self.along[self.first[section]]) / self.length[section]

    def lengths_per_root_diameter(self) -> Floats:
        """Sum over each section's frusta of length over root of the mean diameter."""
        mean = (self.diameter[self.rows - 1] + self.diameter[self.rows]) / 2
        return np.add.reduceat((self.along[self.rows] - self.along[self.rows - 1]) / np.sqrt(mean), self.first - np.arange(len(self.first)))


def _frustum(begin: Floats, end: Floats, length: Floats) -> tuple[Floats, Floats]:
    """Membrane of a cone's frustum between two diameters, without its ends, and the integral of ``4 / (pi d^2)`` along it."""
    return np.pi / 2 * (begin + end) * np.hypot(length, (end - begin) / 2), 4 * length / (np.pi * begin * end)
