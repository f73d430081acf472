"""What a head is: the way in which a graph's outputs say boxes and scores, read off their shapes once, when it is loaded.

Knows nothing of graphs, runtimes or bundles: it is given shapes, and later arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Answer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes `(B, A, 4)` xyxy in input pixels and scores `(B, A, C)`, as `safelight.postprocess.Run` gives them."""

Raw = NDArray[Any]

Anchors = tuple[tuple[tuple[float, float], ...], ...]
"""Widths and heights of the boxes that a map's cells start from, in input pixels; map by map, the finest first."""

HeadName = Literal[
    "boxes-scores",
    "yolov3",
    "yolov5",
    "yolov8",
    "yolo-end2end",
    "yolo-nas",
    "yolo-nas-nms",
    "detr",
]


@dataclass(frozen=True)
class Output:
    """An output of a graph: its name, numpy's name of its element type, and its shape, None for each free dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Given:
    """What is known besides the outputs. classes: how many labels there are. input_size: pixels of the square input's side.
    anchors: for those heads that need them."""

    classes: int
    input_size: int
    anchors: Anchors | None = None


@dataclass(frozen=True)
class Adapter:
    """A head that fits a graph. names: the outputs it needs, in the order in which it takes them. read: from them, as
    float32 where they are floats, and the number of pictures to boxes and scores, the latter as the graph gives them.
    plain: whether the outputs are the answer as they are."""

    names: tuple[str, ...]
    read: Callable[[Sequence[Raw], int], Answer]
    plain: bool = False

    def __call__(self, outputs: Sequence[Raw], pictures: int) -> Answer:
        """Boxes and scores of so many pictures; scores never leave [0, 1] where the outputs are finite.

        The outputs belong to the adapter from now on: what it returns may share their memory.
        """
        boxes, scores = self.unbounded(outputs, pictures)
        return boxes, np.clip(scores, 0, 1, out=scores)

    def unbounded(self, outputs: Sequence[Raw], pictures: int) -> Answer:
        """As a call, with scores as the graph gives them: whether they are probabilities can still be seen."""
        wide = [output.astype(np.float32) if output.dtype == np.float16 else output for output in outputs]
        with np.errstate(over="ignore"):
            return self.read(wide, pictures)


class Head(Protocol):
    """One way of saying boxes and scores."""

    def __call__(self, outputs: Sequence[Output], given: Given) -> Adapter:
        """The adapter for a graph with these outputs. Raises ManifestInvalid when they do not fit, or fit in two ways."""
        ...
