"""Scenes as the learner reads them: decoded pixels with their true boxes, and the tiles a training step sees.

Knows nothing of networks or Lightning. A tile is rendered by the one preprocessing (safelight/preprocess.py), then changed
in ways that leave aerial imagery aerial imagery: a crown has no up, and light varies from flight to flight.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from datasets import Image as EncodedImage
from datasets import load_from_disk
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from safelight.errors import DataError
from safelight.preprocess import Preprocess, render_view, tile_view, to_tensor
from training.detector.metrics import Truth
from training.fitting.cache import PictureCache
from training.fitting.order import Order, repeat_factors

CACHE_BYTES = 1 << 28
"""Of decoded pictures that a reader keeps unless told otherwise: 256 MiB."""


@dataclass(frozen=True)
class LabelledScene:
    """image: `(H, W, 3)` uint8 RGB. truth: its boxes, xyxy pixels."""

    image_id: str
    image: NDArray[np.uint8]
    truth: Truth


@dataclass(frozen=True)
class Augment:
    """How much a tile may vary. scale: largest factor of its size, either way. gamma, brightness: largest factors, either
    way. tint: largest change of one channel. min_visible: a box cut by the tile's border stays when at least this share
    of its area is inside."""

    scale: float = 1.35
    gamma: float = 1.4
    brightness: float = 1.25
    tint: float = 0.07
    min_visible: float = 0.4

    def __post_init__(self) -> None:
        for name in ("scale", "gamma", "brightness"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a factor of at least 1, got {getattr(self, name)}")
        if not 0 <= self.tint < 1 or not 0 < self.min_visible <= 1:
            raise ValueError(f"expected 0 <= tint < 1 and 0 < min_visible <= 1, got {self.tint} and {self.min_visible}")


class StoredScene(LabelledScene):
    """A scene of a prepared split, whose pixels are decoded when they are asked for."""

    def __init__(self, image_id: str, truth: Truth, pixels: Callable[[], NDArray[np.uint8]]) -> None:
        for name, value in (("image_id", image_id), ("truth", truth), ("_pixels", pixels)):
            object.__setattr__(self, name, value)

    @property
    def image(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8 RGB."""
        return self._pixels()  # type: ignore[attr-defined,no-any-return]  # set above, past the frozen dataclass


class Scenes(Sequence[LabelledScene]):
    """The scenes of a prepared split in order. Boxes are in memory, pixels are decoded when they are asked for.

    folder: of the split. cache_bytes: of decoded pixels that are kept. Raises DataError when the split is not there.
    """

    def __init__(self, folder: Path, cache_bytes: int = CACHE_BYTES) -> None:
        if not folder.is_dir():
            raise DataError(f"Expected a prepared split in {folder}. Run the prepare stage first.")
        try:
            rows = load_from_disk(str(folder))
        except IndexError:  # what datasets says of a split without rows
            raise DataError(f"The split {folder.name!r} has no pictures. Look at the report of prepare.") from None
        self._encoded = rows.select_columns(["image"]).cast_column("image", EncodedImage(decode=False))
        self._scenes = [
            StoredScene(row["image_id"], _truth(row), functools.partial(self._pixels, number))
            for number, row in enumerate(rows.remove_columns("image"))
        ]
        self.cache = PictureCache(cache_bytes)

    def __len__(self) -> int:
        return len(self._scenes)

    @overload
    def __getitem__(self, index: int) -> LabelledScene: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LabelledScene]: ...
    def __getitem__(self, index: int | slice) -> LabelledScene | Sequence[LabelledScene]:
        return self._scenes[index]

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        return self.cache.get(number, functools.partial(self._decoded, number))

    def _decoded(self, number: int) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(self._encoded[number]["image"]["bytes"])) as image:
            return np.asarray(image.convert("RGB"))


def read_scenes(folder: Path) -> Scenes:
    """The scenes of a prepared split. Raises DataError when the split is not there."""
    return Scenes(folder)


def _truth(row: dict[str, Any]) -> Truth:
    boxes = np.array(row["objects"]["bbox"], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Truth(boxes, np.array(row["objects"]["category"], np.int64), (int(row["width"]), int(row["height"])))


class Tiles(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """An endless stream of augmented tiles: picture `(3, S, S)` float32, boxes `(M, 4)` xyxy input pixels, classes `(M,)`.

    The overlapping tiles of `preprocess` are visited in a new order each pass, each moved and scaled at random. Sample i
    depends on `seed` and i alone, not on what was asked before or by which worker. samples: its length, as iteration sees
    it. balance: tiles with a class that fewer tiles than this share have are visited more often (order.py); None for all
    alike.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        preprocess: Preprocess,
        augment: Augment,
        samples: int,
        seed: int,
        balance: float | None = None,
    ) -> None:
        if preprocess.tile is None:
            raise ValueError(f"preprocess: expected mode 'tiles' to train on tiles, got {preprocess.mode!r}")
        self._scenes, self._augment, self._seed, self._samples = scenes, augment, seed, samples
        self._tile, self._step, self._side = (
            preprocess.tile,
            preprocess.tile - preprocess.overlap,
            preprocess.input_size,
        )
        self._places = [
            (index, view.x, view.y)
            for index, scene in enumerate(scenes)
            for view in preprocess.views(scene.truth.image_size)
        ]
        self._order = Order(len(self._places), seed, None if balance is None else self._repeats(preprocess, balance))

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        if not 0 <= index < self._samples:
            raise IndexError(f"expected a sample below {self._samples}, got {index}")
        rng = np.random.default_rng([self._seed, 1, index])
        scene, x, y = self._places[self._order.place(index)]
        pixels, boxes, classes = self._cut(self._scenes[scene], x, y, rng)
        pixels, boxes = turn(pixels, boxes, int(rng.integers(8)))
        lit = self._relight(pixels, rng)
        return torch.from_numpy(lit), torch.from_numpy(boxes), torch.from_numpy(classes)

    def _repeats(self, preprocess: Preprocess, threshold: float) -> NDArray[np.float64]:
        """How often each tile is to be visited."""
        classes = []
        for scene in self._scenes:
            for view in preprocess.views(scene.truth.image_size):
                _, visible = clip(view.from_image(scene.truth.boxes), self._side)
                classes.append(scene.truth.class_ids[visible >= self._augment.min_visible])
        return repeat_factors(classes, threshold)

    def _cut(
        self, scene: LabelledScene, x: int, y: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """A tile near (x, y), moved by up to half a step and scaled, and the boxes that are visible on it."""
        width, height = scene.truth.image_size
        scale = np.log(self._augment.scale)
        side = round(self._tile * np.exp(rng.uniform(-scale, scale)))
        x, y = (
            int(np.clip(c + rng.integers(-self._step // 2, self._step // 2 + 1), 0, max(0, limit - side)))
            for c, limit in ((x, width), (y, height))
        )
        view = tile_view(x, y, side, (width, height), self._side)
        boxes, visible = clip(view.from_image(scene.truth.boxes), self._side)
        seen = visible >= self._augment.min_visible
        return render_view(scene.image, view, self._side), boxes[seen], scene.truth.class_ids[seen]

    def _relight(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        """`(S, S, 3)` uint8 to `(3, S, S)` float32 under another light."""
        gamma, brightness = np.log(self._augment.gamma), np.log(self._augment.brightness)
        power = np.float32(np.exp(rng.uniform(-gamma, gamma)))
        factor = np.exp(rng.uniform(-brightness, brightness)) * (1 + rng.uniform(-1, 1, (3, 1, 1)) * self._augment.tint)
        lit: NDArray[np.float32] = np.clip(to_tensor(pixels) ** power * factor.astype(np.float32), 0, 1)
        return lit


def turn(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], symmetry: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One of the 8 symmetries of a square: `symmetry % 4` quarter turns to the left, then a mirror if it is 4 or more.

    pixels: `(S, S, 3)`. boxes: `(M, 4)` xyxy.
    """
    side = pixels.shape[0]
    for _ in range(symmetry % 4):
        pixels = np.rot90(pixels)
        boxes = np.stack([boxes[:, 1], side - boxes[:, 2], boxes[:, 3], side - boxes[:, 0]], axis=1)
    if symmetry >= 4:
        pixels = pixels[:, ::-1]
        boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], axis=1)
    return np.ascontiguousarray(pixels), np.ascontiguousarray(boxes, np.float32)


def clip(boxes: NDArray[np.float32], side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes `(M, 4)` xyxy cut at a square's border, and the share of each that is inside."""
    inside = np.clip(boxes, 0, side)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    share = (inside[:, 2:] - inside[:, :2]).prod(axis=1) / np.maximum(area, np.finfo(np.float32).tiny)
    return inside, share
