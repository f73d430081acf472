"""Golden samples: made-up inputs and what a network answered to them at export, so that a server can tell that the network
it has just loaded answers likewise on its own machine.

A bundle holds no picture, made up or real: samples follow from a seed, by exact arithmetic, so that every machine draws the
same. Knows nothing of files and runtimes; a network is any `Run`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from safelight.errors import ManifestInvalid
from safelight.postprocess import Run
from safelight.preprocess import Preprocess, to_tensor

STRONGEST = 16
_KEPT = 3
_TRIED = 12  # drawings to choose from: those on which the network sees most tell most
_CLOUDS = (2, 5, 11, 23)  # cells a side of each octave; each weighs half of the one before
_SHAPES = 14
_LEAST = 1e-6  # scores below it are no answer, and differ by more than they are


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tolerance(_Frozen):
    """How far an answer may be from the golden one. score: as a share of the golden score, for most answers to a drawing
    are weak, and nothing at all would pass for weak by an absolute measure. box: input pixels, of a box of the input's
    size; larger ones may be off by more in proportion."""

    score: float = Field(gt=0, lt=1)
    box: float = Field(gt=0)


EXACT = Tolerance(score=0.002, box=0.5)
"""Of fp32 graphs from one CPU to another, where sums are taken in another order. Two detectors moved by less than 4e-5 of a
score and 0.005 pixels, the rounding of what is kept, whatever the threads, batch and graph optimisations."""

QUANTISED = Tolerance(score=0.5, box=16.0)
"""Of int8 graphs. A sum that differs in its last bit falls into the next of 256 steps: the same two detectors, run once by
integer kernels and once in floats, differed by up to 0.16 of a score and 2.2 pixels. CPUs without VNNI go further, for there
u8 times s8 saturates in 16 bits (ONNX Runtime, "Quantize ONNX models", on U8S8). So this tells a damaged graph, or another
one, but not a slightly worse one."""


class Answer(_Frozen):
    """One of the strongest boxes: class index, score, and xyxy in input pixels."""

    label: int = Field(ge=0)
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float]


class Sample(_Frozen):
    """drawing: which of the seed's drawings. answers: the strongest, strongest first; fewer than `STRONGEST` where the graph
    gave fewer, as one does that suppresses doubles itself."""

    drawing: int = Field(ge=0)
    answers: Annotated[tuple[Answer, ...], Field(max_length=STRONGEST)]


class Golden(_Frozen):
    """What a network answers to drawings of a seed. recipe: of the drawings, see `draw`."""

    recipe: Literal[1] = 1
    seed: int = Field(ge=0)
    tolerance: Tolerance
    samples: Annotated[tuple[Sample, ...], Field(min_length=1, max_length=8)]


def draw(seed: int, drawing: int, side: int) -> NDArray[np.uint8]:
    """A made-up view `(side, side, 3)` uint8: clouds of four sizes, ellipses and rectangles with stripes, fine grain.

    Recipe 1. SHAKE-256 gives the numbers; what is done with them is exact, in integers and in float32 of few binary
    digits, so that no library's random stream or sine matters. A recipe that draws otherwise needs another number.
    """
    source = hashlib.shake_256(f"safelight golden 1 {seed} {drawing}".encode())
    sizes = [(cells + 1) ** 2 * 3 for cells in _CLOUDS]
    numbers = np.frombuffer(source.digest(sum(sizes) + _SHAPES * 12 + side * side), np.uint8).astype(np.int64)
    *lattices, shapes, grain = np.split(numbers, np.cumsum([*sizes, _SHAPES * 12]))
    clouds = np.zeros((3, side, side), np.float32)
    for octave, (cells, lattice) in enumerate(zip(_CLOUDS, lattices, strict=True)):
        clouds += _stretched(lattice.reshape(3, cells + 1, cells + 1), side) * np.float32(2.0 ** -(octave + 13))
    canvas = np.ascontiguousarray(clouds.transpose(1, 2, 0), np.int32)
    for shape in shapes.reshape(_SHAPES, 12):
        _add_shape(canvas, shape)
    canvas += (grain.astype(np.int32).reshape(side, side, 1) >> 4) - 8
    return np.clip(canvas, 0, 255).astype(np.uint8)


def make(preprocess: Preprocess, run: Run, seed: int, tolerance: Tolerance = EXACT) -> Golden:
    """What `run` answers to those of a seed's drawings on which it sees most. Raises ManifestInvalid when its answers are
    no boxes and scores. Figures are rounded to far less than the tolerance."""
    answered = [(number, _answers(run, seed, number, preprocess.input_size)) for number in range(_TRIED)]
    answered.sort(key=lambda item: (-float(item[1][1].max(initial=0)), item[0]))
    samples = (_sample(number, boxes, scores) for number, (boxes, scores) in answered[:_KEPT])
    return Golden(seed=seed, tolerance=tolerance, samples=tuple(samples))


def check(golden: Golden, preprocess: Preprocess, run: Run, slack: float = 1.0) -> None:
    """Raises ManifestInvalid unless `run` answers as `golden` says.

    Each golden box has to be there, of its class, wherever it stands in the output, for equal scores may change places; and
    the strongest scores have to be those that are golden, so that nothing strong has come in addition. slack: a factor
    on the tolerance, for hardware that computes less exactly than a CPU does (TF32 on CUDA). Runs one input at a time.
    """
    allowed = golden.tolerance
    for place, sample in enumerate(golden.samples, start=1):
        boxes, scores = _answers(run, golden.seed, sample.drawing, preprocess.input_size)
        score_off, box_off = _difference(sample, boxes, scores, allowed, preprocess.input_size)
        if not (score_off <= allowed.score * slack and box_off <= allowed.box * slack):
            raise ManifestInvalid(
                f"The network does not answer as it did at export: on golden sample {place} of {len(golden.samples)} a "
                f"score is off by {100 * score_off:.3g} % and a box by {box_off:.3g} pixels (allowed: "
                f"{100 * allowed.score * slack:g} % and {allowed.box * slack:g} pixels)."
            )


def _difference(
    sample: Sample, boxes: NDArray[np.float64], scores: NDArray[np.float64], allowed: Tolerance, side: int
) -> tuple[float, float]:
    """The largest differences (share of a score, pixels) from a sample's answers, each measured on the box that fits best.
    Where there are fewer answers than are kept, the rest are scores of 0: nothing may have come in addition."""
    if any(answer.label >= scores.shape[1] for answer in sample.answers) or (sample.answers and not len(scores)):
        return np.inf, np.inf
    expected, strongest = np.zeros(STRONGEST), np.zeros(STRONGEST)
    expected[: len(sample.answers)] = [answer.score for answer in sample.answers]
    top = scores if scores.size <= STRONGEST else np.partition(scores, -STRONGEST, axis=None)[-STRONGEST:]
    strongest[: top.size] = np.sort(top, axis=None)[::-1]
    score_off = float((np.abs(strongest - expected) / np.maximum(expected, _LEAST)).max())
    box_off = 0.0
    for answer in sample.answers:
        box = np.array(answer.box)
        larger = max(1.0, float((box[2:] - box[:2]).max()) / side)
        of_score = np.abs(scores[:, answer.label] - answer.score) / max(answer.score, _LEAST)
        of_box = np.abs(boxes - box).max(axis=1) / larger
        best = np.maximum(of_score / allowed.score, of_box / allowed.box).argmin()
        score_off, box_off = max(score_off, float(of_score[best])), max(box_off, float(of_box[best]))
    return score_off, box_off


def _answers(run: Run, seed: int, drawing: int, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes `(A, 4)` and scores `(A, C)` for one drawing. Raises ManifestInvalid when they are none."""
    boxes, scores = run(to_tensor(draw(seed, drawing, side))[None])
    anchors = boxes.shape[1:2]
    if boxes.shape != (1, *anchors, 4) or scores.ndim != 3 or scores.shape[:2] != (1, *anchors) or not scores.shape[2]:
        raise ManifestInvalid("Expected boxes (1, A, 4) and scores (1, A, C) for a golden sample.")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ManifestInvalid("Expected finite boxes and scores for a golden sample.")
    return boxes[0].astype(np.float64), scores[0].astype(np.float64)


def _sample(drawing: int, boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> Sample:
    strongest = np.argsort(-scores, axis=None, kind="stable")[:STRONGEST]
    anchors, labels = np.unravel_index(strongest, scores.shape)
    answers = (
        Answer(
            label=int(label),
            score=float(f"{min(max(scores[anchor, label], 0.0), 1.0):.5g}"),
            box=(left, top, right, bottom),
        )
        for anchor, label, (left, top, right, bottom) in zip(
            anchors, labels, boxes[anchors].round(2).tolist(), strict=True
        )
    )
    return Sample(drawing=drawing, answers=tuple(answers))


def _stretched(lattice: NDArray[np.int64], side: int) -> NDArray[np.float32]:
    """A lattice `(3, n + 1, n + 1)` as `(3, side, side)`, linear between its points, and 4096 times as large: integers."""
    points = lattice.shape[1]
    place = np.arange(side) * (points - 1) * 64 // side
    weights = np.clip(64 - np.abs(np.arange(points) * 64 - place[:, None]), 0, None).astype(np.float32)
    stretched: NDArray[np.float32] = weights @ lattice.astype(np.float32) @ weights.T
    return stretched


def _add_shape(canvas: NDArray[np.int32], numbers: NDArray[np.int64]) -> None:
    """Paint an ellipse or a rectangle with stripes. numbers: twelve of 0..255."""
    side = len(canvas)
    x, y, wide, high, *rest = (int(number) for number in numbers)
    centre_x, centre_y = x * side >> 8, y * side >> 8
    half_x, half_y = max(2, (16 + wide) * side >> 10), max(2, (16 + high) * side >> 10)
    left, top = max(0, centre_x - half_x), max(0, centre_y - half_y)
    part = canvas[top : centre_y + half_y, left : centre_x + half_x]
    off_y, off_x = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    round_ = ((off_x - centre_x) * half_y) ** 2 + ((off_y - centre_y) * half_x) ** 2 <= (half_x * half_y) ** 2
    inside = round_ if rest[0] & 1 else np.ones_like(round_)
    stripes = ((off_x * (rest[1] & 7) + off_y * (rest[2] & 7)) >> (3 + (rest[3] & 3))) & 1
    colour = np.array(rest[4:7]) + (stripes * (rest[7] >> 1))[:, :, None] - (rest[7] >> 2)
    part[inside] = colour[inside]
