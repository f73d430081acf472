"""Charts of an evaluation, as PNG bytes. Knows nothing of pictures, files or networks.

Drawn without pyplot, which keeps every figure in memory until it is closed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from safelight.drawing import PALETTE
from training.detector.metrics import Curve
from training.evaluation.calibration import Bin
from training.evaluation.confusion import BACKGROUND

_GREY = "#6B6B6B"
_MOST_LINES = 7  # as many as the palette has colours
_MOST_CELLS = 25  # classes a confusion matrix can show


def precision_recall_chart(curves: Mapping[str, Curve], average_precision: Mapping[str, float], iou: float) -> bytes:
    """Precision against recall, a line a class; of many classes those at both ends of AP, the others in grey."""
    figure, axes = _axes(f"Precision against recall, IoU {iou:g}", "recall", "precision")
    ranked = sorted(curves, key=lambda label: -average_precision[label])
    half = _MOST_LINES // 2
    named = ranked if len(ranked) <= _MOST_LINES else [*ranked[: half + 1], *ranked[-half:]]
    for label in [label for label in ranked if label not in named]:
        axes.plot(curves[label].recall, curves[label].precision, color="#CCCCCC", linewidth=0.8, zorder=1)
    for number, label in enumerate(named):
        text = f"{average_precision[label]:.2f}  {label}"
        axes.plot(curves[label].recall, curves[label].precision, color=PALETTE[number], linewidth=1.8, label=text)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    if named:
        axes.legend(frameon=False, fontsize=9, title="AP50 of")
    return _png(figure)


def threshold_chart(curve: Curve, chosen: float, said: str) -> bytes:
    """Precision, recall and F1 against the score threshold, and the threshold that was chosen."""
    figure, axes = _axes("Where to cut: all classes together", "score threshold", "")
    for values, name, colour in (
        (curve.precision, "precision", PALETTE[1]),
        (curve.recall, "recall", PALETTE[0]),
        (curve.f1, "F1", PALETTE[2]),
    ):
        axes.plot(curve.scores, values, color=colour, linewidth=1.8, label=name)
    axes.axvline(chosen, color=_GREY, linestyle="--", linewidth=1.2, label=f"{chosen:.3f}, {said}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def confusion_chart(counts: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Shares of what is there, with counts; of many classes those with most errors."""
    names, shown = [*labels, BACKGROUND], np.arange(len(labels) + 1)
    if len(labels) > _MOST_CELLS:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        shown = np.append(np.sort(np.argsort(-errors[:-1], kind="stable")[:_MOST_CELLS]), len(labels))
    part = counts[np.ix_(shown, shown)]
    share = part / np.maximum(1, counts.sum(axis=1)[shown])[:, None]
    share[-1] = 0  # of nothing there is no total
    side = max(4.2, 0.55 * len(shown) + 2)
    figure, axes = _axes("What is there, and what is answered", "answered", "there", (side, side))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = [names[i] for i in shown]
    axes.set_xticks(range(len(shown)), ticks, rotation=45, ha="right")
    axes.set_yticks(range(len(shown)), ticks)
    axes.grid(False)
    for (row, column), count in np.ndenumerate(part):
        if count:
            ink = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=9)
    return _png(figure)


def reliability_chart(before: Sequence[Bin], after: Sequence[Bin] | None, how: str) -> bytes:
    """Share of hits against mean score, raw and, where there is such a thing, calibrated; areas of the points follow how
    many there are. how: it was calibrated, in words."""
    figure, axes = _axes("Are scores probabilities?", "score (mean of a bin)", "share that is right")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="calibrated")
    series = [("as the network says", before, PALETTE[5], "o")]
    if after is not None:
        series.append((how, after, PALETTE[4], "s"))
    for text, bins, colour, marker in series:
        x, y = [b.confidence for b in bins], [b.precision for b in bins]
        axes.plot(x, y, color=colour, linewidth=1.2, label=text, marker=marker, markersize=4)
        axes.scatter(x, y, s=[20 + 8 * np.sqrt(b.count) for b in bins], color=colour, alpha=0.35, marker=marker)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def counts_chart(found: NDArray[np.int64], there: NDArray[np.int64], unit: str) -> bytes:
    """Boxes answered against boxes there, a point a picture or plot."""
    figure, axes = _axes(f"Counts, a point a {unit}", "boxes there", "boxes answered")
    most = max(1, int(max(found.max(initial=0), there.max(initial=0)))) * 1.05
    axes.plot([0, most], [0, most], color=_GREY, linestyle="--", linewidth=1)
    axes.scatter(there, found, color=PALETTE[4], alpha=0.6, s=28, edgecolors="none")
    axes.set(xlim=(-0.02 * most, most), ylim=(-0.02 * most, most))
    return _png(figure)


def _axes(title: str, x: str, y: str, size: tuple[float, float] = (5.6, 4.4)) -> tuple[Figure, Axes]:
    matplotlib.rcParams["text.parse_math"] = False  # a dollar in a label is a dollar
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a label of letters the font lacks is drawn as squares
        figure.savefig(buffer, format="png", metadata={"Software": None})  # the same figures are the same bytes
    return buffer.getvalue()
