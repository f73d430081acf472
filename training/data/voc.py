"""Pascal VOC annotations to scenes, with every record checked.

The only place that knows the VOC format. A record that does not hold is quarantined with its reason, never mended and
never silently dropped. Source: Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from PIL import Image

from safelight.errors import DataError

Box = tuple[float, float, float, float]
"""xyxy, pixels."""


@dataclass(frozen=True)
class Quarantined:
    """A record that was set aside. scene: the scene's id. record: index of the object, None for the whole scene."""

    scene: str
    record: int | None
    reason: str


@dataclass(frozen=True)
class Scene:
    """A picture with its boxes. boxes: xyxy pixels. classes: index into the labels, one for each box."""

    image_id: str
    path: Path
    size: tuple[int, int]
    boxes: Sequence[Box]
    classes: Sequence[int]


def read_scene(
    image_path: Path, annotation_path: Path, labels: Sequence[str], class_map: Mapping[str, str]
) -> tuple[Scene | None, list[Quarantined]]:
    """One picture and its VOC file. class_map: from the file's class names to `labels`; others are unknown.

    Returns (None, reasons) when the picture cannot be read. Raises DataError when the annotation file itself is missing
    or no XML: then nothing is known about the picture, and to go on would count its objects as background.
    """
    image_id = image_path.stem
    try:
        root = parse(annotation_path).getroot()
    except (OSError, ParseError, DefusedXmlException):
        raise DataError(
            f"{image_id}: expected a Pascal VOC XML file beside the picture, got none that parses."
        ) from None
    objects = list(root.iter("object")) if root is not None else []
    try:
        with Image.open(image_path) as image:
            image.load()
            size = image.size
    except (OSError, SyntaxError, ValueError):
        return None, [Quarantined(image_id, None, "unreadable image")]
    boxes: list[Box] = []
    classes: list[int] = []
    quarantined: list[Quarantined] = []
    for index, element in enumerate(objects):
        label = class_map.get(element.findtext("name", ""))
        box = _box(element)
        reason = _reason(box, label, labels, size)
        if reason or box is None or label is None:
            quarantined.append(Quarantined(image_id, index, reason or "malformed"))
        else:
            boxes.append(box)
            classes.append(labels.index(label))
    return Scene(image_id, image_path, size, boxes, classes), quarantined


def crop_scene(scene: Scene, region: tuple[int, int, int, int], min_visible: float) -> Scene:
    """The part of a scene inside `region` (xyxy pixels), boxes clipped and moved to its corner.

    A box stays when at least `min_visible` of its area is inside. Raises DataError when the region leaves the picture.
    """
    x0, y0, x1, y1 = region
    if not (0 <= x0 < x1 <= scene.size[0] and 0 <= y0 < y1 <= scene.size[1]):
        raise DataError(f"{scene.image_id}: expected a region inside {scene.size}, got {list(region)}.")
    boxes: list[Box] = []
    classes: list[int] = []
    for (left, top, right, bottom), class_id in zip(scene.boxes, scene.classes, strict=True):
        inside = (max(left, x0), max(top, y0), min(right, x1), min(bottom, y1))
        width, height = max(0.0, inside[2] - inside[0]), max(0.0, inside[3] - inside[1])
        if width * height >= min_visible * (right - left) * (bottom - top) and width and height:
            boxes.append((inside[0] - x0, inside[1] - y0, inside[2] - x0, inside[3] - y0))
            classes.append(class_id)
    return Scene(scene.image_id, scene.path, (x1 - x0, y1 - y0), boxes, classes)


def _box(element: Element) -> Box | None:
    try:
        x_min, y_min, x_max, y_max = (
            float(element.findtext(f"bndbox/{k}", "")) for k in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        return None
    return (x_min, y_min, x_max, y_max)


def _reason(box: Box | None, label: str | None, labels: Sequence[str], size: tuple[int, int]) -> str | None:
    """Why a record cannot be used; None when it can."""
    if box is None:
        return "malformed"
    if label is None or label not in labels:
        return "unknown class"
    if not (box[2] > box[0] and box[3] > box[1]):
        return "zero area"
    if box[0] < 0 or box[1] < 0 or box[2] > size[0] or box[3] > size[1]:
        return "outside the picture"
    return None
