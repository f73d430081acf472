"""Charts of a prepared data set, as SVG text that depends on the data alone.

Knows nothing of pages or pictures.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from safelight.drawing import PALETTE
from training.data.records import Scene

Scenes = Mapping[str, Sequence[Scene]]
_COLOURS = dict(zip(("train", "val", "test"), (PALETTE[4], PALETTE[0], PALETTE[2]), strict=True))
_INK = "#3d444d"
_MOST_CLASSES = 40
_CELLS = 48
_STYLE = {
    "svg.hashsalt": "safelight",  # else ids are random
    "svg.fonttype": "none",
    "text.parse_math": False,  # class names may hold a dollar sign
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": "#c5ccd3",
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


def class_balance(scenes: Scenes, labels: Sequence[str]) -> str:
    """Boxes of each class, one bar a class, one colour a split; the most frequent 40."""
    counts = {
        split: np.bincount([c for s in own for c in s.classes], minlength=len(labels)) for split, own in scenes.items()
    }
    total = sum(counts.values(), np.zeros(len(labels), np.int64))
    shown = np.argsort(-total, kind="stable")[:_MOST_CLASSES][::-1]

    def paint(axes: Sequence[Axes]) -> None:
        start = np.zeros(len(shown))
        for split, values in counts.items():
            axes[0].barh(range(len(shown)), values[shown], left=start, color=_colour(split), label=split, height=0.7)
            start += values[shown]
        axes[0].set_yticks(range(len(shown)), [_short(labels[i]) for i in shown])
        axes[0].set_xlabel("boxes")
        axes[0].legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0)

    return _svg(paint, 1, (8, 0.9 + 0.26 * len(shown)))


def box_shapes(scenes: Scenes) -> str:
    """Three histograms: side of a box (square root of its area) in pixels, the same as a share of its picture, and width
    by height."""
    sides: dict[str, NDArray[np.float64]] = {}
    shares: dict[str, NDArray[np.float64]] = {}
    ratios: dict[str, NDArray[np.float64]] = {}
    for split, own in scenes.items():
        boxes = np.array([b for s in own for b in s.boxes], np.float64).reshape(-1, 4)
        areas = np.array([s.size[0] * s.size[1] for s in own for _ in s.boxes], np.float64)
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        sides[split] = np.sqrt(width * height)
        shares[split] = np.sqrt(width * height / areas)
        ratios[split] = width / height

    def paint(axes: Sequence[Axes]) -> None:
        _histogram(axes[0], sides, "Side of a box", "pixels")
        _histogram(axes[1], shares, "Side of a box / side of its picture", "share")
        _histogram(axes[2], ratios, "Width of a box / height", "ratio")
        axes[0].legend(frameon=False)

    return _svg(paint, 3, (10, 2.7))


def pictures(scenes: Scenes) -> str:
    """Two histograms: side of a picture (square root of its area) in pixels, and boxes on a picture."""
    sides = {k: np.array([np.sqrt(s.size[0] * s.size[1]) for s in own]) for k, own in scenes.items()}
    boxes = {k: np.array([len(s.boxes) for s in own], np.float64) for k, own in scenes.items()}

    def paint(axes: Sequence[Axes]) -> None:
        _histogram(axes[0], sides, "Side of a picture", "pixels")
        most = max((float(v.max()) for v in boxes.values() if len(v)), default=0.0)
        edges = np.linspace(-0.5, max(most, 4) + 0.5, int(min(max(most, 4) + 2, 31)))
        _steps(axes[1], boxes, edges)
        axes[1].set(title="Boxes on a picture", xlabel="boxes", ylabel="pictures")
        axes[0].legend(frameon=False)

    return _svg(paint, 2, (10, 2.7))


def places(scenes: Scenes) -> str:
    """Where boxes lie: of each split, how often each part of the (unit) picture is inside a box."""
    maps = {split: coverage(own) for split, own in scenes.items()}

    def paint(axes: Sequence[Axes]) -> None:
        for place, (split, values) in zip(axes, maps.items(), strict=True):
            place.imshow(values, cmap="viridis", vmin=0, vmax=max(float(values.max()), 1e-9), interpolation="nearest")
            place.set(title=split, xticks=[], yticks=[])

    return _svg(paint, len(maps), (2.6 * len(maps), 2.7))


def coverage(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """`(48, 48)` shares of boxes that cover each part of the picture, rows from the top."""
    total = np.zeros((_CELLS, _CELLS))
    number = 0
    for scene in scenes:
        width, height = scene.size
        for x0, y0, x1, y1 in scene.boxes:
            columns = slice(int(x0 / width * _CELLS), int(np.ceil(x1 / width * _CELLS)))
            rows = slice(int(y0 / height * _CELLS), int(np.ceil(y1 / height * _CELLS)))
            total[rows, columns] += 1
            number += 1
    return total / max(number, 1)


def _histogram(axes: Axes, values: Mapping[str, NDArray[np.float64]], title: str, unit: str) -> None:
    """Logarithmic in what is counted: sides and ratios of boxes differ by factors."""
    every = np.concatenate([*values.values(), np.zeros(0)])
    low, high = (float(every.min()), float(every.max())) if len(every) else (1.0, 2.0)
    margin = 1.05 if high > 1.2 * low else 1.5  # all alike: one bar in the middle, not one that fills the chart
    edges = np.geomspace(low / margin, high * margin, 31)
    _steps(axes, values, edges)
    axes.set_xscale("log")
    ticks = [t for t in (m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5)) if edges[0] <= t <= edges[-1]]
    ticks = ticks[:: max(1, -(-len(ticks) // 6))] if len(ticks) > 1 else [low, high] if high > 1.2 * low else [low]
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(title=title, xlabel=unit, ylabel="")


def _steps(axes: Axes, values: Mapping[str, NDArray[np.float64]], edges: NDArray[np.float64]) -> None:
    """Stacked, so that the whole is to be seen as well as the splits."""
    shown = list(values)
    axes.hist([values[s] for s in shown], edges.tolist(), stacked=True, color=[_colour(s) for s in shown], label=shown)


def _colour(split: str) -> str:
    return _COLOURS.get(split, PALETTE[1])


def _short(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"


def _svg(paint: Callable[[Sequence[Axes]], None], columns: int, size: tuple[float, float]) -> str:
    """Draw on a row of axes; the SVG element alone, without the prologue of a file."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(list(np.atleast_1d(figure.subplots(1, columns))))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
