"""What an exported model's graphs answer to golden samples, and how pictures and answers are when all is well: for the
manifest, so that serving can tell a graph that answers otherwise, and a world that has become another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safelight.bundle import MODEL
from safelight.drift import Reference, Tally
from safelight.golden import EXACT, QUANTISED, Golden, check, make
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess, render_view
from training.export.onnx import onnx_run


def golden_samples(folder: Path, variants: Iterable[str], preprocess: Preprocess, seed: int) -> dict[str, Golden]:
    """Golden samples of model.onnx and of the quantised graphs `variants` in `folder`, by file name.

    Answers are made in one thread, so that they do not follow the number of cores. Raises ManifestInvalid when a graph does
    not give them again with all of them, as one does not whose answers are chance.
    """
    golden = {}
    for name in (MODEL, *variants):
        tolerance = EXACT if name == MODEL else QUANTISED
        golden[name] = make(preprocess, onnx_run(folder / name, threads=1), seed, tolerance)
        check(golden[name], preprocess, onnx_run(folder / name))
    return golden


def reference(
    images: Iterable[NDArray[np.uint8]], preprocess: Preprocess, decision: Thresholds, labels: Sequence[str], run: Run
) -> Reference | None:
    """Histograms of what `run` is shown and finds on pictures `(H, W, 3)` uint8 RGB, as serving counts them: the first view,
    and the boxes above the model's own thresholds. None when there are too few to tell anything."""
    least, tally = decision.scores(labels), Tally()
    for image in images:
        view = preprocess.views((image.shape[1], image.shape[0]))[0]
        found = detect(image, preprocess, decision, run, floor=float(least.min())).above(least)
        tally.add(render_view(image, view, preprocess.input_size), found)
    return tally.reference()
