"""What an evaluation of a reader leaves in its folder: errors as tables and charts, reliability, and sheets of pictures.

Knows nothing of models or of where the folder is. It is told which pictures may be shown: none of private data.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from safelight.reader.manifest import Calibration
from training.evaluation.charts import confusion_chart, reliability_chart
from training.evaluation.confusion import rows
from training.vlm.evaluation.calibration import Sure, bin_rows, bins
from training.vlm.evaluation.confusions import confusion_of, kinds
from training.vlm.evaluation.reading import Reading
from training.vlm.evaluation.sheet import Shown, sheet

Readings = Mapping[str, Sequence[Reading]]
"""By split, as the reader is served: with constraint."""


@dataclass(frozen=True)
class Exhibit:
    """A sheet of pictures. title: what they are, in words."""

    title: str
    shown: Sequence[Shown]


def write_errors(folder: Path, readings: Readings, fields: Sequence[str]) -> None:
    """errors.csv, what went wrong how often; of each property with few values, and of items of lists, confusion_NAME.csv (a
    row for each answer, as DVC's template takes them) and confusion_NAME.png, of the test split."""
    found = [(split, kind, count) for split, those in readings.items() for kind, count in kinds(those, fields)]
    _write_csv(folder / "errors.csv", [("split", "kind", "answers"), *found])
    for number, name in enumerate(fields):
        if confused := confusion_of(readings["test"], name):
            values, counts = confused
            stem = f"confusion_{file_name(name, number, fields)}"
            _write_csv(folder / f"{stem}.csv", [("actual", "predicted"), *rows(counts, values)])
            (folder / f"{stem}.png").write_bytes(confusion_chart(counts, values))


def write_reliability(folder: Path, readings: Readings, by: Calibration, fitted: bool) -> None:
    """calibration.json, the two numbers and nothing else; reliability.json, bins by split before and after; reliability.png,
    those of the test split."""
    _write_json(folder / "calibration.json", by.model_dump())
    sure = {split: Sure.of(those) for split, those in readings.items()}
    both = {
        split: {"before": bin_rows(bins(one, Calibration())), "after": bin_rows(bins(one, by))}
        for split, one in sure.items()
    }
    _write_json(folder / "reliability.json", both)
    how = f"scale {by.scale:.2f}, offset {by.offset:+.2f}"
    after = bins(sure["test"], by) if fitted else None
    (folder / "reliability.png").write_bytes(reliability_chart(bins(sure["test"], Calibration()), after, how))


def write_gallery(folder: Path, exhibits: Mapping[str, Exhibit], fields: Sequence[str]) -> None:
    """One PNG an exhibit that has pictures, by its name."""
    for name, exhibit in exhibits.items():
        if exhibit.shown:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet(exhibit.shown, fields, exhibit.title)).save(folder / f"{name}.png", optimize=True)


def file_name(field: str, number: int, fields: Sequence[str]) -> str:
    """A property's name as a part of a file's: its own where it is plain and no other's, else its number."""
    plain = re.sub(r"[^a-z0-9_-]", "_", field.lower())
    alone = sum(re.sub(r"[^a-z0-9_-]", "_", other.lower()) == plain for other in fields) == 1
    return plain if alone and len(plain) <= 64 else str(number)


def _write_csv(path: Path, lines: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    path.write_text(text.getvalue(), encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
