"""The detector that every peer serves: the same graph, preprocessing and postprocessing as the gateway's, around which a user
would write what is in the other files. Pictures are decoded as users do it, with Pillow and nothing else.

The bundle's folder is in PEER_BUNDLE. Knows nothing of HTTP.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TypedDict

import numpy as np
import onnxruntime as ort
from PIL import Image

from safelight.bundle import Manifest
from safelight.postprocess import detect


class Found(TypedDict):
    """One object. box: x_min, y_min, x_max, y_max in pixels of the picture."""

    class_name: str
    confidence: float
    box: list[float]


class Detector:
    """folder: of the bundle. threads: of ONNX Runtime within one run."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        self.labels, self.preprocess, self.thresholds = manifest.labels, manifest.preprocessing(), manifest.decision()
        self._least = self.thresholds.scores(self.labels)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._session = ort.InferenceSession((folder / "model.onnx").read_bytes(), options, ["CPUExecutionProvider"])
        self._input = manifest.input.name

    @classmethod
    def of_environment(cls) -> Detector:
        return cls(Path(os.environ["PEER_BUNDLE"]))

    def __call__(self, data: bytes) -> list[Found]:
        """What is on a picture, strongest first."""
        return self.look(Image.open(io.BytesIO(data)))

    def look(self, picture: Image.Image) -> list[Found]:
        image = np.asarray(picture.convert("RGB"))
        least = float(np.min(self._least))
        found = detect(image, self.preprocess, self.thresholds, self._run, floor=least).above(self._least)
        return [
            Found(
                class_name=self.labels[int(class_id)],
                confidence=round(float(score), 6),
                box=[round(float(value), 2) for value in box],
            )
            for box, score, class_id in zip(found.boxes, found.scores, found.class_ids, strict=True)
        ]

    def _run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = self._session.run(["boxes", "scores"], {self._input: batch})
        return boxes, scores
