"""The files of a data set: which pictures lie in a folder, where a named one is, which split a path speaks of.

Knows nothing of annotation formats. Whatever an annotation file names stays inside the data set's folder: no absolute path
elsewhere, no `..`, no link out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from safelight.errors import DataError
from training.data.pictures import SUFFIXES

MAX_ANNOTATION_BYTES = 2 << 30
_SPLIT = re.compile(r"(?:^|[^a-z])(train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)(?:\d{4})?(?:[^a-z]|$)")
_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}


def walk(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """Files below a folder whose suffix (lower case) is one of these, in the order of their paths; hidden ones are not
    looked at, and links that lead out of the folder are not followed."""
    wanted, root = frozenset(suffixes), folder.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in wanted and not hidden and path.is_file() and path.resolve().is_relative_to(root):
            yield path


def pictures_in(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their paths."""
    return list(walk(folder, SUFFIXES))


def inside(root: Path, base: Path, name: str) -> Path | None:
    """The file that an annotation names, relative to `base`; None when there is none inside `root`."""
    text = name.replace("\\", "/")
    if not text or "\0" in text or ".." in PurePosixPath(text).parts:
        return None
    try:
        path = base / text  # an absolute name replaces the base
        return path if path.is_file() and path.resolve().is_relative_to(root.resolve()) else None
    except OSError:  # a name too long for this file system
        return None


def place(root: Path, path: Path) -> str:
    """Where a picture lies in its data set, without its suffix: `train/a`."""
    return path.relative_to(root).with_suffix("").as_posix()


def image_id(place: str) -> str:
    """A place as one word that may name a file."""
    return place.replace("/", "__")


def split_of(*names: str) -> str | None:
    """The split that one of these file or folder names speaks of (`train2017`, `valid`, `my_test`), the first that does."""
    for name in names:
        found = _SPLIT.search(name.lower())
        if found:
            return _NAMES.get(found[1], "val")
    return None


def folder_split(root: Path, path: Path) -> str | None:
    """The split that the folders around a file speak of, the innermost first; only folders named like a split and no more
    (`train2017`, not `train_station`)."""
    for part in reversed(path.relative_to(root).parts[:-1]):
        if re.fullmatch(r"(train(ing)?|val(id(ation)?)?|dev|test(ing)?)(\d{4})?", part.lower()):
            return split_of(part)
    return None


def text_of(path: Path) -> str:
    """An annotation file as text. Raises DataError when it is too large or no UTF-8."""
    try:
        if path.stat().st_size > MAX_ANNOTATION_BYTES:
            raise DataError(f"{path.name}: expected at most {MAX_ANNOTATION_BYTES >> 30} GiB of annotations.")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: expected text in UTF-8.") from None
    except OSError:
        raise DataError(f"{path.name}: it cannot be read.") from None


def first(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names, for a person."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
