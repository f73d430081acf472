"""What draws the pictures of a task, and where it is found. Knows nothing of files or of learning."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ConfigError

Pixels = NDArray[np.uint8]
Answer = dict[str, Any]
Place = tuple[float, float]
Drawn = tuple[Pixels, dict[str, Place]]
"""A picture, `(336, 336, 3)` uint8 RGB, and where in it the values of its answer are to be seen, (x, y) pixels by JSON
Pointer into the answer; a place for each character of a text, as POINTER/0, POINTER/1, where they stand apart."""
DrawingName = Literal["keys", "meters"]
DRAWINGS: tuple[DrawingName, ...] = ("keys", "meters")


class Drawing(Protocol):
    """A module of training.drawings. All that is left to chance comes from `rng`, so that a seed is a picture."""

    def sample(self, rng: np.random.Generator) -> Answer:
        """What is to be read on a picture, drawn from all that there may be."""
        ...

    def group(self, answer: Answer) -> str:
        """What must not be in two splits at once: answers of one group differ in nothing that is hard to read."""
        ...

    def draw(self, rng: np.random.Generator, answer: Answer, difficulty: Mapping[str, Any]) -> Drawn:
        """A picture of `answer`. difficulty: checked by the drawing; raises ConfigError."""
        ...


def drawing(name: str) -> Drawing:
    """The drawing of that name. Raises ConfigError for one that there is not."""
    if name not in DRAWINGS:
        raise ConfigError(f"Expected a drawing out of {', '.join(DRAWINGS)}, got {name}.")
    module: Any = import_module(f"training.drawings.{name}")
    return module  # type: ignore[no-any-return]  # a module is looked at through the protocol
