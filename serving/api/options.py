"""The options of a detection or a reading, out of the query string; of a place, only its coarse form. Knows nothing of bodies.

FastAPI's own parsing would ignore unknown names, take the last of several values, and echo what it refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safelight.errors import InvalidOption
from safelight.location import CoarseLocation, coarse_geohash, coarse_zip

NAMES = ("model", "threshold", "classes", "render", "timeout_ms", "latitude", "longitude", "zip")
READ_NAMES = ("model", "zipcode", "timeout_ms")
_LONGEST_MS = 3_600_000


@dataclass(frozen=True)
class DetectOptions:
    """model: None for the default one. threshold: least score, in (0, 1], None for the model's own. classes: labels to
    keep, None for all. render: answer with the annotated picture. location: what is left of the place that was given,
    None when none was. timeout_s: for the answer, None for as long as the service allows."""

    model: str | None = None
    threshold: float | None = None
    classes: tuple[str, ...] | None = None
    render: bool = False
    location: CoarseLocation | None = None
    timeout_s: float | None = None

    @classmethod
    def parse(cls, pairs: Sequence[tuple[str, str]], geohash_precision: int) -> DetectOptions:
        """Options from the query's (name, value) pairs; an empty value is as good as none. geohash_precision: characters
        that are kept of a place. Raises InvalidOption."""
        given = _given(pairs, NAMES)
        if given.get("render", "png") != "png":
            raise InvalidOption("render: expected png, or to be left out for JSON.")
        return cls(
            given.get("model"),
            _threshold(given["threshold"]) if "threshold" in given else None,
            _labels(given["classes"]) if "classes" in given else None,
            "render" in given,
            _location(given, geohash_precision),
            _timeout_s(given["timeout_ms"]) if "timeout_ms" in given else None,
        )

    def class_ids(self, labels: Sequence[str]) -> list[int] | None:
        """`classes` as indices into a model's labels, None for all. Raises InvalidOption."""
        if self.classes is None:
            return None
        if not set(self.classes) <= set(labels):
            raise InvalidOption("classes: expected labels of the model, which /v1/models lists, separated by commas.")
        return [labels.index(label) for label in dict.fromkeys(self.classes)]


@dataclass(frozen=True)
class ReadOptions:
    """model: None for the default one. location: what is left of the ZIP code that was given, None when none was. timeout_s:
    for the answer, None for as long as the service allows."""

    model: str | None = None
    location: CoarseLocation | None = None
    timeout_s: float | None = None

    @classmethod
    def parse(cls, pairs: Sequence[tuple[str, str]]) -> ReadOptions:
        """As `DetectOptions.parse`. Raises InvalidOption."""
        given = _given(pairs, READ_NAMES)
        return cls(
            given.get("model"),
            CoarseLocation(zip3=coarse_zip(given["zipcode"], "zipcode")) if "zipcode" in given else None,
            _timeout_s(given["timeout_ms"]) if "timeout_ms" in given else None,
        )


def _given(pairs: Sequence[tuple[str, str]], known: Sequence[str]) -> dict[str, str]:
    """The options that have a value. Raises InvalidOption for one that is not known, or given twice."""
    names = [name for name, _ in pairs]
    if not set(names) <= set(known):
        raise InvalidOption(f"The query may hold {', '.join(known)} only.")
    if len(set(names)) != len(names):
        raise InvalidOption("Each option may be given once.")
    return {name: value for name, value in pairs if value}


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:  # false for nan, too
        raise InvalidOption("threshold: expected a number above 0 and at most 1, such as 0.25.")
    return value


def _timeout_s(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LONGEST_MS)) and 1 <= int(text) <= _LONGEST_MS):
        raise InvalidOption(f"timeout_ms: expected whole milliseconds from 1 to {_LONGEST_MS}.")
    return int(text) / 1000


def _location(given: Mapping[str, str], geohash_precision: int) -> CoarseLocation | None:
    if ("latitude" in given) != ("longitude" in given):
        raise InvalidOption("Expected latitude and longitude together, or neither.")
    if not {"latitude", "zip"} & set(given):
        return None
    return CoarseLocation(
        coarse_geohash(given["latitude"], given["longitude"], geohash_precision) if "latitude" in given else None,
        coarse_zip(given["zip"]) if "zip" in given else None,
    )


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.split(","))
