"""Every head and layout, in every type and order of pixels, sees the same squares on the same picture."""

from __future__ import annotations

import numpy as np
import pytest

from safelight.errors import ManifestInvalid
from safelight.postprocess import detect
from serving.models.network import Network, open_network
from tests.serving.conftest import squares
from tests.serving.graphs import manifest
from tests.serving.head_graphs import LAYOUTS, described, head_graph

CAT, PERSON = [8, 32, 16, 40], [48, 8, 56, 16]


def opened(layout: str, dtype: str = "float32", channels: str = "first", batch: int | str = "batch") -> Network:
    told = manifest(**described(layout, dtype, channels, batch))
    graph = head_graph(layout, dtype, channels, batch)
    return open_network(told, graph, threads=1, provider="cpu", warm_batches=(1, 3))


def picture() -> np.ndarray:
    """A person in full red and a cat in green of 200 of 255."""
    pixels = squares(person=(48, 8), cat=(8, 32))
    pixels[..., 1] = pixels[..., 1] // 255 * 200
    return pixels


def seen(network: Network, told) -> list[tuple[int, list[float], float]]:
    found = detect(picture(), told.preprocessing(), told.decision(), network, floor=0.6)
    return sorted(
        (int(c), [round(float(v)) for v in box], float(s))
        for c, box, s in zip(found.class_ids, found.boxes, found.scores, strict=True)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "channels", "batch"),
    [
        ("float32", "first", "batch"),
        ("float16", "first", "batch"),
        ("uint8", "first", "batch"),
        ("float32", "last", "batch"),
        ("uint8", "last", 1),
        ("float16", "first", 1),
    ],
)
def test_the_same_squares_are_seen(layout, dtype, channels, batch):
    told = manifest(**described(layout, dtype, channels, batch))
    network = opened(layout, dtype, channels, batch)
    person, cat = seen(network, told)
    assert person[:2] == (0, PERSON) and cat[:2] == (1, CAT)
    tolerance = 0.005 if dtype == "float16" else 0.002  # logits of the graphs end at 0.001 and 0.999
    assert abs(person[2] - 1) < tolerance and abs(cat[2] - 200 / 255) < tolerance


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_batch_answers_as_its_pictures_do(layout, batch, rng):
    network = opened(layout, batch=batch)
    pictures = rng.random((5, 3, 64, 64), np.float32)
    pictures[2] = 0
    together = network(pictures)
    assert together[0].dtype == together[1].dtype == np.float32
    alone = [network(pictures[i : i + 1]) for i in range(5)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "head"),
    [
        ("yolov8", "yolov5"),
        ("yolov5", "yolov8"),
        ("yolov8", "boxes-scores"),
        ("ours", "yolov3"),
        ("yolo-nas-flat", "yolo-end2end"),
    ],
)
def test_a_head_that_is_not_the_graphs_is_refused(layout, head):
    told = manifest(**{**described(layout), "head": head})
    with pytest.raises(ManifestInvalid):
        open_network(told, head_graph(layout), threads=1, provider="cpu", warm_batches=(1,))
