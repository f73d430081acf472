"""Whole pictures to train on: letterboxed as they are served, then varied as photographs vary.

Knows nothing of networks or Lightning. The one preprocessing (safelight/preprocess.py) renders, kornia varies. Boxes go
along with every change of geometry.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_gamma,
    adjust_saturation_with_gray_subtraction,
)
from kornia.geometry.bbox import transform_bbox
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from safelight.preprocess import FILL, Preprocess, View, render_view, to_tensor
from training.detector.scenes import LabelledScene, clip, turn
from training.fitting.cache import PictureCache
from training.fitting.order import Order, repeat_factors


@dataclass(frozen=True)
class PhotoAugment:
    """How much a photograph may vary. scale: largest factor of its size, either way; where it grows, the view is a crop.
    translate: largest move, as a share of the side. degrees: largest turn. flip: chance of a mirror image. gamma,
    brightness, contrast, saturation: largest factors, either way. grey: chance of no colour. mosaic: chance of four
    pictures in one (Bochkovskiy et al., "YOLOv4", 2020). min_visible: a box cut by the border stays when at least this
    share of its area is inside."""

    scale: float = 1.5
    translate: float = 0.1
    degrees: float = 0.0
    flip: float = 0.5
    gamma: float = 1.2
    brightness: float = 1.25
    contrast: float = 1.25
    saturation: float = 1.4
    grey: float = 0.05
    mosaic: float = 0.0
    min_visible: float = 0.3

    def __post_init__(self) -> None:
        for name in ("scale", "gamma", "brightness", "contrast", "saturation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a factor of at least 1, got {getattr(self, name)}")
        for name in ("translate", "flip", "grey", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, got {getattr(self, name)}")
        if not 0 < self.min_visible <= 1 or not 0 <= self.degrees <= 180:
            raise ValueError(
                f"expected 0 < min_visible <= 1 and 0 <= degrees <= 180, got {self.min_visible} and {self.degrees}"
            )


class Photos(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """An endless stream of pictures: `(3, S, S)` float32, boxes `(M, 4)` xyxy input pixels, classes `(M,)`.

    augment: None leaves them as they are. samples: its length, as iteration sees it. Sample i depends on `seed` and i
    alone. balance: see `Tiles`. cache: of letterboxed pictures, so that a large photograph is decoded and shrunk once.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        preprocess: Preprocess,
        augment: PhotoAugment | None,
        samples: int,
        seed: int,
        balance: float | None = None,
        cache: PictureCache | None = None,
    ) -> None:
        if preprocess.mode != "letterbox":
            raise ValueError(
                f"preprocess: expected mode 'letterbox' to train on whole pictures, got {preprocess.mode!r}"
            )
        self._scenes, self._preprocess, self._augment = scenes, preprocess, augment
        self._side, self._samples, self._seed = preprocess.input_size, samples, seed
        self._cache = cache or PictureCache(0)
        repeats = None if balance is None else repeat_factors([s.truth.class_ids for s in scenes], balance)
        self._order = Order(len(scenes), seed, repeats)

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        if not 0 <= index < self._samples:
            raise IndexError(f"expected a sample below {self._samples}, got {index}")
        rng = np.random.default_rng([self._seed, 1, index])
        number = self._order.place(index)
        if self._augment is None:
            pixels, boxes, classes = self._picture(number)
            return torch.from_numpy(to_tensor(pixels)), torch.from_numpy(boxes), torch.from_numpy(classes)
        pixels, boxes, classes = (
            self._mosaic(number, rng) if rng.random() < self._augment.mosaic else self._picture(number)
        )
        if rng.random() < self._augment.flip:
            pixels, boxes = turn(pixels, boxes, 4)
        picture, boxes = _moved(pixels, boxes, self._augment, rng)
        inside, visible = clip(boxes, self._side)
        seen = visible >= self._augment.min_visible
        picture = _relit(picture, self._augment, rng)[0].contiguous()
        return picture, torch.from_numpy(inside[seen]), torch.from_numpy(classes[seen])

    def _picture(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """A letterboxed picture and its boxes."""
        scene = self._scenes[number]
        view = self._preprocess.views(scene.truth.image_size)[0]
        pixels = self._cache.get(number, functools.partial(_rendered, scene, view, self._side))
        return pixels, view.from_image(scene.truth.boxes), scene.truth.class_ids

    def _mosaic(
        self, first: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """A picture and three others at random, each in a quarter of the view."""
        half = self._side // 2
        canvas = np.full((self._side, self._side, 3), FILL, np.uint8)
        boxes, classes = [], []
        for place, number in enumerate([first, *rng.integers(len(self._scenes), size=3)]):
            pixels, of_one, kinds = self._picture(int(number))
            x, y = (place % 2) * half, (place // 2) * half
            whole = View(0, 0, self._side, self._side, half / self._side, 0, 0)
            canvas[y : y + half, x : x + half] = render_view(pixels, whole, half)
            boxes.append(whole.from_image(of_one) + np.array([x, y, x, y], np.float32))
            classes.append(kinds)
        return canvas, np.concatenate(boxes), np.concatenate(classes)


def _rendered(scene: LabelledScene, view: View, side: int) -> NDArray[np.uint8]:
    return render_view(scene.image, view, side)


def _moved(
    pixels: NDArray[np.uint8], boxes: NDArray[np.float32], augment: PhotoAugment, rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.float32]]:
    """A picture scaled, shifted and turned, `(1, 3, S, S)` float32, and its boxes, unclipped."""
    side = pixels.shape[0]
    scale = np.exp(rng.uniform(-1, 1) * np.log(augment.scale))
    shift = rng.uniform(-augment.translate, augment.translate, 2) * side
    angle = rng.uniform(-augment.degrees, augment.degrees)
    picture = torch.from_numpy(to_tensor(pixels))[None]
    if scale == 1 and not shift.any() and angle == 0:
        return picture, boxes
    middle = torch.full((1, 2), (side - 1) / 2)  # kornia counts from the centres of pixels, boxes from their corners
    matrix = get_affine_matrix2d(
        torch.tensor(shift[None], dtype=torch.float32),
        middle,
        torch.full((1, 2), float(scale)),
        torch.tensor([angle], dtype=torch.float32),
    )
    grey = torch.full((3,), FILL / 255)
    moved = warp_affine(picture, matrix[:, :2], (side, side), padding_mode="fill", fill_value=grey)
    if not len(boxes):  # which kornia does not take
        return moved, boxes
    corners = transform_bbox(matrix, torch.from_numpy(boxes - np.float32(0.5))[None], "xyxy", True)[0]
    return moved, corners.numpy() + np.float32(0.5)


def _relit(picture: Tensor, augment: PhotoAugment, rng: np.random.Generator) -> Tensor:
    """Another light, another camera: `(1, 3, S, S)` in [0, 1] to the same."""

    def factor(largest: float) -> float:
        return float(np.exp(rng.uniform(-1, 1) * np.log(largest)))

    gamma, brightness, contrast = factor(augment.gamma), factor(augment.brightness), factor(augment.contrast)
    saturation = 0.0 if rng.random() < augment.grey else factor(augment.saturation)
    picture = adjust_gamma(picture, gamma) if gamma != 1 else picture
    picture = adjust_contrast_with_mean_subtraction(picture, contrast) if contrast != 1 else picture
    picture = adjust_brightness_accumulative(picture, brightness) if brightness != 1 else picture
    return adjust_saturation_with_gray_subtraction(picture, saturation) if saturation != 1 else picture
