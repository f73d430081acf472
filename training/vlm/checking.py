"""Records whose pictures were opened: what they look like, how good they are, and which lines say the same or contradict.

Pictures are decoded by a few threads, and none is kept. Knows nothing of JSON or of splits, but for those that are given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from safelight.errors import DataError
from safelight.reader.quality import Problem, Quality, QualityLimits, measure, problems
from training.data.pictures import looks, opened
from training.data.records import Looks
from training.vlm.records import IMAGE_PATH, Listing, Quarantined, Reason, Record, kinds

Progress = Callable[[Iterable[Record]], Iterable[Record]]
"""Wraps what is gone through, to show how far it is."""


@dataclass(frozen=True)
class Rules:
    """max_pixels: of a picture. limits: of its quality; None: measured, not held to. max_quarantined: share of lines above
    which all of them are refused."""

    max_pixels: int = 150_000_000
    limits: QualityLimits | None = None
    max_quarantined: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.max_quarantined <= 1 or self.max_pixels < 1:
            raise ValueError("expected 0 <= max_quarantined <= 1 and max_pixels >= 1")


@dataclass(frozen=True)
class Checked:
    """A record with its picture looked at. plain: any reader of its bytes gets the same pixels from them."""

    record: Record
    looks: Looks
    quality: Quality
    plain: bool


@dataclass(frozen=True)
class Found:
    """lines: of all files; each is in `records` or in `quarantined`."""

    records: tuple[Checked, ...]
    quarantined: tuple[Quarantined, ...]
    lines: int


def checked(listing: Listing, rules: Rules, progress: Progress = iter) -> Found:
    """Open the picture of every record; set aside those that cannot be used."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        seen = threads.map(lambda record: _look(record, rules), listing.records)
        looked = [own for _, own in zip(progress(listing.records), seen, strict=True)]
    good = [own for own in looked if isinstance(own, Checked)]
    bad = [own for own in looked if isinstance(own, Quarantined)]
    kept, doubles = _once(good)
    return Found(tuple(kept), (*listing.quarantined, *bad, *doubles), listing.lines)


def refuse_too_many(found: Found, max_quarantined: float) -> None:
    """Raises DataError where nothing is left, or more than that share of the lines was set aside."""
    bad = len(found.quarantined)
    why = ", ".join(f"{kind} {count}" for kind, count in kinds(found.quarantined).items())
    if not found.records:
        raise DataError(f"Expected at least one record that holds, got none of {found.lines} lines ({why or 'empty'}).")
    if bad > max_quarantined * found.lines:
        raise DataError(
            f"{bad} of {found.lines} lines were set aside ({why}): more than {max_quarantined:.0%} "
            "(task.max_quarantined)."
        )


def _look(record: Record, rules: Rules) -> Checked | Quarantined:
    try:
        picture = opened(record.picture.read_bytes(), rules.max_pixels)
    except OSError:
        return _aside(record, [Reason("picture", f"/{IMAGE_PATH}", "the file cannot be read")])
    except DataError as error:
        return _aside(record, [Reason("picture", f"/{IMAGE_PATH}", error.detail)])
    quality = measure(picture.pixels)
    if rules.limits is not None and (wrong := problems(quality, rules.limits)):
        return _aside(record, [Reason("quality", f"/{IMAGE_PATH}", _said(problem)) for problem in wrong])
    return Checked(record, looks(picture.pixels), quality, picture.plain)


def _once(good: Sequence[Checked]) -> tuple[list[Checked], list[Quarantined]]:
    """Records by their pixels: of those that say the same within a split, the first; none of those that contradict."""
    same: dict[str, list[Checked]] = {}
    for own in good:
        same.setdefault(own.looks.sha256, []).append(own)
    kept, aside = [], []
    for own in good:
        others = same[own.looks.sha256]
        contrary = next((o for o in others if o.record.answer != own.record.answer), None)
        before = others[: next(i for i, o in enumerate(others) if o is own)]
        double = next((o for o in before if o.record.split == own.record.split), None)
        if contrary is not None:
            aside.append(
                _aside(own.record, [_about("contradiction", contrary.record, "says otherwise of this picture")])
            )
        elif double is not None:
            aside.append(_aside(own.record, [_about("duplicate", double.record, "has this picture already")]))
        else:
            kept.append(own)
    return kept, aside


def _about(kind: str, other: Record, said: str) -> Reason:
    message = f"line {other.line} of {other.file} {said}"
    return Reason("contradiction" if kind == "contradiction" else "duplicate", f"/{IMAGE_PATH}", message)


def _aside(record: Record, reasons: Sequence[Reason]) -> Quarantined:
    return Quarantined(record.file, record.line, tuple(reasons), record.text)


def _said(problem: Problem) -> str:
    side = "least" if problem.value < problem.limit else "most"
    return f"{problem.measure} {problem.value:.4g}, expected at {side} {problem.limit:.4g}: {problem.advice}"
