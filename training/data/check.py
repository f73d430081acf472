"""A listing to scenes, every record checked.

A record that does not hold is quarantined with its reason, never mended beyond the configured overhang and never silently
dropped. Pictures are decoded one after another by a few threads; none is kept.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from safelight.errors import DataError
from training.data.pictures import looks, opened
from training.data.records import Box, Candidate, Found, Listing, Looks, Marked, Quarantined, Rules, Scene

SMALLEST_SIDE = 0.01
"""Pixels. A box thinner than this vanishes when its corners become 32-bit numbers on a large picture."""

Progress = Callable[[Iterable[Candidate]], Iterable[Candidate]]
"""Wraps what is gone through, to show how far it is."""


@dataclass(frozen=True)
class _Seen:
    """What opening a picture told. reason: why it cannot be used."""

    size: tuple[int, int] = (0, 0)
    looks: Looks | None = None
    reason: str | None = None


def checked(listing: Listing, rules: Rules, progress: Progress = iter) -> Found:
    """Check every record of a listing.

    Raises DataError when a configured class has no place, or when more than `rules.max_quarantined` of the objects, or of
    the pictures, are bad.
    """
    quarantined = list(listing.quarantined)
    candidates, doubles = _unique(listing.candidates)
    quarantined += doubles
    labels = list(rules.labels) if rules.labels is not None else _names(listing, rules)
    scenes: list[Scene] = []
    clipped = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        seen = threads.map(lambda candidate: _look(candidate, rules.max_pixels), candidates)
        for candidate, found in zip(progress(candidates), seen, strict=True):
            if found.reason is not None:
                quarantined.append(Quarantined(candidate.image_id, None, found.reason))
                continue
            scene, bad, cut = _scene(candidate, found, labels, rules)
            scenes.append(scene)
            quarantined += bad
            clipped += cut
    _refuse_too_many(scenes, quarantined, rules.max_quarantined)
    unused: list[str] = []
    if rules.labels is None:
        scenes, labels, unused = _only_used(scenes, labels)
    records = sum(len(scene.boxes) for scene in scenes) + len(quarantined)
    return Found(
        listing.format, listing.why, tuple(labels), tuple(scenes), tuple(quarantined), records, clipped, tuple(unused)
    )


def reasons(quarantined: Sequence[Quarantined]) -> dict[str, int]:
    """How often each reason, most frequent first."""
    return dict(Counter(q.reason for q in quarantined).most_common())


def _unique(candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Quarantined]]:
    """The first candidate of each id, and a quarantined record for each further one."""
    first: dict[str, Candidate] = {}
    doubles = []
    for candidate in candidates:
        if candidate.image_id in first:
            doubles.append(Quarantined(candidate.image_id, None, "another picture has the same id"))
        else:
            first[candidate.image_id] = candidate
    return list(first.values()), doubles


def _names(listing: Listing, rules: Rules) -> list[str]:
    """Class names where none are configured: of the map, else declared, else as they occur, sorted."""
    if rules.class_map is not None:
        return list(dict.fromkeys(name for name in rules.class_map.values() if name is not None))
    occurring = {o.label for c in listing.candidates for o in c.objects if o.label and o.aside is None}
    return list(dict.fromkeys([*listing.labels, *sorted(occurring - set(listing.labels))]))


def _look(candidate: Candidate, max_pixels: int) -> _Seen:
    """Open the picture, if only to know that it can be opened."""
    try:
        picture = opened(candidate.picture.read(), max_pixels)
    except DataError as error:
        return _Seen(reason=str(error))
    except OSError:
        return _Seen(reason="unreadable image")
    claimed = candidate.size
    if claimed is not None and claimed != picture.size:
        if picture.turned and claimed == picture.size[::-1]:
            return _Seen(reason="annotated before it was turned upright")
        return _Seen(reason="not of the size that was annotated")
    return _Seen(picture.size, looks(picture.pixels))


def _scene(
    candidate: Candidate, seen: _Seen, labels: Sequence[str], rules: Rules
) -> tuple[Scene, list[Quarantined], int]:
    """The scene with its good boxes, the bad ones, and how many were clipped."""
    boxes: list[Box] = []
    classes: list[int] = []
    quarantined: list[Quarantined] = []
    clipped, index_of = 0, {label: index for index, label in enumerate(labels)}
    known: set[tuple[int, Box]] = set()
    scale = (*seen.size, *seen.size) if candidate.shares else (1, 1, 1, 1)
    for index, marked in enumerate(candidate.objects):
        label, reason, bad = _class(marked, rules)
        box, over = (None, False) if marked.box is None else _inside(marked.box, scale, seen.size, rules.max_overhang)
        if reason is None:
            reason = _reason(marked.box, box)
        if reason is None and box is not None and label is not None:
            if (index_of[label], box) in known:
                reason = "the same box twice"
            else:
                known.add((index_of[label], box))
                boxes.append(box)
                classes.append(index_of[label])
                clipped += over
        if reason is not None:
            quarantined.append(Quarantined(candidate.image_id, index, reason, bad))
    c = candidate
    return Scene(c.image_id, c.picture, seen.size, boxes, classes, c.place, c.split, seen.looks), quarantined, clipped


def _class(marked: Marked, rules: Rules) -> tuple[str | None, str | None, bool]:
    """(our class name, why the record cannot be used, whether that makes it a bad one)."""
    if marked.aside is not None:
        return None, marked.aside, False
    if marked.box is None or not all(map(math.isfinite, marked.box)):
        return None, "malformed", True
    try:
        label = rules.label(marked.label or "") if marked.label else None
    except KeyError:
        return None, "unknown class", True
    if not marked.label:
        return None, "unknown class", True
    return label, None if label is not None else "class left out", label is not None


def _inside(
    box: Box, scale: tuple[int, int, int, int], size: tuple[int, int], overhang: float
) -> tuple[Box | None, bool]:
    """The box in pixels, clipped when it reaches over the border by at most `overhang`; None when by more."""
    x0, y0, x1, y1 = (corner * factor for corner, factor in zip(box, scale, strict=True))
    width, height = size
    over = max(-x0, -y0, x1 - width, y1 - height)
    rounding = 2e-6 * max(size)  # shares are written with six decimals, and some tools compute pixels from them
    if over > max(overhang, rounding):
        return None, False
    return (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))), over > rounding


def _reason(said: Box | None, box: Box | None) -> str | None:
    """Why a box cannot be used; None when it can. said: as annotated. box: inside the picture, None when it is not."""
    if said is None:
        return "malformed"
    if not (said[2] > said[0] and said[3] > said[1]):
        return "zero area"
    if box is None:
        return "outside the picture"
    return "zero area" if min(box[2] - box[0], box[3] - box[1]) < SMALLEST_SIDE else None


def _refuse_too_many(scenes: Sequence[Scene], quarantined: Sequence[Quarantined], most: float) -> None:
    """Raises DataError when too large a share is bad, of the objects or of the pictures."""
    objects = [q for q in quarantined if q.bad and q.record is not None]
    pictures = [q for q in quarantined if q.bad and q.record is None]
    for name, bad, good in (
        ("records", objects, sum(len(s.boxes) for s in scenes)),
        ("pictures", pictures, len(scenes)),
    ):
        total = good + len(bad)
        if len(bad) > most * total:
            raise DataError(
                f"{len(bad)} of {total} {name} are bad {reasons(bad)}: more than {most:.0%} (data.max_quarantined). "
                f"The first: {', '.join(dict.fromkeys(q.scene for q in bad[:5]))}."
            )


def _only_used(scenes: Sequence[Scene], labels: Sequence[str]) -> tuple[list[Scene], list[str], list[str]]:
    """The scenes with classes counted anew over the labels that have a box; those labels; and the others."""
    used = {class_id for scene in scenes for class_id in scene.classes}
    kept = [label for index, label in enumerate(labels) if index in used]
    new = {index: kept.index(labels[index]) for index in used}
    changed = [replace(s, classes=[new[class_id] for class_id in s.classes]) for s in scenes]
    return changed, kept, [label for index, label in enumerate(labels) if index not in used]
