"""What a data set says, before and after it was checked.

A reader turns files into a `Listing`, unchecked; training/data/check.py turns that into a `Found`. Knows nothing of
annotation formats, of how pictures are stored or of learners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Box = tuple[float, float, float, float]
"""xyxy, pixels."""

SPLITS = ("train", "val", "test")


class Picture(Protocol):
    """Where the bytes of a picture come from; they are read when they are needed and not kept."""

    def read(self) -> bytes:
        """The encoded picture. Raises OSError when it cannot be had."""
        ...


@dataclass(frozen=True)
class PictureFile:
    """A picture in a file of its own."""

    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()


@dataclass(frozen=True)
class Marked:
    """One object as the annotation says it, unchecked.

    label: the file's class name, None when it has none. box: xyxy in the listing's unit, None when its numbers are
    malformed. aside: why it is left out on purpose (a crowd, say); it is then reported, but is no bad record.
    """

    label: str | None
    box: Box | None
    aside: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A picture with what is said of it, unchecked.

    place: its path inside the data set, without the suffix, for grouping. split: the given one, if any. size: the
    (width, height) that the annotation claims. shares: boxes are shares of the sides, not pixels.
    """

    image_id: str
    picture: Picture
    objects: Sequence[Marked]
    place: str
    split: str | None = None
    size: tuple[int, int] | None = None
    shares: bool = False


@dataclass(frozen=True)
class Quarantined:
    """A record that was set aside. scene: the scene's id. record: index of the object, None for the whole scene.
    bad: False for what the data set itself, or the configuration, leaves out on purpose."""

    scene: str
    record: int | None
    reason: str
    bad: bool = True


@dataclass(frozen=True)
class Listing:
    """What a reader found. format and why: which one, and what gave it away. labels: class names the data set declares,
    in its order; empty when it declares none. quarantined: what could not even become a candidate."""

    format: str
    why: str
    labels: Sequence[str]
    candidates: Sequence[Candidate]
    quarantined: Sequence[Quarantined] = ()


@dataclass(frozen=True)
class Looks:
    """What a picture looks like. sha256: of its upright pixels. phash, dhash: perceptual, 64 bits each. flat: too little
    is on it for perceptual hashes to mean anything."""

    sha256: str
    phash: int
    dhash: int
    flat: bool


@dataclass(frozen=True)
class Scene:
    """A checked picture with its boxes. size: of the upright picture. boxes: xyxy pixels. classes: index into the labels,
    one for each box. place, split: as in `Candidate`."""

    image_id: str
    picture: Picture
    size: tuple[int, int]
    boxes: Sequence[Box]
    classes: Sequence[int]
    place: str = ""
    split: str | None = None
    looks: Looks | None = None


@dataclass(frozen=True)
class Found:
    """A checked data set. records: objects in all, good and bad. clipped: boxes that reached over the border by no more
    than is allowed. unused: declared class names without a single good box; they are not among the labels that were found.
    """

    format: str
    why: str
    labels: tuple[str, ...]
    scenes: tuple[Scene, ...]
    quarantined: tuple[Quarantined, ...]
    records: int
    clipped: int = 0
    unused: tuple[str, ...] = ()

    @property
    def splits(self) -> Mapping[str, tuple[Scene, ...]] | None:
        """The scenes of each split that the data set itself gives; None when it gives none."""
        given = {name: tuple(s for s in self.scenes if s.split == name) for name in SPLITS}
        return {name: scenes for name, scenes in given.items() if scenes} or None


@dataclass(frozen=True)
class Rules:
    """When a record holds. labels: the classes wanted, in order; None: those found. class_map: from the file's class names
    to ours, None as a value leaves a class out on purpose; no map: names stay. max_overhang: pixels a box may reach over
    the border; it is clipped then. max_pixels: of a picture. max_quarantined: share of bad records, or of bad pictures,
    above which the whole data set is refused."""

    labels: Sequence[str] | None = None
    class_map: Mapping[str, str | None] | None = None
    max_overhang: float = 0.0
    max_pixels: int = 150_000_000
    max_quarantined: float = 0.05
    known: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.max_quarantined <= 1 or self.max_overhang < 0 or self.max_pixels < 1:
            raise ValueError("expected 0 <= max_quarantined <= 1, max_overhang >= 0 and max_pixels >= 1")
        if self.labels is not None and (not self.labels or len(set(self.labels)) != len(self.labels)):
            raise ValueError("labels: expected class names that differ, at least one")
        object.__setattr__(self, "known", frozenset(self.labels or ()))

    def label(self, name: str) -> str | None:
        """Our name for a file's class name; None when it is left out. Raises KeyError when it is unknown."""
        ours = name if self.class_map is None else self.class_map[name]
        if ours is not None and self.labels is not None and ours not in self.known:
            raise KeyError(name)
        return ours
