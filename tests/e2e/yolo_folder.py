"""Somebody's folder in YOLO format: parts of a real aerial scene as JPEGs, each with its text file of boxes."""

from __future__ import annotations

from pathlib import Path

from defusedxml.ElementTree import parse
from PIL import Image

SIDE = 320


def write_yolo_folder(scene: Path, folder: Path) -> int:
    """Cut `scene` (a PNG with its VOC file beside it) into squares of 320 pixels; returns how many hold a tree."""
    root = parse(scene.with_suffix(".xml")).getroot()
    boxes = [
        tuple(float(box.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax")) for box in root.iter("bndbox")
    ]
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [crown]\n")
    written = 0
    with Image.open(scene) as image:
        for left in range(0, image.width - SIDE + 1, SIDE):
            for top in range(0, image.height - SIDE + 1, SIDE):
                lines = []
                for x0, y0, x1, y1 in boxes:
                    x, y = ((x0 + x1) / 2 - left) / SIDE, ((y0 + y1) / 2 - top) / SIDE
                    width, height = (x1 - x0) / SIDE, (y1 - y0) / SIDE
                    inside = width / 2 < x < 1 - width / 2 and height / 2 < y < 1 - height / 2
                    lines += [f"0 {x:.6f} {y:.6f} {width:.6f} {height:.6f}"] if inside else []
                if lines:
                    name = f"part_{left}_{top}"
                    part = image.crop((left, top, left + SIDE, top + SIDE)).convert("RGB")
                    part.save(folder / "images" / f"{name}.jpg", quality=90)
                    (folder / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
                    written += 1
    return written
