"""What is to be said of a prepared data set, as numbers: report.json.

Knows nothing of how it is shown (training/data/page.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.data.check import reasons
from training.data.duplicates import Pair
from training.data.parting import Parting
from training.data.records import Found, Scene

_LISTED = 200  # pairs of near-duplicates listed one by one


def summary(
    name: str, found: Found, parting: Parting, pairs: Sequence[Pair], digests: Mapping[str, str], private: bool
) -> dict[str, Any]:
    """report.json: labels, records, quarantined and splits, and what else a person wants to know.

    digests: of each split's contents. private: whether pictures may be shown; as its data card says.
    """
    split_of = {s.image_id: split for split, own in parting.parts.items() for s, _ in own}
    splits = {
        split: _split([scene for scene, _ in own], found.labels, digests[split]) for split, own in parting.parts.items()
    }
    return {
        "name": name,
        "private": private,
        "format": found.format,
        "format_because": found.why,
        "labels": list(found.labels),
        "unused_labels": list(found.unused),
        "pictures": len(found.scenes),
        "records": found.records,
        "clipped": found.clipped,
        "quarantined": [asdict(q) for q in found.quarantined],
        "reasons": reasons(found.quarantined),
        "splits": splits,
        "splits_because": parting.how,
        "leaked": {split: round(share, 4) for split, share in parting.leaked.items()},
        "duplicates": duplicates(found.scenes, pairs, split_of),
    }


def duplicates(scenes: Sequence[Scene], pairs: Sequence[Pair], split_of: Mapping[str, str]) -> dict[str, Any]:
    """How many pairs of pictures are the same or nearly, within a split and across; those across listed."""
    across = []
    counts: Counter[str] = Counter()
    for pair in pairs:
        one, other = scenes[pair.first].image_id, scenes[pair.second].image_id
        kind = "exact" if pair.exact else "near"
        if split_of.get(one) == split_of.get(other):
            counts[f"{kind}_within"] += 1
        else:
            counts[f"{kind}_across"] += 1
            where = [split_of.get(one, "none"), split_of.get(other, "none")]
            across.append({"pictures": [one, other], "splits": where, "distance": pair.distance, "exact": pair.exact})
    names = ("exact_across", "near_across", "exact_within", "near_within")
    return {**{key: counts[key] for key in names}, "across": across[:_LISTED]}


def _split(scenes: Sequence[Scene], labels: Sequence[str], digest: str) -> dict[str, Any]:
    boxes = Counter(class_id for scene in scenes for class_id in scene.classes)
    holding = Counter(class_id for scene in scenes for class_id in set(scene.classes))
    return {
        "scenes": [scene.image_id for scene in scenes],
        "boxes": sum(boxes.values()),
        "without_boxes": sum(not scene.boxes for scene in scenes),
        "boxes_by_class": {label: boxes[index] for index, label in enumerate(labels)},
        "pictures_by_class": {label: holding[index] for index, label in enumerate(labels)},
        "sha256": digest,
    }
