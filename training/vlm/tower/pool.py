"""Pictures to learn seeing from: drawn once, kept as JPEG in memory, and looked at anew each time.

Knows nothing of networks. What is drawn is fixed by the specifications' seeds, whatever the number of processes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.drawings.drawn import encoded
from training.drawings.interface import Answer, Pixels, Place, drawing
from training.drawings.specification import Specification

_BEYOND = 1_000_000  # pictures of these numbers are never written as records of the split
_AT_ONCE = 50


@dataclass(frozen=True)
class Seen:
    """A drawn picture. task: of which it is. jpeg: the file. places, coverage, frame: see
    `training.drawings.interface.Drawn`."""

    task: str
    answer: Answer
    jpeg: bytes
    places: Mapping[str, Place]
    coverage: NDArray[np.uint8]
    frame: NDArray[np.float64]

    def pixels(self) -> Pixels:
        """`(H, W, 3)` uint8 RGB."""
        return np.asarray(Image.open(io.BytesIO(self.jpeg), formats=["JPEG"]))


def draw(
    specifications: Mapping[str, Specification],
    counts: Mapping[str, int],
    split: str,
    processes: int,
    done: Callable[[int], None],
) -> list[Seen]:
    """So many pictures of each task, with answers of that split. done: told how many were added."""
    jobs = [
        (task, range(start, min(counts[task], start + _AT_ONCE)))
        for task in specifications
        for start in range(0, counts[task], _AT_ONCE)
    ]
    pictures: list[Seen] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_part, specifications[task], task, split, numbers) for task, numbers in jobs]
        for part in (job.result() for job in waiting):
            pictures += part
            done(len(part))
    return pictures


def _part(specification: Specification, task: str, split: str, numbers: range) -> list[Seen]:
    drawer = drawing(specification.name)
    seen = []
    for number in numbers:
        answer, drawn = specification.one(drawer, split, _BEYOND + number)
        jpeg = encoded(drawn.pixels, specification.quality)
        seen.append(Seen(task, answer, jpeg, drawn.places, drawn.coverage, drawn.frame))
    return seen
