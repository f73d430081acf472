"""How fast answers came. Figures of a machine on a day. Knows nothing of what was read, or how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spent:
    """On some pictures together. seconds: by the clock on the wall. tokens: of all answers, ends included. chosen: of these,
    the ones that the network was asked for; the others were forced. steps: runs of the decoder that each answer took, summed,
    whether or not it shared them with others."""

    pictures: int
    seconds: float
    tokens: int
    chosen: int
    steps: int

    def figures(self) -> dict[str, Any]:
        """By picture and by second."""
        if not self.pictures or self.seconds <= 0:
            return {"pictures": self.pictures}
        return {
            "pictures": self.pictures,
            "seconds_per_picture": round(self.seconds / self.pictures, 4),
            "tokens_per_second": round(self.tokens / self.seconds, 2),
            "tokens_per_picture": round(self.tokens / self.pictures, 2),
            "chosen_per_picture": round(self.chosen / self.pictures, 2),
            "steps_per_picture": round(self.steps / self.pictures, 2),
        }


def spread(count: int, most: int | None) -> Sequence[int]:
    """`most` of `count` places, evenly spread, the first among them; all of them where there are no more, or most is None."""
    if most is None or most >= count:
        return range(count)
    return [number * count // most for number in range(most)]
