"""What is taken for what: of each property, and of each item of a list, the value there and the value that was read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.vlm.evaluation.items import item_pairs, lists
from training.vlm.evaluation.reading import MISSING, Reading

MOST_VALUES = 25
"""A property of more values than this, a serial number say, has no table that tells anything."""


def confusion_of(readings: Sequence[Reading], name: str) -> tuple[list[str], NDArray[np.int64]] | None:
    """(values, counts `(V + 1, V + 1)`) of a property, what is there by what was read, the last of either being nothing; of
    a list, of its items. Texts that are no answers are not in it. None where there are more than `MOST_VALUES`."""
    by_item = lists(readings, name)
    pairs = [
        pair for one in readings if one.valid for pair in (item_pairs(one, name) if by_item else [one.field(name)])
    ]
    counted = [pair for pair in pairs if not pair[0] is pair[1] is MISSING]
    values = sorted({_key(value) for pair in counted for value in pair if value is not MISSING})
    if not values or len(values) > MOST_VALUES:
        return None
    place = {key: number for number, key in enumerate(values)}
    counts = np.zeros((len(values) + 1, len(values) + 1), np.int64)
    for there, read in counted:
        row, column = (len(values) if value is MISSING else place[_key(value)] for value in (there, read))
        counts[row, column] += 1
    return [_label(text) for _, text in values], counts


def kinds(readings: Sequence[Reading], fields: Sequence[str]) -> list[tuple[str, int]]:
    """(what went wrong, how often) in answers: no answer of the task; a property's value; of lists a length, or so many
    items. An answer that is wrong in two properties counts in both."""
    found: Counter[str] = Counter({"no answer of the task": sum(not one.valid for one in readings)})
    for name in fields:
        by_item = lists(readings, name)
        for reading in readings:
            if reading.valid and not reading.field_right(name):
                found[_kind(reading, name) if by_item else f"{name}: another value"] += 1
    return [(kind, count) for kind, count in sorted(found.items(), key=lambda item: (-item[1], item[0])) if count]


def _kind(reading: Reading, name: str) -> str:
    there, read = reading.field(name)
    if not isinstance(read, list) or not isinstance(there, list):
        return f"{name}: there on one side only"
    if len(there) != len(read):
        return f"{name}: {'fewer' if len(read) < len(there) else 'more'} items"
    wrong = list(_wrong(reading, name))
    steps = [abs(a - b) for a, b in wrong if type(a) is type(b) is int]
    near = " by one" if len(steps) == len(wrong) and set(steps) == {1} else ""
    return f"{name}: {len(wrong)} {'item' if len(wrong) == 1 else 'items'} off{near}"


def _wrong(reading: Reading, name: str) -> Iterator[tuple[Any, Any]]:
    return ((a, b) for a, b in item_pairs(reading, name) if _key(a) != _key(b))


def _key(value: Any) -> tuple[float, str]:
    """What values are sorted by: numbers by size, and before all else."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (float(value), json.dumps(value)) if number else (float("inf"), json.dumps(value, sort_keys=True))


def _label(text: str) -> str:
    value = json.loads(text)
    return value if isinstance(value, str) else text
