"""Heads: what the outputs of a detector's graph mean. One file for each family, found by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from safelight.errors import ManifestInvalid
from safelight.heads import boxes_scores
from safelight.heads.interface import Adapter, Anchors, Answer, Given, Head, HeadName, Output

HEADS: Mapping[HeadName, Head] = {
    "boxes-scores": boxes_scores.fit,
}

__all__ = ["HEADS", "Adapter", "Anchors", "Answer", "Given", "HeadName", "Output", "adapter_of"]


def adapter_of(head: HeadName, outputs: Sequence[Output], given: Given) -> Adapter:
    """The adapter of a head for a graph with these outputs. Raises ManifestInvalid when they do not fit."""
    if head not in HEADS:
        raise ManifestInvalid(f"Expected one of the heads {', '.join(get_args(HeadName))}.")
    return HEADS[head](outputs, given)
