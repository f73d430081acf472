"""How long a picture takes, of two models side by side, so that a busy machine slows both alike.

Knows nothing of bundles or budgets: a model is a function that answers for a picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

Look = Callable[[NDArray[np.uint8]], Any]
"""All that is done for a picture `(H, W, 3)` uint8 RGB, from its pixels to its boxes."""


def side_by_side(
    models: Mapping[str, Look],
    pictures: Sequence[NDArray[np.uint8]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds a picture for each of `models`, which take turns; the first round is a rehearsal and not counted.

    Raises ValueError when there is nothing to look at.
    """
    if not pictures or repeats < 1:
        raise ValueError(f"expected pictures and repeats, got {len(pictures)} and {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for picture in pictures:
            for name, look in models.items():
                started = clock()
                look(picture)
                if turn:
                    seconds[name].append(clock() - started)
    return {name: median(taken) for name, taken in seconds.items()}
