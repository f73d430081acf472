"""A prepared task's records as training takes them: a picture's pixels, and the text of its answer.

Prepared means that every record holds (training/vlm/records.py saw to it): here one that does not is an error, not a case.
Knows nothing of models or Lightning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.errors import AnswerInvalid, DataError
from safelight.preprocess import Preprocess, render_view
from safelight.reader.task import Task
from training.data.pictures import opened
from training.fitting.cache import PictureCache
from training.vlm.records import IMAGE_PATH

MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Labelled:
    """picture: an image file. text: the answer's one text."""

    picture: Path
    text: str


def read_split(folder: Path, split: str, task: Task) -> list[Labelled]:
    """The records of `folder`/`split`.jsonl, in their order. Raises DataError when there are none, or one does not hold."""
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise DataError(f"Expected prepared records at {path}. Run the prepare stage of the task first.")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} has no records.")
    return [_labelled(line, number, folder, task) for number, line in enumerate(lines, 1)]


class Pictures:
    """The pictures of records, decoded and brought to the size at which the model looks, without padding: (H, W, 3) uint8,
    the longer side `side` pixels. cache: of these, so that a picture is decoded once and not every round."""

    def __init__(self, records: Sequence[Labelled], side: int, cache: PictureCache) -> None:
        self._records, self._letterbox, self._cache = records, Preprocess("letterbox", side), cache

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        """The picture of a record; not to be written to. Raises DataError when it cannot be read."""
        return self._cache.get(number, lambda: self._made(number))

    def _made(self, number: int) -> NDArray[np.uint8]:
        path = self._records[number].picture
        try:
            pixels = opened(path.read_bytes(), MAX_PIXELS).pixels
        except (OSError, DataError) as error:
            raise DataError(f"The picture of record {number + 1} cannot be read: {error}.") from None
        view = self._letterbox.views((pixels.shape[1], pixels.shape[0]))[0]
        square = render_view(pixels, view, self._letterbox.input_size)
        height, width = (max(1, round(length * view.scale)) for length in pixels.shape[:2])
        return np.ascontiguousarray(square[view.pad_y : view.pad_y + height, view.pad_x : view.pad_x + width])


def _labelled(line: str, number: int, folder: Path, task: Task) -> Labelled:
    try:
        record = json.loads(line)
        picture = folder / record.pop(IMAGE_PATH)
        return Labelled(picture, task.text(record))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"Record {number}: expected an object with {IMAGE_PATH!r}, got {type(error).__name__}."
        ) from None
    except AnswerInvalid as error:
        raise DataError(f"Record {number}: {error.detail}") from None
