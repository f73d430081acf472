"""A prepared folder: a JSONL and a folder of pictures a split, all of which hold, and what is to be said of them.

Knows nothing of how records were checked or parted. training/vlm/prepared.py reads what is written here.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.data.duplicates import Pair
from training.data.pictures import opened
from training.vlm.checking import Checked, Found
from training.vlm.parting import SPLITS, Leak
from training.vlm.records import IMAGE_PATH, kinds, write_quarantine

QUARANTINE, ORIGINS, REPORT = "quarantine.jsonl", "origins.jsonl", "report.json"
_MEASURES = ("sharpness", "luminance", "dark", "bright", "contrast", "width", "height")


def write_prepared(folder: Path, found: Found, splits: Sequence[str], max_pixels: int) -> dict[str, str]:
    """Write NAME.jsonl a split, images/, origins.jsonl (which line of which file each picture came from) and
    quarantine.jsonl. splits: of each record. Returns each split's SHA-256, over answers and pixels.

    A picture keeps its encoded bytes, metadata and all, where every reader gets the same upright pixels from them; any other
    becomes a PNG.
    """
    (folder / "images").mkdir(parents=True)
    origins = []
    digests = {}
    for split in (name for name in SPLITS if name in splits):
        digest = hashlib.sha256()
        lines = []
        own = [record for record, name in zip(found.records, splits, strict=True) if name == split]
        for number, checked in enumerate(own):
            place = f"images/{split}_{number:06d}"
            place += _keep(checked, folder / place, max_pixels)
            lines.append(json.dumps({IMAGE_PATH: place, **checked.record.answer}))
            digest.update(f"{checked.looks.sha256} {json.dumps(checked.record.answer)}\n".encode())
            origins.append(json.dumps({IMAGE_PATH: place, "file": checked.record.file, "line": checked.record.line}))
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), "ascii")
        digests[split] = digest.hexdigest()
    (folder / ORIGINS).write_text("".join(f"{line}\n" for line in origins), "ascii")
    write_quarantine(folder / QUARANTINE, found.quarantined)
    return digests


def report(
    name: str, found: Found, splits: Sequence[str], groups: Sequence[str | None], pairs: Sequence[Pair], leak: Leak,
    digests: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """report.json: counts, the quality of pictures, digests, and what splits have in common. It quotes no record."""
    across = sum(splits[pair.first] != splits[pair.second] for pair in pairs)
    return {
        "name": name,
        "lines": found.lines,
        "records": len(found.records),
        "quarantined": len(found.quarantined),
        "reasons": kinds(found.quarantined),
        "splits": {split: _split(found, splits, groups, split, digests[split]) for split in digests},
        "duplicates": {"pairs": len(pairs), "across": across, "exact": sum(pair.exact for pair in pairs)},
        "leaked": asdict(leak),
    }


def said(values: Mapping[str, Any]) -> list[str]:
    """A report in lines for a person."""
    reasons = ", ".join(f"{kind} {count}" for kind, count in values["reasons"].items())
    lines = [
        f"{values['lines']} lines, {values['records']} records, {values['quarantined']} set aside"
        + (f" ({reasons}): see {QUARANTINE}" if reasons else "")
    ]
    for split, own in values["splits"].items():
        lines.append(f"{split:10} {own['records']:6} records  {own['sha256']}")
    return lines


def _keep(checked: Checked, path: Path, max_pixels: int) -> str:
    """Write a picture; its suffix."""
    data, suffix = checked.record.picture.read_bytes(), checked.record.picture.suffix.lower()
    if not checked.plain:
        buffer, suffix = io.BytesIO(), ".png"
        Image.fromarray(opened(data, max_pixels).pixels).save(buffer, "PNG", compress_level=3)
        data = buffer.getvalue()
    path.with_name(path.name + suffix).write_bytes(data)
    return suffix


def _split(
    found: Found, splits: Sequence[str], groups: Sequence[str | None], split: str, digest: str
) -> dict[str, Any]:
    own = [index for index, name in enumerate(splits) if name == split]
    quality = {}
    for measure in _MEASURES:
        values = np.array([getattr(found.records[index].quality, measure) for index in own], np.float64)
        low, middle, high = np.quantile(values, (0.0, 0.5, 1.0))
        quality[measure] = {"least": _short(low), "median": _short(middle), "most": _short(high)}
    return {
        "records": len(own),
        "groups": len({groups[index] for index in own} - {None}),
        "sha256": digest,
        "quality": quality,
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
