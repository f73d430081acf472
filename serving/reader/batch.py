"""Keys and values of the rows under way, and which rows are run together.

Each row has, of P columns, those that its own tokens left there; others are masked and never attended to, so that rows of
unequal length stand side by side. As long as the same rows are run together nothing is copied: what one run returns is what
the next one is given. Knows nothing of graphs' weights, tokens' meaning and requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safelight.reader.manifest import Architecture
from serving.reader.graphs import Floats, Integers, Step, Value, array, value

_PASS_TOKENS = 12
"""What a run costs before it has computed anything, in tokens computed. Measured with SmolLM2-135M on one core of a server:
37 ms and 2.4 ms a token in float32, 21 ms and 2.0 ms with weights of 8 bits."""
_WASTE = 0.25
"""Columns that no row has anything in, to those of the longest row, above which rows are moved together."""


@dataclass(frozen=True)
class Past:
    """Of B rows. layers: keys and values by layer, each `(B, KV, P, D)`. held: `(B, P)`, 1 where a column is the row's."""

    layers: Sequence[Value]
    held: Integers

    @property
    def lengths(self) -> Integers:
        """`(B,)`: tokens that each row has."""
        lengths: Integers = self.held.sum(axis=1)
        return lengths

    @property
    def sparse(self) -> bool:
        """Whether so many columns are nobody's that moving rows together pays."""
        longest = int(self.lengths.max())
        return bool(self.held.shape[1] > longest + max(32, _WASTE * longest))


@dataclass(frozen=True)
class Place:
    """Where a row's keys and values are."""

    past: Past
    row: int


def nothing(architecture: Architecture) -> Place:
    """Of a row that has no tokens yet."""
    shape = (1, architecture.kv_heads, 0, architecture.head_dim)
    layers = [value(np.zeros(shape, np.float32)) for _ in range(2 * architecture.layers)]
    return Place(Past(layers, np.zeros((1, 0), np.int64)), 0)


def together(places: Sequence[Place]) -> Past:
    """The rows at these places as one: what they are in already, where that is these rows alone and not sparse, or a copy."""
    past = places[0].past
    alone = len(past.held) == len(places) and all(p.past is past and p.row == i for i, p in enumerate(places))
    return past if alone and not past.sparse else _moved(places)


def step_of(past: Past, new: Sequence[Floats]) -> Step:
    """New tokens of each row of `past`, `(T_i, H)`, padded at the right to the longest."""
    counts = np.array([len(one) for one in new], np.int64)
    most, hidden = int(counts.max()), new[0].shape[1]
    embeddings = np.zeros((len(new), most, hidden), np.float32)
    for row, one in enumerate(new):
        embeddings[row, : len(one)] = one
    fresh = (np.arange(most) < counts[:, None]).astype(np.int64)
    last = counts - 1
    positions = past.lengths[:, None] + np.minimum(np.arange(most), last[:, None])
    return Step(embeddings, np.concatenate([past.held, fresh], axis=1), positions, last)


def groups(counts: Sequence[int]) -> list[list[int]]:
    """Which rows to run together: those with so many new tokens each are cut into groups, each padded to its longest, such
    that all runs together cost least. Rows are named by their place in `counts`."""
    order = sorted(range(len(counts)), key=lambda row: (-counts[row], row))
    best: list[tuple[float, int]] = [
        (0.0, 0)
    ]  # of the first so many in `order`: least cost, where the last group begins
    for end in range(1, len(order) + 1):
        costs = [(best[begin][0] + _cost(end - begin, counts[order[begin]]), begin) for begin in range(end)]
        best.append(min(costs))
    cut: list[list[int]] = []
    end = len(order)
    while end:
        begin = best[end][1]
        cut.append(sorted(order[begin:end]))
        end = begin
    return cut[::-1]


def _cost(rows: int, tokens: int) -> float:
    """Of one run, in tokens computed."""
    return _PASS_TOKENS + rows * tokens


def _moved(places: Sequence[Place]) -> Past:
    """A copy with these rows' columns alone, each row's from the left."""
    columns = [np.flatnonzero(place.past.held[place.row]) for place in places]
    longest = max(len(own) for own in columns)
    held = (np.arange(longest) < np.array([len(own) for own in columns])[:, None]).astype(np.int64)
    layers = []
    for layer in range(len(places[0].past.layers)):
        sources = [array(place.past.layers[layer]) for place in places]
        _, heads, _, width = sources[0].shape
        moved = np.zeros((len(places), heads, longest, width), np.float32)  # what is masked must be finite all the same
        for row, (place, own, source) in enumerate(zip(places, columns, sources, strict=True)):
            moved[row, :, : len(own)] = source[place.row][:, own]
        layers.append(value(moved))
    return Past(layers, held)
