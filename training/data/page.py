"""The report of a prepared data set as one HTML page that needs nothing else: report.html.

Shows what training/data/summary.py counted, with charts and, where the data card does not say private, pictures. Knows
nothing of annotation formats.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from safelight.drawing import PALETTE, draw_box, draw_label, font_for, line_width
from training.data import charts
from training.data.parting import Parts
from training.data.pictures import opened, thumbnail
from training.data.records import Scene
from training.data.regions import Region

_SAMPLES = 6  # pictures shown of each split
_TWINS = 6  # pairs of near-duplicates shown
_LISTED = 100  # lines of a table
_SIDE = 640  # pixels of a picture that is shown
_MAX_PIXELS = 1 << 30  # what is shown was checked before


def page(report: Mapping[str, Any], parts: Parts) -> str:
    """report.html of a summary and the scenes it counts. A few pictures are read again, unless it says private."""
    scenes = {split: [scene for scene, _ in own] for split, own in parts.items()}
    shared = sorted({s.image_id for own in scenes.values() for s in own if _splits_with(s.image_id, scenes) > 1})
    drawings = {
        "classes": charts.class_balance(scenes, report["labels"]),
        "boxes": charts.box_shapes(scenes),
        "pictures": charts.pictures(scenes),
        "places": charts.places(scenes),
    }
    shown = not report["private"]
    text: str = _template().render(
        report=report,
        tiles=_tiles(report),
        charts={name: Markup(svg) for name, svg in drawings.items()},  # noqa: S704  our own charts, labels escaped in them
        samples=_samples(parts, report["labels"]) if shown else {},
        twins=_twins(report, scenes) if shown else [],
        shared=shared,
        palette=[PALETTE[index % len(PALETTE)] for index in range(len(report["labels"]))],
        most_listed=_LISTED,
    )
    return text


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(Path(__file__).with_name("page.html").read_text("utf-8"))


def _splits_with(image_id: str, scenes: Mapping[str, Sequence[Scene]]) -> int:
    return sum(any(scene.image_id == image_id for scene in own) for own in scenes.values())


def _tiles(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures at the top. Bad records and pictures that are in two splits are marked."""
    bad = sum(q["bad"] for q in report["quarantined"])
    across = report["duplicates"]["exact_across"] + report["duplicates"]["near_across"]
    boxes = sum(split["boxes"] for split in report["splits"].values())
    figures = (
        ("pictures", report["pictures"], False),
        ("boxes", boxes, False),
        ("classes", len(report["labels"]), False),
        ("bad records set aside", bad, bad > 0),
        ("left out on purpose", len(report["quarantined"]) - bad, False),
        ("duplicates across splits", across, across > 0),
    )
    return [{"name": name, "value": f"{value:,}", "warn": warn} for name, value, warn in figures]


def _samples(parts: Parts, labels: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """A few pictures of each split, evenly spread over it, those with boxes first."""
    chosen = {}
    for split, own in parts.items():
        full = [part for part in own if part[0].boxes] or list(own)
        places = np.unique(np.linspace(0, len(full) - 1, min(_SAMPLES, len(full))).round().astype(int))
        chosen[split] = [_sample(full[place][0], full[place][1], labels) for place in places.tolist()]
    return chosen


def _sample(scene: Scene, region: Region | None, labels: Sequence[str]) -> dict[str, str]:
    pixels = _pixels(scene, region)
    size = scene.size
    noun = "box" if len(scene.boxes) == 1 else "boxes"
    caption = f"{scene.image_id}, {size[0]} × {size[1]}, {len(scene.boxes)} {noun}"
    return {"image": _embedded(with_boxes(pixels, scene, labels)), "caption": caption}


def with_boxes(pixels: NDArray[np.uint8], scene: Scene, labels: Sequence[str]) -> NDArray[np.uint8]:
    """A small copy of a scene's picture with its boxes; drawn after it was made small, so that lines stay legible."""
    canvas = Image.fromarray(pixels)
    canvas.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    scale = np.array([canvas.width / scene.size[0], canvas.height / scene.size[1]] * 2)
    pen, line, font = ImageDraw.Draw(canvas), line_width(canvas.size), font_for(canvas.size)
    boxes = [tuple(float(v) for v in np.array(box) * scale) for box in scene.boxes]
    colours = [PALETTE[class_id % len(PALETTE)] for class_id in scene.classes]
    for box, colour in zip(boxes, colours, strict=True):
        draw_box(pen, (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)), colour, line)
    for box, colour, class_id in zip(boxes, colours, scene.classes, strict=True):
        draw_label(pen, (box[0], box[1], box[2], box[3]), labels[class_id], font, colour, canvas.size)
    return np.asarray(canvas)


def _twins(report: Mapping[str, Any], scenes: Mapping[str, Sequence[Scene]]) -> list[dict[str, Any]]:
    """The first pairs of near-duplicates across splits, side by side."""
    by_id = {scene.image_id: scene for own in scenes.values() for scene in own}
    twins = []
    for pair in report["duplicates"]["across"][:_TWINS]:
        if all(name in by_id for name in pair["pictures"]):
            images = [_embedded(_pixels(by_id[name], None)) for name in pair["pictures"]]
            caption = " and ".join(f"{n} ({s})" for n, s in zip(pair["pictures"], pair["splits"], strict=True))
            twins.append({"images": images, "caption": caption})
    return twins


def _pixels(scene: Scene, region: Region | None) -> NDArray[np.uint8]:
    pixels = opened(scene.picture.read(), _MAX_PIXELS).pixels
    if region is None:
        return pixels
    return pixels[region[1] : region[3], region[0] : region[2]]


def _embedded(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(thumbnail(pixels, _SIDE)).decode()
