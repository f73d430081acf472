"""How much was read right: the whole answer, each property, each item. Knows nothing of models and of how they were asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.vlm.evaluation.intervals import share
from training.vlm.evaluation.items import item_figures, lists
from training.vlm.evaluation.reading import Reading


def figures(readings: Sequence[Reading], fields: Sequence[str], samples: int, seed: int) -> dict[str, Any]:
    """`valid`: texts that are answers of the task. `exact`: answers that are right as a whole. `fields`: each property's
    `exact`, and of lists `items`. A text that is no answer is wrong in everything. fields: properties of the task. samples:
    of the bootstrap."""
    count = len(readings)
    return {
        "pictures": count,
        "valid": share(sum(one.valid for one in readings), count),
        "exact": share(sum(one.right for one in readings), count),
        "fields": {name: _of_field(readings, name, samples, seed) for name in fields},
    }


def _of_field(readings: Sequence[Reading], name: str, samples: int, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {"exact": share(sum(one.field_right(name) for one in readings), len(readings))}
    if lists(readings, name):
        found["items"] = item_figures(readings, name, samples, seed)
    return found
