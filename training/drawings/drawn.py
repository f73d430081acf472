"""A specification to files: a JSONL of records for each split and a JPEG for each picture, the same whenever drawn.

Knows nothing of what is drawn. Several processes draw; what they draw does not depend on how many they are.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from safelight.errors import DataError
from training.drawings.interface import Pixels, drawing
from training.drawings.specification import Specification

IMAGES = "images"
_AT_ONCE = 25  # pictures that a process draws before it asks for more

Drawn = tuple[str, str]
"""A record as a line of JSONL, and the SHA-256 of its picture's pixels as they were drawn."""


def write(specification: Specification, folder: Path, processes: int, done: Callable[[int], None]) -> dict[str, str]:
    """Draw every split into `folder`: NAME.jsonl, and images/. done: told how many pictures were added.

    Returns each split's SHA-256, over records and pixels before they were compressed. Raises DataError where a split's is
    not the one that the specification holds it to.
    """
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    digests = {}
    context = get_context("spawn")  # what the parent holds, threads above all, is not copied
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for split, own in specification.splits.items():
            digest = hashlib.sha256()
            lines = []
            parts = [range(start, min(own.count, start + _AT_ONCE)) for start in range(0, own.count, _AT_ONCE)]
            jobs = [pool.submit(_part, specification, folder, split, part) for part in parts]
            for job in jobs:
                drawn = job.result()
                for line, pixels in drawn:
                    digest.update(f"{pixels} {line}\n".encode())
                    lines.append(line)
                done(len(drawn))
            (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
            digests[split] = _held(split, digest.hexdigest(), own.sha256)
    return digests


def encoded(pixels: Pixels, quality: int) -> bytes:
    """A JPEG without metadata, colours at full resolution."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _part(specification: Specification, folder: Path, split: str, numbers: range) -> list[Drawn]:
    """Draw some pictures of a split."""
    return list(_each(specification, folder, split, numbers))


def _each(specification: Specification, folder: Path, split: str, numbers: range) -> Iterator[Drawn]:
    drawer = drawing(specification.name)
    for number in numbers:
        answer, drawn = specification.one(drawer, split, number)
        pixels = drawn.pixels
        place = f"{IMAGES}/{split}_{number:06d}.jpg"
        (folder / place).write_bytes(encoded(pixels, specification.quality))
        yield json.dumps({"image_path": place, **answer}), hashlib.sha256(pixels.tobytes()).hexdigest()


def _held(split: str, found: str, wanted: str | None) -> str:
    if wanted is not None and found != wanted:
        raise DataError(
            f"The drawn split {split!r} is {found}, expected {wanted}: what is measured on it cannot be compared. Draw "
            "with the numpy and Pillow of the lock, or change the digest in the task's configuration if that was meant."
        )
    return found
