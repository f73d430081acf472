"""In which order the places of a data set are visited, pass after pass, and how often each.

Knows nothing of pictures: a place is a number. Which place sample i is depends on the seed and i alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Order:
    """count: of places. seed: fixes everything. repeats: `(count,)`, how often each is visited relative to the others; None
    for once a pass. A pass has `count` visits in either case: with `repeats` they are drawn by systematic resampling
    (Kitagawa, 1996), so that each place has its share in every pass, to within one."""

    def __init__(self, count: int, seed: int, repeats: NDArray[np.float64] | None = None) -> None:
        if count < 1:
            raise ValueError(f"count: expected at least 1 place, got {count}")
        self._count, self._seed = count, seed
        self._upto = None if repeats is None else np.cumsum(repeats) / np.sum(repeats) * count
        self._pass = lru_cache(maxsize=2)(self._made)

    def place(self, sample: int) -> int:
        """Which place sample `sample` visits."""
        number, at = divmod(sample, self._count)
        return int(self._pass(number)[at])

    def __getstate__(self) -> dict[str, object]:
        """Without the memory of passes, for loader processes that are not forked."""
        return {name: value for name, value in self.__dict__.items() if name != "_pass"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._pass = lru_cache(maxsize=2)(self._made)

    def _made(self, number: int) -> NDArray[np.int64]:
        order: NDArray[np.int64] = np.random.default_rng([self._seed, 0, number]).permutation(self._count)
        if self._upto is None:
            return order
        offset = np.random.default_rng([self._seed, 3, number]).random()
        drawn = np.searchsorted(self._upto, np.arange(self._count) + offset, side="right").clip(max=self._count - 1)
        return drawn[order]


def repeat_factors(classes: Sequence[NDArray[np.int64]], threshold: float) -> NDArray[np.float64]:
    """How often each picture is to be seen, `(N,)`, so that pictures of rare classes come up more: max(1, sqrt(t / f)) of
    its rarest class, f being the share of pictures that have the class (Gupta et al., "LVIS", 2019, section 5.3).

    classes: of each picture's boxes, `(M,)`. threshold: t, the share below which a class counts as rare.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a share above 0 and at most 1, got {threshold}")
    present = [np.unique(of_one) for of_one in classes]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    with np.errstate(divide="ignore"):
        of_class = np.maximum(1.0, np.sqrt(threshold * len(classes) / counts))
    return np.array([of_class[found].max(initial=1.0) for found in present], np.float64)
