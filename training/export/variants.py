"""Cheaper ways to nearly the same answers, each behind a gate of its own: an int8 graph, JPEGs decoded small.

Knows nothing of configurations or of how mAP50 is computed: the measure is given. A report is a plain dictionary with
`outcome` (accepted, refused, not offered), `reason` (None when accepted) and what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.bundle import Variant
from safelight.detections import Detections
from safelight.errors import ConfigError, SafelightError
from safelight.images import ImageLimits, decode_small
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess, to_tensor
from training.export.gate import Verdict, judge, medians
from training.export.int8 import INT8, Int8, quantise
from training.export.onnx import onnx_run

Measure = Callable[[Run], float]
"""mAP50 on the validation split of what a network finds."""

_LIMITS = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 28)  # our own data: not limited as strangers' uploads are
_TIMED = 8  # inputs, or files, that a timing looks at


@dataclass(frozen=True)
class Dct:
    """max_map50_drop: what decoding small may cost."""

    enabled: bool
    max_map50_drop: float


def not_offered(reason: str) -> dict[str, Any]:
    """The report of a variant that was not tried."""
    return {"outcome": "not offered", "reason": reason}


def int8_variant(
    graph: Path, settings: Int8, pictures: NDArray[np.uint8], measure: Measure, before: float, repeats: int
) -> dict[str, Any]:
    """Quantise `graph` into the file beside it, which stays only if it is accepted.

    pictures: calibration inputs `(N, S, S, 3)` uint8. before: mAP50 of `graph`. repeats: of the timing.
    """
    small = graph.with_name(INT8)
    try:
        made = quantise(graph, pictures, settings, small)
    except ConfigError:
        raise
    except Exception as error:  # the quantiser raises what its parts raise
        small.unlink(missing_ok=True)
        return not_offered(f"ONNX Runtime could not quantise the graph ({type(error).__name__})")
    whole, quantised = onnx_run(graph), onnx_run(small)
    verdict = judge(before, measure(quantised), settings.max_map50_drop)
    batch = np.stack([to_tensor(picture) for picture in pictures[:_TIMED]])
    report = {
        **made,
        "method": settings.method,
        "bytes": {"fp32": graph.stat().st_size, "int8": small.stat().st_size},
        "latency_ms": compared(
            {
                f"{name}_batch_{size}": _call(run, batch[:size])
                for size in (1, len(batch))
                for name, run in (("fp32", whole), ("int8", quantised))
            },
            repeats,
        ),
    }
    if not verdict.accepted:
        small.unlink()
    return _report(verdict, report, {"file": INT8})


def dct_variant(
    files: Sequence[bytes],
    settings: Dct,
    preprocess: Preprocess,
    thresholds: Thresholds,
    runs: Mapping[str, Run],
    score: Callable[[list[Detections]], float],
    repeats: int,
) -> dict[str, Any]:
    """Decode validation JPEGs small, and look at what that costs each of the networks that may be served.

    files: the split's pictures as files. runs: the networks by name; the first is fp32. score: mAP50 of what was found on
    the pictures in order. The gate is the worst of the networks'.
    """
    least_side = preprocess.input_size
    try:
        halved = [data for data in files if _shrinks(data, least_side)]
    except SafelightError:
        return not_offered("not every validation picture is a JPEG that the service would take")
    if not halved:
        return not_offered(f"no validation picture has twice the {least_side} pixels that the network sees")

    def found(run: Run, least: int | None) -> list[Detections]:
        return [look(data, least, preprocess, thresholds, run) for data in files]

    verdicts = {
        name: judge(score(found(run, None)), score(found(run, least_side)), settings.max_map50_drop)
        for name, run in runs.items()
    }
    worst = min(verdicts.values(), key=lambda verdict: (verdict.accepted, -verdict.gate["drop"]))
    timed, run = halved[:_TIMED], next(iter(runs.values()))
    report = {
        "files": len(files),
        "files_decoded_small": len(halved),
        "gates": {name: verdict.gate for name, verdict in verdicts.items()},
        "latency_ms": compared(
            {
                "decode_whole": lambda: [decode_small(data, _LIMITS, None) for data in timed],
                "decode_small": lambda: [decode_small(data, _LIMITS, least_side) for data in timed],
                "all_whole": lambda: [look(data, None, preprocess, thresholds, run) for data in timed],
                "all_small": lambda: [look(data, least_side, preprocess, thresholds, run) for data in timed],
            },
            repeats,
        )
        | {"files_timed": len(timed)},
    }
    return _report(worst, report, {"least_side": least_side})


def look(data: bytes, least_side: int | None, preprocess: Preprocess, thresholds: Thresholds, run: Run) -> Detections:
    """What is found on a file, in pixels of the whole picture, however small it was decoded."""
    pixels, size = decode_small(data, _LIMITS, least_side)
    return detect(pixels, preprocess, thresholds, run).resized(size)


def compared(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Medians side by side, rounded, with the ratio of each second action to the first before it."""
    taken = medians(actions, repeats)
    names = list(taken)
    ratios = {f"{b}_ratio": round(taken[b] / taken[a], 3) for a, b in zip(names[::2], names[1::2], strict=True)}
    return {name: round(ms, 2) for name, ms in taken.items()} | ratios


def manifest_variants(report: Mapping[str, Any]) -> dict[str, Variant]:
    """Those of an export report's variants that were accepted, as a manifest holds them: without timings, so that the same
    graphs make the same bundle."""
    return {
        name: Variant(**found["use"], gate=found["gate"])
        for name, found in report["variants"].items()
        if found["outcome"] == "accepted"
    }


def _shrinks(data: bytes, least_side: int) -> bool:
    """Whether a JPEG comes out smaller than it is. Raises SafelightError when it is none that the service takes."""
    pixels, size = decode_small(data, ImageLimits(_LIMITS.max_bytes, _LIMITS.max_pixels, ("image/jpeg",)), least_side)
    return (pixels.shape[1], pixels.shape[0]) != size


def _call(run: Run, batch: NDArray[np.float32]) -> Callable[[], object]:
    return lambda: run(batch)


def _report(verdict: Verdict, measured: dict[str, Any], use: dict[str, Any]) -> dict[str, Any]:
    outcome = {"outcome": "accepted" if verdict.accepted else "refused", "reason": verdict.reason, "gate": verdict.gate}
    return outcome | measured | ({"use": use} if verdict.accepted else {})
