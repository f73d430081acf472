"""YOLO folders: a text file a picture, each line a class number and a box as shares of the picture's sides.

The only place that knows the YOLO format. Layouts: `images/train` with `labels/train` (Ultralytics), `train/images` with
`train/labels` (Roboflow), `images` with `labels`, and text files beside the pictures (Darknet). A line with a polygon
becomes the box around it. A picture without a text file has no objects: that is this format's custom.
Source: the data set formats that Ultralytics and Darknet document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from safelight.errors import DataError
from training.data import files
from training.data.records import SPLITS, Box, Candidate, Listing, Marked, PictureFile, Quarantined

NAME = "yolo"
LOOKED_FOR = "YOLO: text files of lines `class cx cy width height` in labels/ or beside the pictures"
_NOT_LABELS = frozenset({"classes", "obj.names", "readme", "train", "val", "valid", "test", "requirements", "license"})
_PROBED = 50  # text files looked into, to tell labels from other texts


@dataclass(frozen=True)
class _Description:
    """What data.yaml or classes.txt say. names: by number. lists: the pictures of each split. keypoints: lines go on
    after the box."""

    names: Mapping[int, str]
    lists: Mapping[str, Sequence[str]]
    keypoints: bool = False


def evidence(root: Path) -> str | None:
    """What in the folder speaks for this format; None when nothing does."""
    texts = list(_label_files(root))
    probed = texts[:_PROBED]
    good = sum(any(_numbers(line) for line in _lines(path)) for path in probed)
    # Empty text files are pictures without objects; something must be labelled somewhere, though.
    if not good and not (probed and _description_file(root)):
        return None
    where = "in labels/" if any("labels" in p.relative_to(root).parts for p in probed) else "beside the pictures"
    return f"{len(texts)} text files {where}, {good} of the first {len(probed)} with lines of class and box"


def read(root: Path) -> Listing:
    """All pictures below a folder and what their text files say. Raises DataError when there is no picture, or data.yaml
    or classes.txt do not parse."""
    described = _described(root)
    pictures = files.pictures_in(root)
    if not pictures:
        raise DataError(f"Expected pictures for the YOLO text files in {root}, found none.")
    splits = _splits(root, pictures, described)
    listed = set(splits.values()) != {None}
    candidates: list[Candidate] = []
    quarantined: list[Quarantined] = []
    used: set[Path] = set()
    for path in pictures:
        where = _place(root, path)
        image_id, labels = files.image_id(where), _labels_of(path)
        if splits[path] is None and listed:
            quarantined.append(Quarantined(image_id, None, "in no split of the data set", bad=False))
            used.add(labels)
            continue
        used.add(labels)
        objects: list[Marked] = []
        if labels.is_file():
            try:
                objects = [_marked(line, described) for line in files.text_of(labels).splitlines() if line.strip()]
            except DataError:
                quarantined.append(Quarantined(image_id, None, "malformed annotation file"))
                continue
        candidates.append(Candidate(image_id, PictureFile(path), objects, where, splits[path], shares=True))
    orphans = [_place(root, path) for path in _label_files(root) if path not in used]
    quarantined += [Quarantined(files.image_id(name), None, "no such picture") for name in orphans]
    names = list(dict.fromkeys(described.names[key] for key in sorted(described.names)))
    return Listing(NAME, evidence(root) or LOOKED_FOR, names, candidates, quarantined)


def _label_files(root: Path) -> Iterator[Path]:
    """Text files that may be labels: below a folder `labels` where there is one, else beside pictures."""
    texts = [path for path in files.walk(root, {".txt"}) if path.stem.lower() not in _NOT_LABELS]
    below = [path for path in texts if "labels" in path.relative_to(root).parts[:-1]]
    if below:
        yield from below
    else:
        stems = {path.with_suffix("") for path in files.pictures_in(root)}
        yield from (path for path in texts if path.with_suffix("") in stems)


def _lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        return file.read(4096).decode("utf-8", "replace").splitlines()[:20]


def _labels_of(picture: Path) -> Path:
    """The text file of a picture: the last folder `images` on its path becomes `labels`, else it is beside the picture."""
    parts = list(picture.with_suffix(".txt").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            return Path(*parts[:index], "labels", *parts[index + 1 :])
    return picture.with_suffix(".txt")


def _place(root: Path, path: Path) -> str:
    parts = PurePosixPath(files.place(root, path)).parts
    return "/".join(part for part in parts if part not in ("images", "labels")) or parts[-1]


def _description_file(root: Path) -> Path | None:
    """data.yaml and its like, or a list of names."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if "names" in files.text_of(path):
            return path
    names = ("classes.txt", "obj.names", "labels/classes.txt", "classes.names")
    return next((root / name for name in names if (root / name).is_file()), None)


def _described(root: Path) -> _Description:
    path = _description_file(root)
    if path is None:
        return _Description({}, {})
    text = files.text_of(path)
    if path.suffix not in (".yaml", ".yml"):
        return _Description(dict(enumerate(line.strip() for line in text.splitlines() if line.strip())), {})
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise DataError(f"{path.name}: expected YAML, got something that does not parse.") from None
    if not isinstance(values, dict):
        raise DataError(f"{path.name}: expected a mapping with `names`.")
    lists = {name: _entries(values.get(name, values.get("valid") if name == "val" else None)) for name in SPLITS}
    return _Description(_names(values.get("names"), path), lists, "kpt_shape" in values)


def _names(value: Any, path: Path) -> dict[int, str]:
    """Class names by number, from a list or a mapping of numbers."""
    pairs = (
        list(enumerate(value)) if isinstance(value, list) else list(value.items()) if isinstance(value, dict) else []
    )
    names: dict[int, str] = {}
    for key, name in pairs:
        if isinstance(key, str) and key.isdecimal() and len(key) < 10:
            key = int(key)
        if (
            not isinstance(key, int)
            or isinstance(key, bool)
            or not isinstance(name, str | int)
            or not str(name).strip()
        ):
            raise DataError(f"{path.name}: expected `names` as a list, or as a mapping from numbers to names.")
        names[key] = str(name).strip()
    if not names:
        raise DataError(f"{path.name}: expected `names`, the classes, found none.")
    return names


def _entries(value: Any) -> list[str]:
    """Paths of a split: one or several. What leads out of the folder (`../train/images`, as exports have it for a folder
    layout that is not theirs) is read as lying inside."""
    given = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    parts = [[p for p in PurePosixPath(str(v)).parts if p not in ("..", ".", "/")] for v in given]
    return ["/".join(p) for p in parts if p]


def _splits(root: Path, pictures: Sequence[Path], described: _Description) -> dict[Path, str | None]:
    """The split of each picture: as data.yaml lists it where all of its paths exist, else as the folders say."""
    found: dict[Path, str] = {}
    listed = [(split, root / entry) for split, entries in described.lists.items() for entry in entries]
    if any(target == root or not target.exists() for _, target in listed):
        listed = []  # written for another machine or layout
    for split, target in listed:
        if target.is_file() and target.suffix == ".txt":
            base = target.parent
            named = (line.strip() for line in files.text_of(target).splitlines())
            for name in filter(None, named):
                file = files.inside(root, base, name)
                if file is not None:
                    found.setdefault(base / name.replace("\\", "/"), split)
        elif target.is_dir():
            for path in pictures:
                if path.is_relative_to(target):
                    found.setdefault(path, split)
    if found:
        return {path: found.get(path) for path in pictures}
    return {path: files.folder_split(root, path) for path in pictures}


def _numbers(line: str) -> list[float] | None:
    """The numbers of a line that may be a label: a class and a box or a polygon. None when it is not."""
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        return None
    return values if len(values) >= 5 else None


def _marked(line: str, described: _Description) -> Marked:
    """One line. Its class is the name of its number; a number without a name, in a data set that has names, is unknown."""
    values = _numbers(line)
    if values is None:
        return Marked(None, None)
    number = int(values[0]) if values[0].is_integer() and abs(values[0]) < 1e9 else None
    label = None if number is None else described.names.get(number)
    if not described.names and number is not None and number >= 0:
        label = f"class_{number}"
    return Marked(label, _box(values[1:], described.keypoints))


def _box(values: Sequence[float], keypoints: bool) -> Box | None:
    """xyxy shares, from [cx, cy, width, height] or from a polygon [x, y, x, y, x, y ...]; None for any other count."""
    if len(values) == 4 or keypoints:
        x, y, width, height = values[:4]
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) < 6 or len(values) % 2:
        return None
    return (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
