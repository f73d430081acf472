"""Made scenes: bright squares on dark, noisy ground, stored as the prepare stage stores them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from training.data.scenes import features
from training.detector.metrics import Truth
from training.detector.scenes import LabelledScene
from training.detector.yolov3_tiny import YoloV3Tiny, YoloV3TinyDetector

SMALL = (8, 8, 16, 16, 32, 32, 32)
ANCHORS = [[[12, 12], [20, 20]], [[28, 28], [40, 40]]]


def small_network(classes: int = 1, grid_scale: float = 2.0) -> YoloV3Tiny:
    """The network with a few channels, so that a step takes milliseconds."""
    torch.manual_seed(0)
    return YoloV3Tiny(classes, ANCHORS, grid_scale, SMALL)


def small_detector() -> YoloV3TinyDetector:
    """The same as a detector of one class."""
    torch.manual_seed(0)
    return YoloV3TinyDetector(["square"], ANCHORS, grid_scale=2.0, widths=SMALL)


def squares_scene(seed: int, size: tuple[int, int] = (160, 128), count: int = 8) -> LabelledScene:
    """A picture of (width, height) with `count` squares that do not overlap."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
    places = [(x, y) for x in range(0, size[0] - 31, 32) for y in range(0, size[1] - 31, 32)]
    boxes = []
    for place in rng.permutation(len(places))[:count]:
        side = int(rng.integers(10, 24))
        x, y = (corner + int(rng.integers(0, 32 - side)) for corner in places[place])
        image[y : y + side, x : x + side] = rng.integers(180, 250, 3)
        boxes.append([x, y, x + side, y + side])
    return LabelledScene(f"scene-{seed}", image, Truth(np.array(boxes), np.zeros(len(boxes)), size))


def store(scenes: list[LabelledScene], folder: Path) -> None:
    """Write scenes as an Arrow folder."""
    rows = []
    for scene in scenes:
        buffer = io.BytesIO()
        Image.fromarray(scene.image).save(buffer, "PNG")
        low, high = scene.truth.boxes[:, :2], scene.truth.boxes[:, 2:]
        rows.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": None},
                "image_id": scene.image_id,
                "width": scene.truth.image_size[0],
                "height": scene.truth.image_size[1],
                "objects": {
                    "bbox": np.concatenate([low, high - low], axis=1).tolist(),
                    "category": scene.truth.class_ids.tolist(),
                },
            }
        )
    Dataset.from_list(rows, features=features(["square"])).save_to_disk(str(folder))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These networks are too small to share: on a busy machine threads that wait for each other take 20 times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def anchors() -> list[list[list[int]]]:
    """Of the small network."""
    return ANCHORS


@pytest.fixture
def small() -> Callable[..., YoloV3Tiny]:
    """Makes small networks: `small(classes=1, grid_scale=2.0)`."""
    return small_network


@pytest.fixture
def detector() -> Callable[[], YoloV3TinyDetector]:
    """Makes small detectors, all alike."""
    return small_detector


@pytest.fixture
def scene() -> Callable[..., LabelledScene]:
    """Makes scenes: `scene(seed, size=(160, 128), count=8)`."""
    return squares_scene


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the splits train (two scenes) and val (one)."""
    root = tmp_path_factory.mktemp("splits")
    store([squares_scene(1), squares_scene(2, (96, 96), 4)], root / "train")
    store([squares_scene(3)], root / "val")
    return root
