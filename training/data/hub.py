"""Data sets of the `datasets` library: from a hub by id and commit, or from a folder (Arrow, Parquet, picture folder).

The only place that knows that library's layouts. Wanted: a column of pictures and a column of objects with a box and a
class each. Nothing of a data set is run: the library reads data files only. Source: the library's object-detection layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Image

from safelight.errors import DataError
from training.data import files
from training.data.records import Box, Candidate, Listing, Marked, Quarantined

NAME = "datasets"
LOOKED_FOR = "a `datasets` folder: saved Arrow, Parquet files, or pictures with metadata.jsonl (a column `objects`)"
BOX_FORMATS = ("xywh", "xyxy", "cxcywh")
_BOXES, _CLASSES = ("bbox", "boxes", "bboxes"), ("category", "categories", "label", "labels", "category_id", "class")


@dataclass(frozen=True)
class Columns:
    """Where a data set holds what. image, objects, box, category: names; None: found. format: how four numbers are a box.
    shares: they are shares of the sides, not pixels."""

    image: str | None = None
    objects: str | None = None
    box: str | None = None
    category: str | None = None
    format: str = "xywh"
    shares: bool = False

    def __post_init__(self) -> None:
        if self.format not in BOX_FORMATS:
            raise ValueError(f"format: expected one of {', '.join(BOX_FORMATS)}, got {self.format!r}")


@dataclass(frozen=True)
class RowPicture:
    """A picture in a row of a data set that is not decoded."""

    rows: Dataset
    column: str
    index: int

    def read(self) -> bytes:
        value = self.rows[self.index][self.column]
        if not isinstance(value, dict) or (value.get("bytes") is None and value.get("path") is None):
            raise OSError("no picture in this row")
        data = value.get("bytes")
        return bytes(data) if data is not None else Path(value["path"]).read_bytes()


def evidence(root: Path) -> str | None:
    """What in the folder speaks for this layout; None when nothing does."""
    for name in ("dataset_dict.json", "state.json", "metadata.jsonl", "metadata.csv", "train/metadata.jsonl"):
        if (root / name).is_file():
            return name
    parquet = list(files.walk(root, {".parquet"}))
    return f"{len(parquet)} Parquet files" if parquet else None


def read(root: Path, columns: Columns | None = None, cache: Path | None = None) -> Listing:
    """A data set in a folder. cache: where the library keeps what it converts; None: its own place. Raises DataError."""
    why = evidence(root)
    if why is None:
        raise DataError(f"Expected {LOOKED_FOR} in {root}, found none of it.")
    if why.endswith(".json"):
        loaded = _loaded(datasets.load_from_disk, str(root))
    elif why.endswith(("jsonl", "csv")):
        loaded = _loaded(datasets.load_dataset, "imagefolder", data_dir=str(root), cache_dir=_text(cache))
    else:
        named: dict[str, list[str]] = {}
        for path in files.walk(root, {".parquet"}):
            named.setdefault(files.split_of(path.stem) or files.folder_split(root, path) or "all", []).append(str(path))
        loaded = _loaded(datasets.load_dataset, "parquet", data_files=named, cache_dir=_text(cache))
    return listing(loaded, columns or Columns(), why)


def read_hub(
    hub_id: str, revision: str | None, config: str | None, columns: Columns, cache: Path | None = None
) -> Listing:
    """A data set of the hub. revision: the commit, 40 hex digits, so that it is the same one tomorrow. Raises DataError."""
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise DataError("Expected data.revision as a commit of the data set, 40 hex digits: a branch may move.")
    loaded = _loaded(datasets.load_dataset, hub_id, name=config, revision=revision, cache_dir=_text(cache))
    return listing(loaded, columns, f"{hub_id} at {revision[:12]}")


def listing(loaded: Any, columns: Columns, why: str) -> Listing:
    """What loaded rows say. Raises DataError when a column is not there, or there are no rows."""
    parts = dict(loaded) if isinstance(loaded, DatasetDict) else {"all": loaded}
    several = len(parts) > 1
    candidates: list[Candidate] = []
    quarantined: list[Quarantined] = []
    labels: Sequence[str] = ()
    for name, rows in parts.items():
        split = files.split_of(str(name)) if several else None
        if several and split is None:
            quarantined.append(Quarantined(str(name), None, "a split that is none of train, val, test", bad=False))
            continue
        found = _filled(rows, columns)
        names = _class_names(rows, found)
        if labels and names and list(names) != list(labels):
            raise DataError("Expected the same classes in all splits of the data set.")
        labels = names or labels
        candidates += _candidates(rows, found, names, str(name) if several else "", split)
    return Listing(NAME, why, labels, candidates, quarantined)


def _loaded(load: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return load(*arguments, **options)
    except Exception as error:  # the library raises its own and those of Arrow, of the hub and of the network
        kind = type(error).__name__
        raise DataError(
            f"The data set cannot be loaded ({kind}). Is its path or id, and its revision, right?"
        ) from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _filled(rows: Dataset, given: Columns) -> Columns:
    """The columns, those that are not given found. Raises DataError when one is not there."""
    features = rows.features
    image = given.image or next((name for name, kind in features.items() if isinstance(kind, Image)), None)
    objects = given.objects or next((n for n in ("objects", "annotations", "faces") if n in features), None)
    if image not in features or objects not in features:
        raise DataError(
            f"Expected a column of pictures and one of objects, got {', '.join(features)}. "
            "Name them: data.columns.image, data.columns.objects."
        )
    inner = _inner(features[objects])
    box = given.box or next((n for n in _BOXES if n in inner), None)
    category = given.category or next((n for n in _CLASSES if n in inner), None)
    if box not in inner or category not in inner:
        raise DataError(
            f"Expected a box and a class in the column {objects!r}, got {', '.join(inner) or 'neither'}. "
            "Name them: data.columns.box, data.columns.category."
        )
    return Columns(image, objects, box, category, given.format, given.shares)


def _inner(feature: Any) -> dict[str, Any]:
    """The fields of an objects column, which is a mapping of lists or a list of mappings."""
    if isinstance(feature, dict):
        return feature
    nested = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
    return nested if isinstance(nested, dict) else {}


def _class_names(rows: Dataset, columns: Columns) -> list[str]:
    """Names by number where the column has them; empty otherwise."""
    kind = _inner(rows.features[columns.objects])[str(columns.category)]
    kind = getattr(kind, "feature", kind)
    return list(kind.names) if isinstance(kind, ClassLabel) else []


def _candidates(
    rows: Dataset, columns: Columns, names: Sequence[str], prefix: str, split: str | None
) -> Iterator[Candidate]:
    bare = rows.cast_column(columns.image, Image(decode=False))
    annotations = bare.select_columns([columns.objects])
    ids = bare.select_columns(["image_id"])["image_id"] if "image_id" in rows.features else None
    for index, row in enumerate(annotations):
        own = f"{index:06d}" if ids is None else str(ids[index])
        where = f"{prefix}/{own}" if prefix else own
        objects = [
            Marked(_label(category, names), _box(box, columns.format))
            for category, box in _pairs(row[columns.objects], columns)
        ]
        picture = RowPicture(bare, str(columns.image), index)
        yield Candidate(files.image_id(where), picture, objects, where, split, shares=columns.shares)


def _pairs(value: Any, columns: Columns) -> list[tuple[Any, Any]]:
    """(class, box) of each object, whichever way round the column is built; a missing half is None."""
    if isinstance(value, list):
        return [(o.get(columns.category), o.get(columns.box)) if isinstance(o, dict) else (None, None) for o in value]
    if not isinstance(value, dict):
        return []
    classes, boxes = value.get(columns.category) or [], value.get(columns.box) or []
    longer = max(len(classes), len(boxes))
    return [(_at(classes, i), _at(boxes, i)) for i in range(longer)]


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _label(category: Any, names: Sequence[str]) -> str | None:
    """The name of a class: its own, that of its number, or `class_N` where the data set names none."""
    if isinstance(category, str):
        return category.strip() or None
    if not isinstance(category, int) or isinstance(category, bool) or category < 0:
        return None
    return names[category] if category < len(names) else None if names else f"class_{category}"


def _box(value: Any, form: str) -> Box | None:
    """xyxy of four numbers in one of BOX_FORMATS; None when they are not four numbers."""
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(v, int | float) for v in value):
        return None
    a, b, c, d = (float(v) for v in value)
    if form == "xyxy":
        return (a, b, c, d)
    return (a, b, a + c, b + d) if form == "xywh" else (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
