"""Lists that were read item by item: what is wrong at which place. Knows nothing of schemas; a list is compared by place, so
that an item left out in the middle makes all after it wrong, as it does for whoever cuts a key by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeGuard

from training.vlm.evaluation.intervals import quotient, share
from training.vlm.evaluation.reading import MISSING, Reading, same


@dataclass(frozen=True)
class Compared:
    """One list against another. places: of the longer one. wrong: of these, the ones whose items differ, or that one list
    does not have. compared: places at which both have an integer; off: the sum of how far they are apart."""

    places: int
    wrong: int
    compared: int
    off: int
    same_length: bool


def compared(there: Sequence[Any], read: Sequence[Any]) -> Compared:
    """Two lists, place by place."""
    pairs = list(zip_longest(there, read, fillvalue=MISSING))
    off = [abs(a - b) for a, b in pairs if _integer(a) and _integer(b)]
    wrong = sum(not same(a, b) for a, b in pairs)
    return Compared(len(pairs), wrong, len(off), sum(off), len(there) == len(read))


def lists(readings: Sequence[Reading], name: str) -> bool:
    """Whether a property is a list in every record that has it, and in one at least."""
    there = [reading.there[name] for reading in readings if name in reading.there]
    return bool(there) and all(isinstance(value, list) for value in there)


def item_figures(readings: Sequence[Reading], name: str, samples: int, seed: int) -> dict[str, Any]:
    """Of a property that is a list: `wrong`, the share of places that are; `length_wrong`, the share of answers with more or
    fewer items; and of integers `mean_absolute_error` over the places that both lists have.

    A text that is no answer has all of its record's places wrong, a wrong length, and no part in the mean.
    """
    found = [_of(reading, name) for reading in readings]
    figures = {
        "wrong": quotient([one.wrong for one in found], [one.places for one in found], samples, seed),
        "length_wrong": share(sum(not one.same_length for one in found), len(found)),
    }
    if any(_integer(item) for reading in readings for item in reading.there.get(name, ())):
        off, count = [one.off for one in found], [one.compared for one in found]
        figures["mean_absolute_error"] = quotient(off, count, samples, seed)
    return figures


def item_pairs(reading: Reading, name: str) -> Iterator[tuple[Any, Any]]:
    """(there, read) place by place, MISSING on the side of the shorter list. Nothing where there is no answer."""
    there, read = reading.field(name)
    if isinstance(read, list):
        yield from zip_longest(there if isinstance(there, list) else (), read, fillvalue=MISSING)


def _of(reading: Reading, name: str) -> Compared:
    there, read = reading.field(name)
    own = there if isinstance(there, list) else []
    if not isinstance(read, list):
        return Compared(len(own), len(own), 0, 0, reading.valid and there is read)
    return compared(own, read)


def _integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
