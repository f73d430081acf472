"""The limit: what the same work costs in one process and one thread, without HTTP: decode, preprocess, ONNX Runtime,
postprocess. By the gateway's own functions, and once more with the decoder that the peers use.

Knows nothing of servers.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from safelight.bundle import Manifest
from safelight.detections import Detections
from safelight.images import ImageLimits, decode_small
from safelight.postprocess import detect

STAGES = ("decode", "preprocess", "infer", "postprocess")


class Limit:
    """folder: of a bundle. graph: the file of it that is run. least_side: JPEGs are decoded no larger than needed, where the
    gateway does so. threads: of ONNX Runtime within one run."""

    def __init__(
        self, folder: Path, *, graph: str = "model.onnx", least_side: int | None = None, threads: int = 1
    ) -> None:
        self._manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        self._preprocess, self._thresholds = self._manifest.preprocessing(), self._manifest.decision()
        self._least = self._thresholds.scores(self._manifest.labels)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._session = ort.InferenceSession((folder / graph).read_bytes(), options, ["CPUExecutionProvider"])
        self._limits, self._least_side = ImageLimits(), least_side

    def boxes(self, data: bytes) -> list[tuple[str, float, list[float]]]:
        """(class, score, box) of each object on a picture, strongest first."""
        found, labels = self._look(data), self._manifest.labels
        return [
            (labels[int(found.class_ids[i])], float(found.scores[i]), [float(v) for v in found.boxes[i]])
            for i in range(len(found))
        ]

    def run(self, data: bytes, seconds: float) -> dict[str, float]:
        """Pictures a second and processor milliseconds of each, for about so long."""
        self._look(data)
        count, begun, cpu = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - begun < seconds:
            self._look(data)
            count += 1
        cpu, elapsed = time.thread_time() - cpu, time.perf_counter() - begun
        return {"requests_per_s": round(count / elapsed, 3), "cpu_ms": round(1000 * cpu / count, 4), "count": count}

    def stages(self, data: bytes, repeats: int) -> dict[str, float]:
        """Processor milliseconds of each stage, medians, and of decoding as the peers do it (`pillow`)."""
        times: dict[str, list[float]] = {name: [] for name in (*STAGES, "pillow")}

        def timed(name: str, work: Callable[[], Any]) -> Any:
            begun = time.thread_time()
            result = work()
            spent[name] = spent.get(name, 0.0) + time.thread_time() - begun
            return result

        for _ in range(repeats):
            spent: dict[str, float] = {}
            timed("pillow", lambda: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
            begun = time.thread_time()
            image, size = timed("decode", lambda: self._decoded(data))
            recorded = _Recorded(self._preprocess, timed)
            self._detect(image, size, recorded, lambda batch: timed("infer", lambda: self._ask(batch)))
            others = sum(spent[name] for name in ("decode", "preprocess", "infer"))
            spent["postprocess"] = time.thread_time() - begun - others
            for name, value in spent.items():
                times[name].append(1000 * value)
        return {name: round(statistics.median(values), 4) for name, values in times.items()}

    def _look(self, data: bytes) -> Detections:
        image, size = self._decoded(data)
        return self._detect(image, size, self._preprocess, self._ask)

    def _decoded(self, data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        return decode_small(data, self._limits, self._least_side, "image/jpeg")

    def _detect(self, image: np.ndarray, size: tuple[int, int], preprocess: Any, run: Any) -> Detections:
        found = detect(image, preprocess, self._thresholds, run, floor=float(np.min(self._least)))
        return found.above(self._least).resized(size)

    def _ask(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = self._session.run(["boxes", "scores"], {self._manifest.input.name: batch})
        return boxes, scores


class _Recorded:
    """A `Preprocess` whose time is taken."""

    def __init__(self, preprocess: Any, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._preprocess, self._timed = preprocess, timed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._preprocess, name)

    def batches(self, image: np.ndarray, size: int) -> Any:
        batches = self._preprocess.batches(image, size)
        while (one := self._timed("preprocess", lambda: next(batches, None))) is not None:
            yield one
