"""Pictures that were asked for lately, up to so many bytes: what is decoded once need not be decoded again every round.

Knows nothing of files or training. Each loader process has a cache of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray


class PictureCache:
    """max_bytes: of the pixels kept; the one longest unused goes first. A picture larger than that is not kept; 0 keeps
    nothing. hits, misses: how often it had what was asked for."""

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes: expected 0 or more, got {max_bytes}")
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self.hits = self.misses = 0

    def get(self, key: Hashable, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture of this key, made if it is not there; not to be written to."""
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        self.misses += 1
        picture = make()
        if picture.nbytes <= self._max_bytes:
            self._kept[key] = picture
            self._bytes += picture.nbytes
            while self._bytes > self._max_bytes:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return picture

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes
