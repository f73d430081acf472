"""What a sample costs to make, with and without the cache, in one process: the figures of docs/training.md, "Loader".

python bench/loader.py PREPARED_FOLDER [--tiles]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from safelight.preprocess import Preprocess
from training.detector.photos import PhotoAugment, Photos
from training.detector.scenes import CACHE_BYTES, Augment, Scenes, Tiles
from training.fitting.cache import PictureCache


def seconds(data: Tiles | Photos, samples: range) -> float:
    """Median of a sample."""
    taken = []
    for number in samples:
        started = time.perf_counter()
        data[number]
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    """Print milliseconds a sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiles", action="store_true", help="tiles of 208 pixels instead of whole pictures")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # as in a loader process
    folder = asked.folder / "train"
    for name, size in (("no cache", 0), ("cache", CACHE_BYTES)):
        if asked.tiles:
            scenes, preprocess = Scenes(folder, size), Preprocess("tiles", 416, tile=208, overlap=88)
            data: Tiles | Photos = Tiles(scenes, preprocess, Augment(), 10_000, 0)
        else:
            scenes, preprocess = Scenes(folder, 0), Preprocess("letterbox", 416)
            data = Photos(scenes, preprocess, PhotoAugment(), 10_000, 0, cache=PictureCache(size))
            for number in range(len(scenes)):  # a pass, so that the cache has what it can keep
                data[number]
        first = data[0]
        print(f"{name}: {seconds(data, range(1000, 1060)) * 1000:.1f} ms a sample of {tuple(first[0].shape)}")


if __name__ == "__main__":
    main()
