"""Real pictures for export: what calibration looks at, and the files that validation pictures came as.

Knows nothing of graphs. Both come from prepared splits (training/data/scenes.py).
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from datasets import Image, load_from_disk
from numpy.typing import NDArray

from safelight.errors import DataError
from safelight.preprocess import Preprocess, render_view


def calibration_inputs(folder: Path, preprocess: Preprocess, samples: int, seed: int) -> NDArray[np.uint8]:
    """At most `samples` views of a split's pictures as the network gets them, `(N, S, S, 3)` uint8: one of each picture in
    turn, at random, until there are enough. Raises DataError when the split is missing or empty."""
    split = load_from_disk(str(folder)) if folder.is_dir() else None
    if split is None or not len(split):
        raise DataError(f"Expected pictures to calibrate on in {folder}. Run the prepare stage first.")
    rng = np.random.default_rng(seed)
    rows = [int(row) for row in rng.permutation(len(split))[:samples]]
    sizes = split.select_columns(["width", "height"])
    views = [preprocess.views((sizes[row]["width"], sizes[row]["height"])) for row in rows]
    orders = [rng.permutation(len(of_one)) for of_one in views]
    turns = [(turn, place) for place, order in enumerate(orders) for turn in range(len(order))]
    rendered = []
    for place, chosen in groupby(sorted(sorted(turns)[:samples], key=itemgetter(1)), key=itemgetter(1)):
        image = np.asarray(split[rows[place]]["image"].convert("RGB"))
        for turn, _ in chosen:
            rendered.append(render_view(image, views[place][orders[place][turn]], preprocess.input_size))
    return np.stack(rendered)


def files(folder: Path) -> list[bytes]:
    """The split's pictures as the files they are kept as, in its order."""
    column = load_from_disk(str(folder)).select_columns(["image"]).cast_column("image", Image(decode=False))
    return [bytes(row["image"]["bytes"]) for row in column]
