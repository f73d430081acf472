"""A graph's bytes as a function: opened by ONNX Runtime, checked against the manifest, run once.

Knows nothing of bundles on disk: the bytes are those that were verified, and no path is ever opened.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from safelight.bundle import Manifest, Tensor
from safelight.errors import ManifestInvalid
from safelight.postprocess import Run

BOXES, SCORES = "boxes", "scores"


def open_network(manifest: Manifest, graph: bytes, *, threads: int, warm_batches: Sequence[int]) -> Run:
    """The network of a verified bundle, warmed with black pictures at the given batch sizes.

    threads: within one run, 0 for one a core. Raises ManifestInvalid when the graph does not load, is not what the
    manifest says, or does not answer `(B, A, 4)` finite boxes and `(B, A, classes)` scores in [0, 1].
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave their core alone
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime raises a class of its own for each kind of failure
        raise ManifestInvalid("The graph cannot be opened by ONNX Runtime.") from None
    _check("input", (manifest.input,), session.get_inputs())
    _check("output", manifest.outputs, session.get_outputs())
    if {tensor.name for tensor in manifest.outputs} != {BOXES, SCORES}:
        raise ManifestInvalid(f"Expected the outputs {BOXES} and {SCORES}.")
    name = manifest.input.name

    def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = session.run([BOXES, SCORES], {name: batch})
        return boxes, scores

    side = manifest.preprocessing().input_size
    for size in warm_batches:
        _check_answer(run, size, side, len(manifest.labels))
    return run


def _check(kind: str, promised: Sequence[Tensor], found: Sequence[ort.NodeArg]) -> None:
    """Raises ManifestInvalid unless names, types and fixed dimensions agree; named dimensions are free."""
    want = {t.name: tuple(d if isinstance(d, int) else None for d in t.shape) for t in promised}
    have = {
        n.name: tuple(d if isinstance(d, int) else None for d in n.shape) for n in found if n.type == "tensor(float)"
    }
    if len(have) != len(found) or set(want) != set(have):
        raise ManifestInvalid(f"The graph's {kind}s are not those in the manifest: {sorted(want)} of float32.")
    for name, shape in want.items():
        pairs = list(zip(shape, have[name], strict=False))
        if len(shape) != len(have[name]) or any(a is not None and b is not None and a != b for a, b in pairs):
            raise ManifestInvalid(f"The graph's {kind} {name} does not have the shape that the manifest gives.")


def _check_answer(run: Run, batch: int, side: int, classes: int) -> None:
    try:
        boxes, scores = run(np.zeros((batch, 3, side, side), np.float32))
    except Exception:  # as above
        raise ManifestInvalid(f"The graph does not run on a batch of {batch} black pictures.") from None
    anchors = boxes.shape[1:2]
    if boxes.shape != (batch, *anchors, 4) or scores.shape != (batch, *anchors, classes):
        raise ManifestInvalid(f"Expected boxes ({batch}, A, 4) and scores ({batch}, A, {classes}) from the graph.")
    if not (np.isfinite(boxes).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise ManifestInvalid("Expected finite boxes and scores in [0, 1] from the graph.")
