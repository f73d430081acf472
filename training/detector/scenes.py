"""Scenes as the learner reads them: decoded pixels with their true boxes, and the tiles a training step sees.

Knows nothing of networks or Lightning. A tile is rendered by the one preprocessing (safelight/preprocess.py), then changed
in ways that leave aerial imagery aerial imagery: a crown has no up, and light varies from flight to flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import load_from_disk
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from safelight.errors import DataError
from safelight.preprocess import Preprocess, render_view, tile_view, to_tensor
from training.detector.metrics import Truth


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


def read_scenes(folder: Path) -> list[LabelledScene]:
    """All scenes of a prepared split, decoded. Raises DataError when the split is not there."""
    if not folder.is_dir():
        raise DataError(f"Expected a prepared split in {folder}. Run the prepare stage first.")
    scenes = []
    for row in load_from_disk(str(folder)):
        boxes = np.array(row["objects"]["bbox"], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        classes = np.array(row["objects"]["category"], np.int64)
        size = (int(row["width"]), int(row["height"]))
        image = np.asarray(row["image"].convert("RGB"))
        scenes.append(LabelledScene(row["image_id"], image, Truth(boxes, classes, size)))
    return scenes


class Tiles(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """`samples` augmented tiles of the scenes: picture `(3, S, S)` float32, boxes `(M, 4)` xyxy input pixels, classes `(M,)`.

    The overlapping tiles of `preprocess` are visited in a new order each round, each moved and scaled at random. Sample i
    depends on `seed` and i alone, not on what was asked before or by which worker.
    """

    def __init__(
        self, scenes: list[LabelledScene], preprocess: Preprocess, augment: Augment, samples: int, seed: int
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

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        round_, place = divmod(index, len(self._places))
        order = np.random.default_rng([self._seed, 0, round_]).permutation(len(self._places))
        rng = np.random.default_rng([self._seed, 1, index])
        scene, x, y = self._places[order[place]]
        pixels, boxes, classes = self._cut(self._scenes[scene], x, y, rng)
        pixels, boxes = turn(pixels, boxes, int(rng.integers(8)))
        lit = self._relight(pixels, rng)
        return torch.from_numpy(lit), torch.from_numpy(boxes), torch.from_numpy(classes)

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
