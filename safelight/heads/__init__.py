"""Heads: what the outputs of a detector's graph mean. One file for each family, found by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safelight.errors import ManifestInvalid
from safelight.heads import boxes_scores, detr, yolo_end2end, yolo_nas, yolo_nas_nms, yolov3, yolov5, yolov8
from safelight.heads.interface import Adapter, Anchors, Answer, Given, Head, HeadName, Output

HEADS: Mapping[HeadName, Head] = {
    "boxes-scores": boxes_scores.fit,
    "yolov3": yolov3.fit,
    "yolov5": yolov5.fit,
    "yolov8": yolov8.fit,
    "yolo-end2end": yolo_end2end.fit,
    "yolo-nas": yolo_nas.fit,
    "yolo-nas-nms": yolo_nas_nms.fit,
    "detr": detr.fit,
}

__all__ = ["HEADS", "Adapter", "Anchors", "Answer", "Given", "HeadName", "Output", "adapter_of"]


def adapter_of(head: HeadName, outputs: Sequence[Output], given: Given) -> Adapter:
    """The adapter of a head for a graph with these outputs. Raises ManifestInvalid when they do not fit."""
    if given.anchors is not None and head != "yolov3":
        raise ManifestInvalid(f"Expected no anchors: the head {head} has none.")
    return HEADS[head](outputs, given)
