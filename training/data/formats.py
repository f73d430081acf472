"""Which annotation format a folder holds: told by what is in it, or by the configuration.

Knows the readers by name, and nothing of what they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from safelight.errors import DataError
from training.data import coco, hub, voc, yolo
from training.data.records import Listing

AUTO = "auto"
_READERS: Mapping[str, ModuleType] = {module.NAME: module for module in (coco, voc, yolo, hub)}
FORMATS = (AUTO, *_READERS)


def detect(root: Path) -> tuple[str, str]:
    """(format, what gave it away) of a folder. Raises DataError when nothing does, or more than one format would fit."""
    found = {name: why for name, module in _READERS.items() if (why := module.evidence(root)) is not None}
    if not found:
        wanted = "; ".join(module.LOOKED_FOR for module in _READERS.values())
        raise DataError(f"No known annotation format in {root}. Looked for {wanted}.")
    if len(found) > 1:
        said = "; ".join(f"{name}: {why}" for name, why in found.items())
        raise DataError(f"More than one format would fit ({said}). Say which: data.format={next(iter(found))}.")
    return next(iter(found.items()))


def read(root: Path, form: str, columns: hub.Columns | None = None, cache: Path | None = None) -> Listing:
    """Read a folder in a format of FORMATS. columns, cache: for the format `datasets`. Raises DataError."""
    if form not in FORMATS:
        raise DataError(f"data.format: expected one of {', '.join(FORMATS)}, got {form!r}.")
    if not root.is_dir():
        raise DataError(f"Expected a folder of pictures and annotations at {root}, found none.")
    name = detect(root)[0] if form == AUTO else form
    if name == hub.NAME:
        return hub.read(root, columns, cache)
    if _READERS[name].evidence(root) is None:
        raise DataError(f"Expected {_READERS[name].LOOKED_FOR} in {root}, found none.")
    listing: Listing = _READERS[name].read(root)
    return listing
