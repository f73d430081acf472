"""The twelve figures of COCO, and AP of each class. Source: Lin et al., "Microsoft COCO", 2014, and its detection challenge.

One thing differs: AP, and AR by size, are at as many detections a picture as a model answers with, not at 100. A scene may
hold hundreds of objects, and on ordinary photographs the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from training.detector.metrics import ANY_AREA, COCO_IOUS, MAX_DETECTIONS, Truth, check_pairs, coco_accumulated

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, ANY_AREA[1])}
"""Areas of boxes in square pixels of the picture."""
LIMITS = (1, 10, 100)


@dataclass(frozen=True)
class CocoFigures:
    """total: the twelve by name, None where no box is of that size. ap50, ap: by class, of the classes that occur."""

    total: dict[str, float | None]
    ap50: dict[int, float]
    ap: dict[int, float]


def coco_figures(found: Sequence[Detections], truths: Sequence[Truth], num_classes: int) -> CocoFigures:
    """AP over IoU 0.5 to 0.95, AP50, AP75, AR with 1, 10 and 100 detections a picture, and AP and AR by size.

    Raises ValueError as `metrics.coco_map` does.
    """
    check_pairs(found, truths)
    areas = [ANY_AREA, *SIZES.values()]
    limits = [*LIMITS, MAX_DETECTIONS]
    if any(len(d) for d in found):
        table = coco_accumulated(found, truths, num_classes, COCO_IOUS, areas, limits)
        precision, recall = table["precision"], table["recall"]
    else:
        precision, recall = _nothing(truths, num_classes, areas, len(limits))
    row75 = COCO_IOUS.index(0.75)
    whole = precision[..., 0, -1]
    total = {"AP": _mean(whole), "AP50": _mean(whole[0]), "AP75": _mean(whole[row75])}
    total |= {f"AP_{size}": _mean(precision[..., 1 + number, -1]) for number, size in enumerate(SIZES)}
    total |= {f"AR_{limit}": _mean(recall[..., 0, number]) for number, limit in enumerate(LIMITS)}
    total |= {f"AR_{size}": _mean(recall[..., 1 + number, -1]) for number, size in enumerate(SIZES)}
    present = [class_id for class_id in range(num_classes) if (whole[:, :, class_id] > -1).all()]
    return CocoFigures(
        total,
        {class_id: float(whole[0, :, class_id].mean()) for class_id in present},
        {class_id: float(whole[:, :, class_id].mean()) for class_id in present},
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    """The mean without the -1 that stands for nothing to find."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _nothing(
    truths: Sequence[Truth], num_classes: int, areas: Sequence[tuple[float, float]], limits: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """pycocotools' tables where not one box was found: 0 where there was one to find, else -1."""
    boxes = np.concatenate([t.boxes for t in truths]).astype(np.float64)
    class_ids = np.concatenate([t.class_ids for t in truths])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    recall = np.full((len(COCO_IOUS), num_classes, len(areas), limits), -1.0)
    for number, (least, most) in enumerate(areas):
        recall[:, np.unique(class_ids[(area >= least) & (area <= most)]), number] = 0.0
    return np.repeat(recall[:, None], 101, axis=1), recall
