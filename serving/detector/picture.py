"""A picture as it was sent, decoded once however many models look at it. Knows nothing of models or HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from safelight.images import ImageLimits, decode, decode_small
from serving.privacy.record import Record

Pixels = NDArray[np.uint8]


class Picture:
    """data: the file. media_type: what its sender says it is. limits: what is decoded. clock: that of `Record`."""

    def __init__(self, data: bytes, media_type: str | None, limits: ImageLimits, clock: Callable[[], float]) -> None:
        self._data, self._media_type, self._limits, self._clock = data, media_type, limits, clock
        self._lock = threading.Lock()
        self._decoded: dict[int | None, tuple[Pixels, tuple[int, int]]] = {}

    def decoded(self, least_side: int | None, record: Record) -> tuple[Pixels, tuple[int, int]]:
        """`(H, W, 3)` uint8 RGB, perhaps smaller than the picture (`safelight.images.decode_small`), and the (width, height)
        of the whole of it. Blocks. Raises what decoding raises."""
        with self._lock:
            if least_side not in self._decoded:
                begun = self._clock()
                self._decoded[least_side] = decode_small(self._data, self._limits, least_side, self._media_type)
                record.spent("decode", begun, self._clock())
            return self._decoded[least_side]

    def whole(self) -> Pixels:
        """All of its pixels, `(H, W, 3)` uint8 RGB, upright."""
        for pixels, (width, height) in self._decoded.values():
            if pixels.shape[:2] == (height, width):
                return pixels
        return decode(self._data, self._limits, self._media_type)
