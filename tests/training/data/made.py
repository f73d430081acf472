"""Tiny data sets in every known format: coloured rectangles on noise, and what should be read of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 48)
BOX = (8, 12, 40, 30)
"""xyxy pixels of the one box on each picture."""


def pixels(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Blocks of noise, so that no two seeds look alike even to a perceptual hash."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
    return np.asarray(blocks.resize(size, Image.Resampling.BICUBIC))


def encoded(seed: int, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, form, **options)
    return buffer.getvalue()


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(seed, "JPEG" if path.suffix == ".jpg" else "PNG"))
    return path


def xml(*objects: tuple, size: tuple[int, int] | None = SIZE) -> str:
    body = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    for name, *box in objects:
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        body += f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation>{body}</annotation>"


def voc(root: Path, count: int = 3) -> Path:
    for i in range(count):
        picture(root / f"p{i}.png", i).with_suffix(".xml").write_text(xml((("cat", "dog")[i % 2], *BOX)))
    return root


def vockit(root: Path) -> Path:
    """The layout of VOCdevkit, with a picture that is in no image set."""
    for i in range(4):
        picture(root / "VOC2007/JPEGImages" / f"00{i}.jpg", i)
        (root / "VOC2007/Annotations").mkdir(exist_ok=True)
        (root / "VOC2007/Annotations" / f"00{i}.xml").write_text(xml(("cat", *BOX)))
    sets = root / "VOC2007/ImageSets/Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("000\n")
    (sets / "val.txt").write_text("001\n")
    (sets / "test.txt").write_text("002\n")
    (sets / "cat_train.txt").write_text("000  1\n")
    return root


def coco_document(names: list[str], **changes: object) -> dict:
    x0, y0, x1, y1 = BOX
    document = {
        "images": [{"id": 10 + i, "file_name": n, "width": 64, "height": 48} for i, n in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 10 + i, "category_id": (3, 90)[i % 2], "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for i in range(len(names))
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 7, "name": "bird"}],
    }
    return {**document, **changes}


def coco(root: Path, count: int = 3, **changes: object) -> Path:
    """One file, pictures in images/."""
    names = [f"p{i}.png" for i in range(count)]
    for i, name in enumerate(names):
        picture(root / "images" / name, i)
    (root / "annotations.json").write_text(json.dumps(coco_document(names, **changes)))
    return root


def coco_splits(root: Path) -> Path:
    """A file a split, beside its pictures, as Roboflow exports it."""
    for k, split in enumerate(("train", "valid", "test")):
        names = [f"p{i}.jpg" for i in range(2)]
        for i, name in enumerate(names):
            picture(root / split / name, 10 * k + i)
        (root / split / "_annotations.coco.json").write_text(json.dumps(coco_document(names)))
    return root


def yolo_line(number: int = 0, size: tuple[int, int] = SIZE) -> str:
    x0, y0, x1, y1 = BOX
    shares = ((x0 + x1) / 2 / size[0], (y0 + y1) / 2 / size[1], (x1 - x0) / size[0], (y1 - y0) / size[1])
    return f"{number} " + " ".join(f"{v:.6f}" for v in shares)


def yolo(root: Path, layout: str = "images/{split}", splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Two pictures a split and one without objects. layout: where pictures lie."""
    for k, split in enumerate(splits):
        folder = root / layout.format(split=split)
        for i in range(3):
            path = picture(folder / f"p{i}.jpg", 10 * k + i)
            if i < 2:
                labels = Path(str(path.relative_to(root)).replace("images", "labels")).with_suffix(".txt")
                (root / labels).parent.mkdir(parents=True, exist_ok=True)
                (root / labels).write_text(yolo_line(i) + "\n")
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n")
    return root


def yolo_flat(root: Path, count: int = 12, private: bool = False) -> Path:
    """Pictures and text files in images/ and labels/, names in classes.txt, no splits."""
    for i in range(count):
        picture(root / "images" / f"p{i:02}.jpg", i)
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"p{i:02}.txt").write_text(yolo_line(i % 2) + "\n")
    (root / "classes.txt").write_text("cat\ndog\n")
    return root
