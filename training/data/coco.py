"""COCO JSON: one file for all pictures, or one a split.

The only place that knows the COCO format. Category ids may have gaps and any order; crowds (`iscrowd`) are left out on
purpose, because their boxes hold many objects. Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from safelight.errors import DataError
from training.data import files
from training.data.records import Box, Candidate, Listing, Marked, PictureFile, Quarantined

NAME = "coco"
LOOKED_FOR = 'COCO: JSON files with "images", "annotations" and "categories"'
_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_OTHER_TASKS = ("captions", "panoptic", "person_keypoints", "stuff", "image_info")


def evidence(root: Path) -> str | None:
    """What in the folder speaks for this format; None when nothing does."""
    found = _annotation_files(root)
    return f"{files.first([p.relative_to(root).as_posix() for p in found])} with COCO's keys" if found else None


def read(root: Path) -> Listing:
    """All that a folder's COCO files list. Raises DataError when a file is no COCO, when two files say different classes
    of the same id, or when there are several files and their names do not say which split is which."""
    paths = _annotation_files(root)
    splits = {path: files.split_of(path.stem) or files.folder_split(root, path) for path in paths}
    if len(paths) > 1 and None in splits.values():
        unclear = [path.relative_to(root).as_posix() for path, split in splits.items() if split is None]
        raise DataError(
            f"Expected one COCO file, or files named after their splits (train, val, test); no split in the name of "
            f"{files.first(unclear)}."
        )
    names: dict[int, str] = {}
    candidates: list[Candidate] = []
    quarantined: list[Quarantined] = []
    used: set[Path] = set()
    for path in paths:
        document = _document(path)
        names = _merged(names, _categories(document, path), path)
        found, bad = _candidates(document, path, root, splits[path] if len(paths) > 1 else None, used)
        candidates += found
        quarantined += bad
    for path in files.pictures_in(root):
        if path not in used:
            name = files.image_id(files.place(root, path))
            quarantined.append(Quarantined(name, None, "in no annotation file", bad=False))
    labels = list(dict.fromkeys(names[key] for key in sorted(names)))
    return Listing(NAME, evidence(root) or LOOKED_FOR, labels, candidates, quarantined)


def _annotation_files(root: Path) -> list[Path]:
    """JSON files that hold COCO's keys; of COCO's own set, those of detection alone."""
    found = []
    for path in files.walk(root, {".json"}):
        if path.stat().st_size and not path.stem.startswith(_OTHER_TASKS):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if all(data.find(key) >= 0 for key in _KEYS):
                    found.append(path)
    return found


def _document(path: Path) -> dict[str, Any]:
    """The file's object. Raises DataError when it is no JSON or lacks one of COCO's lists."""
    try:
        document = json.loads(files.text_of(path))
    except (ValueError, RecursionError):  # ValueError: no JSON, or a number of thousands of digits
        raise DataError(f"{path.name}: expected COCO JSON, got something that does not parse.") from None
    if not isinstance(document, dict):
        raise DataError(f"{path.name}: expected a JSON object, got {type(document).__name__}.")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise DataError(f"{path.name}: expected a list {key!r}.")
    return document


def _categories(document: Mapping[str, Any], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for category in document["categories"]:
        key, name = (category.get("id"), category.get("name")) if isinstance(category, dict) else (None, None)
        if not _is_id(key) or not isinstance(name, str) or not name.strip():
            raise DataError(f"{path.name}: expected categories with an integer id and a name.")
        if key in names:
            raise DataError(f"{path.name}: category id {key} is there twice.")
        names[key] = name.strip()
    return names


def _merged(known: dict[int, str], more: dict[int, str], path: Path) -> dict[int, str]:
    """Categories of several files. Raises DataError when they disagree."""
    for key, name in more.items():
        if known.get(key, name) != name:
            raise DataError(f"{path.name}: category {key} is {name!r} here and {known[key]!r} in another file.")
    return {**known, **more}


def _candidates(
    document: Mapping[str, Any], path: Path, root: Path, split: str | None, used: set[Path]
) -> tuple[list[Candidate], list[Quarantined]]:
    names = _categories(document, path)
    objects: dict[Any, list[Marked]] = {}
    quarantined: list[Quarantined] = []
    images = {
        image["id"]: image for image in document["images"] if isinstance(image, dict) and _is_key(image.get("id"))
    }
    for index, annotation in enumerate(document["annotations"]):
        owner = annotation.get("image_id") if isinstance(annotation, dict) else None
        if not _is_key(owner) or owner not in images:
            quarantined.append(Quarantined(path.stem, index, "of a picture that is not listed"))
        else:
            objects.setdefault(owner, []).append(_marked(annotation, names))
    candidates, seen = [], set()
    for position, image in enumerate(document["images"]):
        key = image.get("id") if isinstance(image, dict) else None
        name = image.get("file_name") if isinstance(image, dict) else None
        if not _is_key(key) or not isinstance(name, str):
            quarantined.append(Quarantined(f"{path.stem}[{position}]", None, "malformed entry of a picture"))
            continue
        file = _picture(root, path, name, split)
        if key in seen or file is None:
            reason = "another picture has the same id" if key in seen else "no such picture inside the folder"
            quarantined.append(Quarantined(files.image_id(name), None, reason))
            continue
        seen.add(key)
        used.add(file)
        where = files.place(root, file)
        found = objects.get(key, [])
        candidates.append(Candidate(files.image_id(where), PictureFile(file), found, where, split, _size(image)))
    return candidates, quarantined


def _picture(root: Path, annotation: Path, name: str, split: str | None) -> Path | None:
    """The picture that an entry names: beside the file, or in one of the customary folders."""
    own = [split, f"{split}2017", f"{split}2014", "valid" if split == "val" else split] if split else []
    folders = [annotation.parent, root, root / "images"]
    for folder in own:
        folders += [root / str(folder), root / "images" / str(folder), annotation.parent / str(folder)]
    folders += [annotation.parent / "images", annotation.parent.parent / "images"]
    for base in dict.fromkeys(folders):
        if base == root or base.is_relative_to(root):
            found = files.inside(root, base, name)
            if found is not None:
                # A path in one spelling: `a/../b` is refused, `./a` and an absolute one inside the root are not.
                return found if found.is_relative_to(root) else None
    return None


def _marked(annotation: Mapping[str, Any], names: Mapping[int, str]) -> Marked:
    key = annotation.get("category_id")
    label = names.get(key) if _is_id(key) else None
    crowd = annotation.get("iscrowd") in (1, True)
    return Marked(label, _box(annotation.get("bbox")), "crowd" if crowd else None)


def _box(value: Any) -> Box | None:
    """xyxy of COCO's [x, y, width, height]; None when those are not four numbers."""
    if not isinstance(value, list) or len(value) != 4 or not all(_is_number(v) for v in value):
        return None
    try:
        x, y, width, height = (float(v) for v in value)
    except OverflowError:  # an integer beyond every float
        return None
    return (x, y, x + width, y + height)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_key(value: Any) -> bool:
    """Whether something may be a picture's id: COCO has integers, some tools write strings."""
    return _is_id(value) or isinstance(value, str)
