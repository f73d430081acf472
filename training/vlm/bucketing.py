"""In which order records are visited so that those of a batch are about equally long, and little is spent on padding.

Knows nothing of pictures, tokens or Lightning: a record is a number with a length.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Buckets:
    """Which record sample i of an endless stream visits: it depends on the seed and i alone, so that a training can be
    resumed anywhere. Every record comes up once a pass, and a pass has as many samples as there are records.

    lengths: of each record, in tokens. size: samples of a batch; batches begin at its multiples, across passes too. window:
    so many batches are sorted by length together, then cut up again; their order is drawn. The longer, the less padding and
    the less chance which records meet; 1 leaves all to chance. The batch that two passes share is not sorted.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int, window: int = 16) -> None:
        for name, value in {"lengths": len(lengths), "size": size, "window": window}.items():
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        self._lengths = np.asarray(lengths, np.int64)
        self._size, self._seed, self._window = size, seed, window
        self._pass = lru_cache(maxsize=2)(self._made)

    def place(self, sample: int) -> int:
        """Which record sample `sample` visits."""
        number, at = divmod(sample, len(self._lengths))
        return int(self._pass(number)[at])

    def __getstate__(self) -> dict[str, object]:
        """Without the memory of passes, for loader processes that are not forked."""
        return {name: value for name, value in self.__dict__.items() if name != "_pass"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._pass = lru_cache(maxsize=2)(self._made)

    def _made(self, number: int) -> NDArray[np.int64]:
        """Pass `number`: first what completes the batch that the last pass began, then whole batches, then what is left."""
        count, rng = len(self._lengths), np.random.default_rng([self._seed, 0, number])
        drawn: NDArray[np.int64] = rng.permutation(count)
        head = min(count, -number * count % self._size)
        whole = (count - head) // self._size * self._size
        middle = drawn[head : head + whole]
        at_once = self._size * self._window
        parts = [middle[start : start + at_once] for start in range(0, whole, at_once)]
        ordered = [part[np.argsort(self._lengths[part], kind="stable")] for part in parts]
        batches = np.concatenate([drawn[:0], *ordered]).reshape(-1, self._size)
        return np.concatenate([drawn[:head], rng.permutation(batches).reshape(-1), drawn[head + whole :]])
