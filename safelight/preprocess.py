"""From a picture to the float tensor a network takes, and back from its boxes to the picture's pixels.

The one preprocessing of training, export and serving. Knows nothing of networks: its pictures are `(H, W, 3)` uint8
arrays and its tensors numpy arrays, so that the same bytes reach torch and ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FILL = 114  # grey of the padding, 0..255


@dataclass(frozen=True)
class View:
    """A square of a picture and where it lands in the network's input.

    (x, y): its corner in the picture's pixels. (width, height): what of the picture it shows, in pixels.
    scale: input pixels per picture pixel. (pad_x, pad_y): input pixels of padding on the left and at the top.
    """

    x: int
    y: int
    width: int
    height: int
    scale: float
    pad_x: int
    pad_y: int

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes `(N, 4)` xyxy from input pixels to the picture's pixels, unclipped."""
        padding = np.array([self.pad_x, self.pad_y] * 2, np.float32)
        origin = np.array([self.x, self.y] * 2, np.float32)
        return (boxes - padding) / np.float32(self.scale) + origin

    def from_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes `(N, 4)` xyxy from the picture's pixels to input pixels, unclipped."""
        padding = np.array([self.pad_x, self.pad_y] * 2, np.float32)
        origin = np.array([self.x, self.y] * 2, np.float32)
        return (boxes - origin) * np.float32(self.scale) + padding


@dataclass(frozen=True)
class Preprocess:
    """How pictures become network inputs.

    mode `letterbox`: the whole picture, scaled to fit a square of `input_size` pixels, centred, padded with grey.
    mode `tiles`: squares of `tile` picture pixels that overlap by at least `overlap` pixels, each scaled to
    `input_size`; for pictures whose scale means something (aerial imagery). Values are RGB / 255, channels first.
    """

    mode: Literal["letterbox", "tiles"]
    input_size: int
    tile: int | None = None
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.input_size <= 0:
            raise ValueError(f"input_size: expected a positive number of pixels, got {self.input_size}")
        if self.mode == "letterbox":
            if self.tile is not None or self.overlap:
                raise ValueError("tile and overlap belong to mode 'tiles', not to 'letterbox'")
        elif self.mode == "tiles":
            if self.tile is None or self.tile <= 0:
                raise ValueError(f"tile: expected a positive number of pixels in mode 'tiles', got {self.tile}")
            if not 0 <= self.overlap < self.tile:
                raise ValueError(f"overlap: expected 0 <= overlap < tile ({self.tile}), got {self.overlap}")
        else:
            raise ValueError(f"mode: expected 'letterbox' or 'tiles', got {self.mode!r}")

    def views(self, image_size: tuple[int, int]) -> list[View]:
        """The views that cover a picture of (width, height), row by row."""
        width, height = image_size
        if self.tile is None:
            scale = min(self.input_size / width, self.input_size / height)
            pad_x = (self.input_size - max(1, round(width * scale))) // 2
            pad_y = (self.input_size - max(1, round(height * scale))) // 2
            return [View(0, 0, width, height, scale, pad_x, pad_y)]
        return [
            tile_view(x, y, self.tile, image_size, self.input_size)
            for y in _offsets(height, self.tile, self.overlap)
            for x in _offsets(width, self.tile, self.overlap)
        ]

    def render(self, image: NDArray[np.uint8], view: View) -> NDArray[np.float32]:
        """One view of `(H, W, 3)` uint8 RGB as `(3, input_size, input_size)` float32 in [0, 1]."""
        return to_tensor(render_view(image, view, self.input_size))

    def batches(self, image: NDArray[np.uint8], size: int) -> Iterator[tuple[list[View], NDArray[np.float32]]]:
        """All views of a picture in batches of at most `size`: (views, `(B, 3, S, S)` float32 in [0, 1])."""
        views = self.views((image.shape[1], image.shape[0]))
        for start in range(0, len(views), size):
            part = views[start : start + size]
            yield part, np.stack([self.render(image, view) for view in part])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `Preprocess(**values)` takes them."""
        return asdict(self)


def tile_view(x: int, y: int, tile: int, image_size: tuple[int, int], input_size: int) -> View:
    """The view of a square of `tile` picture pixels with its corner at (x, y), cut at the picture's border."""
    width, height = min(tile, image_size[0] - x), min(tile, image_size[1] - y)
    return View(x, y, width, height, input_size / tile, 0, 0)


def render_view(image: NDArray[np.uint8], view: View, input_size: int) -> NDArray[np.uint8]:
    """One view of `(H, W, 3)` uint8 as `(input_size, input_size, 3)` uint8: cut, bilinear resize, grey padding."""
    part = image[view.y : view.y + view.height, view.x : view.x + view.width]
    size = (max(1, round(view.width * view.scale)), max(1, round(view.height * view.scale)))
    if size != (part.shape[1], part.shape[0]):
        part = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR))
    if size == (input_size, input_size):
        return part
    canvas = np.full((input_size, input_size, 3), FILL, np.uint8)
    canvas[view.pad_y : view.pad_y + size[1], view.pad_x : view.pad_x + size[0]] = part
    return canvas


def to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`(S, S, 3)` uint8 as contiguous `(3, S, S)` float32 in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def _offsets(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of the tiles along one side: evenly spread, the last one flush with the border."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
