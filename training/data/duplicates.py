"""Pictures that are the same, or nearly: pairs, and the clusters that pairs join.

Knows nothing of files, splits or boxes. Two pictures are near-duplicates when both of their perceptual hashes differ in at
most `max_distance` of 64 bits; chance pairs of unrelated pictures differ in about half of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx
import numpy as np

from training.data.records import Looks

_AT_ONCE = 4_000_000  # comparisons whose result is held in memory


@dataclass(frozen=True)
class Pair:
    """Two pictures by position, first < second. distance: bits in which the perceptual hashes differ (the larger of the
    two), 0 with exact: the same pixels."""

    first: int
    second: int
    distance: int
    exact: bool


def pairs(seen: Sequence[Looks], max_distance: int) -> list[Pair]:
    """Every pair of near-duplicates, in order. Of pictures with the same pixels, each is paired with the first one alone.

    Pictures with nothing on them (flat) are compared by their pixels alone. Raises ValueError when max_distance is not in
    0..31: half of all bits differ by chance.
    """
    if not 0 <= max_distance < 32:
        raise ValueError(f"max_distance: expected 0 to 31 bits, got {max_distance}")
    first_of: dict[str, int] = {}
    found: list[Pair] = []
    for index, one in enumerate(seen):
        first = first_of.setdefault(one.sha256, index)
        if first != index:
            found.append(Pair(first, index, 0, True))
    single = np.array([i for i in first_of.values() if not seen[i].flat], np.int64)
    hashes = [np.array([getattr(seen[i], name) for i in single], np.uint64) for name in ("phash", "dhash")]
    rows = max(1, _AT_ONCE // max(1, len(single)))
    for start in range(0, len(single), rows):
        distance = np.maximum(
            *(np.bitwise_count(values[start : start + rows, None] ^ values[None, :]) for values in hashes)
        )
        for one, other in np.argwhere(distance <= max_distance):
            if start + one < other:
                found.append(Pair(int(single[start + one]), int(single[other]), int(distance[one, other]), False))
    return sorted(found, key=lambda p: (p.first, p.second))


def clusters(count: int, found: Sequence[Pair]) -> list[int]:
    """For each of `count` pictures the position of the first one that pairs join it to, directly or over others."""
    graph = networkx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from((pair.first, pair.second) for pair in found)
    names = list(range(count))
    for members in networkx.connected_components(graph):
        for member in members:
            names[member] = min(members)
    return names
