"""Has what a model is shown, or what it finds, become another than it was? Told by statistics that hold no content.

Of each picture seven numbers are taken, and of the numbers only how many fell into each of ten fixed bins is kept. Knows
nothing of models and of where figures go.

Sources: the population stability index (PSI) is Jeffreys' divergence of two histograms, as credit scoring uses it (Siddiqi,
"Credit Risk Scorecards", 2006). What it is by chance alone: Yurdakul, "Statistical Properties of Population Stability Index",
Western Michigan University, 2018: (1/n + 1/m) times a chi-squared variable with one degree of freedom less than bins.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from safelight.detections import Detections

LEAST = 200
"""Pictures before anything is told."""
LEARNT = 1000
"""Pictures that become the reference where there is none."""
WINDOW = 1000
"""Pictures that the present histograms remember: each weighs 1/e of one that came so many later."""

Statistic = Literal["brightness", "contrast", "saturation", "sharpness", "boxes", "top_score", "box_share"]

EDGES: Mapping[Statistic, tuple[float, ...]] = MappingProxyType(
    {
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "contrast": (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.25, 0.3),
        "saturation": (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.32, 0.45),
        "sharpness": (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.055, 0.08),
        "boxes": (1, 2, 3, 5, 8, 13, 21, 34, 55),
        "top_score": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "box_share": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    }
)
"""Lower edges of all bins but the first. Changing one makes another `Reference.recipe`."""

STATISTICS: tuple[Statistic, ...] = tuple(EDGES)
_BINS = 10
_EDGES = np.array([EDGES[name] for name in STATISTICS])
_ROWS = np.arange(len(STATISTICS))
_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
_SAMPLED = 24  # points a side
_RULE = 0.2  # a PSI from which a change is taken seriously, however many pictures speak for it
_CHANCE = 27.88  # 99.9 % quantile of the chi-squared distribution with 9 degrees of freedom

Counts = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=_BINS, max_length=_BINS)]


class Reference(BaseModel):
    """How often each bin of each statistic was met on pictures that were as they should be."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    recipe: Literal[1] = 1
    histograms: dict[Statistic, Counts]

    @model_validator(mode="after")
    def _whole(self) -> Reference:
        if set(self.histograms) != set(STATISTICS) or not all(map(sum, self.histograms.values())):
            raise ValueError(f"expected a histogram that is not empty of each of {', '.join(STATISTICS)}")
        return self


@dataclass(frozen=True)
class Change:
    """psi: of a statistic against the reference. limit: what chance alone hardly reaches with so few pictures (one time in a
    thousand), and at least 0.2; above it the statistic has changed."""

    psi: float
    limit: float


@dataclass(frozen=True)
class Told:
    """against: the bundle's reference, the first pictures after the start, or nothing yet. pictures: seen since the start.
    changes: of each statistic that has been met `LEAST` times since there is a reference."""

    against: Literal["bundle", "first pictures", "nothing yet"]
    pictures: int
    changes: Mapping[Statistic, Change]


class Drift:
    """What was seen of late against a reference. reference: the bundle's; without one the first pictures become it. May be
    used from any thread."""

    def __init__(self, reference: Reference | None, *, window: int = WINDOW, learnt: int = LEARNT) -> None:
        self._against: Literal["bundle", "first pictures", "nothing yet"] = "bundle" if reference else "nothing yet"
        self._reference = None if reference is None else _counts(reference)
        self._keep, self._learnt = math.exp(-1 / window), learnt
        self._lock = threading.Lock()
        self._pictures = 0
        self._recent = np.zeros((len(STATISTICS), _BINS))
        self._met = np.zeros(len(STATISTICS), np.int64)

    def see(self, view: NDArray[np.uint8], found: Detections) -> None:
        """Count a picture. view: `(S, S, 3)` uint8 RGB, as a network is given it. found: at the model's own thresholds and
        of all its classes, for an asker's wishes are no change of the world."""
        rows, bins = _binned(view, found)
        with self._lock:
            self._pictures += 1
            if self._against != "nothing yet":
                self._recent[rows] *= self._keep
            self._recent[rows, bins] += 1
            self._met[rows] += 1
            if self._against == "nothing yet" and self._pictures >= self._learnt:
                self._reference, self._against = self._recent, "first pictures"
                self._recent, self._met = np.zeros_like(self._recent), np.zeros_like(self._met)

    def told(self) -> Told:
        """What has changed, as far as it can be told by now."""
        with self._lock:
            against, pictures, reference = self._against, self._pictures, self._reference
            recent, met = self._recent.copy(), self._met.copy()
        if reference is None:
            return Told(against, pictures, {})
        changes = {
            name: _change(recent[row], reference[row])
            for row, name in enumerate(STATISTICS)
            if met[row] >= LEAST and reference[row].any()
        }
        return Told(against, pictures, changes)


class Tally:
    """Counts what a reference is made of."""

    def __init__(self) -> None:
        self._counts = np.zeros((len(STATISTICS), _BINS), np.int64)

    def add(self, view: NDArray[np.uint8], found: Detections) -> None:
        """Count a picture, as `Drift.see` does."""
        self._counts[_binned(view, found)] += 1

    def reference(self) -> Reference | None:
        """The reference; None before every statistic has been met `LEAST` times, for fewer tell too little."""
        if self._counts.sum(axis=1).min() < LEAST:
            return None
        return Reference(histograms={name: tuple(self._counts[row].tolist()) for row, name in enumerate(STATISTICS)})


def psi(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The population stability index of two histograms `(bins,)` of counts; half a picture is added to each bin, for an
    empty one would make it infinite. The rule of thumb: 0.1 is little, 0.25 is much."""
    p, q = (a + 0.5) / (a.sum() + 0.5 * len(a)), (b + 0.5) / (b.sum() + 0.5 * len(b))
    return float(((p - q) * np.log(p / q)).sum())


def statistics(view: NDArray[np.uint8], found: Detections) -> NDArray[np.float64]:
    """The seven numbers of one picture, in the order of `STATISTICS`; the last is NaN where nothing was found.

    Of a grid of points of the view `(S, S, 3)`: mean and standard deviation of the luma (ITU-R BT.601), mean chroma (largest
    less smallest of R, G, B), mean step of green from a point to its neighbour, all as shares of full scale. Of the boxes:
    their number, the best score, and the mean share of the picture's area.
    """
    step = max(1, len(view) // _SAMPLED)
    points = view[step // 2 : -1 : step, step // 2 : -1 : step].astype(np.float32).reshape(-1, 3)
    beside = view[step // 2 : -1 : step, step // 2 + 1 :: step, 1].reshape(-1)
    red, green, blue = points.T
    luma = points @ _LUMA
    mean = luma.sum() / len(luma)
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    scale = 1 / (255 * len(luma))
    area, share = found.image_size[0] * found.image_size[1], math.nan
    if len(found):
        left, top, right, bottom = found.boxes.T
        share = float((right - left) @ (bottom - top)) / (area * len(found))
    contrast = math.sqrt(max(0.0, float(luma @ luma) / len(luma) - float(mean) ** 2))
    steps = float(np.abs(green - beside).sum()) * scale
    best = float(found.scores.max(initial=0))
    return np.array([mean, contrast, float(chroma.sum()) * scale, steps, len(found), best, share])


def _binned(view: NDArray[np.uint8], found: Detections) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(Rows of the statistics that the picture has, the bin of each)."""
    values = statistics(view, found)
    bins = (values[:, None] >= _EDGES).sum(axis=1)
    return (_ROWS, bins) if len(found) else (_ROWS[:-1], bins[:-1])


def _counts(reference: Reference) -> NDArray[np.float64]:
    return np.array([reference.histograms[name] for name in STATISTICS], np.float64)


def _change(recent: NDArray[np.float64], reference: NDArray[np.float64]) -> Change:
    chance = _CHANCE * (1 / recent.sum() + 1 / reference.sum())
    return Change(psi(recent, reference), max(_RULE, float(chance)))
