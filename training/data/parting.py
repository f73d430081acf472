"""Which scene goes to which split: as the configuration names them, as the data set gives them, or made.

Knows nothing of annotation formats or of how splits are stored.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from safelight.errors import DataError
from training.data.duplicates import Pair, clusters
from training.data.records import SPLITS, Found, Scene
from training.data.regions import Region, crop_scene
from training.data.splits import grouped, stratified

USES = ("auto", "given", "new")
Parts = Mapping[str, Sequence[tuple[Scene, Region | None]]]
"""Of each split, its scenes and the region of their pictures that they show (None: the whole)."""


@dataclass(frozen=True)
class SplitRules:
    """How splits come about. use: `given` by the data set, `new`, or `auto`: given if there are any. fractions: of new
    splits. seed: of chance. group: None; `folder`, pictures of one folder stay together; or a regular expression on a
    picture's place whose match (its first group, if it has one) names what stays together. max_leaked: the share of a
    given val or test split that may be in another split too, as a near-duplicate, before the data set is refused."""

    use: str = "auto"
    fractions: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    seed: int = 0
    group: str | None = None
    max_leaked: float = 0.1

    def __post_init__(self) -> None:
        if self.use not in USES or set(self.fractions) != set(SPLITS):
            raise ValueError(f"expected use as one of {', '.join(USES)}, and fractions for {', '.join(SPLITS)}")
        if any(not 0 < share < 1 for share in self.fractions.values()):
            raise ValueError("fractions: expected shares between 0 and 1")
        if not 0 <= self.max_leaked <= 1:
            raise ValueError(f"max_leaked: expected a share, got {self.max_leaked}")
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise ValueError(f"group: expected a regular expression or `folder`, {error}") from None


@dataclass(frozen=True)
class Parting:
    """Scenes by split. how: one sentence on how that came about. leaked: of each split but train, the share that has a
    near-duplicate in a split before it."""

    parts: Parts
    how: str
    leaked: Mapping[str, float]


def named(found: Found, splits: Mapping[str, Sequence[Mapping[str, Any]]], min_visible: float) -> Parting:
    """The scenes, and their regions, that a configuration names. Raises DataError when one is not there."""
    scenes = {scene.image_id: scene for scene in found.scenes}
    parts = {name: [_part(scenes, part, min_visible) for part in given] for name, given in splits.items()}
    return Parting(parts, "the scenes and regions that the configuration names", {})


def parted(found: Found, pairs: Sequence[Pair], rules: SplitRules) -> Parting:
    """The given splits, the missing ones of them made from train; or new ones. pairs: near-duplicates among the scenes.

    Raises DataError when there are too few pictures, when the given splits are wanted and there are none, or when more of
    val or test than `rules.max_leaked` is in another split too.
    """
    scenes = found.scenes
    given = found.splits or {}
    usable = "train" in given and len(given) > 1
    if rules.use == "given" and not usable:
        raise DataError("Expected splits given by the data set, train and at least one more, found none.")
    if usable and rules.use != "new":
        names, how = _completed(scenes, pairs, rules)
    else:
        names = stratified(
            _groups(scenes, pairs, rules.group), [s.classes for s in scenes], rules.fractions, rules.seed
        )
        how = f"made: {_grouping(rules.group)} stay together, classes spread evenly, seed {rules.seed}"
    leaked = _leaked(names, pairs)
    for split, share in leaked.items():
        if share > rules.max_leaked:
            raise DataError(
                f"{share:.0%} of the given split {split!r} is, as near-duplicates, in another split too: more than "
                f"{rules.max_leaked:.0%} (data.split.max_leaked). Its figures would flatter. Make new splits with "
                "data.split.use=new, or allow it with data.split.max_leaked=1."
            )
    parts = {n: [(s, None) for s, own in zip(scenes, names, strict=True) if own == n] for n in SPLITS}
    return Parting(parts, how, leaked)


def _part(scenes: Mapping[str, Scene], part: Mapping[str, Any], min_visible: float) -> tuple[Scene, Region | None]:
    scene = scenes.get(part["scene"])
    if scene is None:
        raise DataError(f"{part['scene']}: its picture could not be read, so the split that names it cannot be made.")
    region = tuple(part.get("region") or (0, 0, *scene.size))
    if len(region) != 4:
        raise DataError(f"{scene.image_id}: expected a region [x0, y0, x1, y1], got {list(region)}.")
    return crop_scene(scene, region, min_visible), region


def _completed(scenes: Sequence[Scene], pairs: Sequence[Pair], rules: SplitRules) -> tuple[list[str], str]:
    """The given split of each scene; where val or test is missing, it is cut out of train."""
    names = [scene.split or "train" for scene in scenes]
    missing = [name for name in SPLITS if name not in names]
    if not missing:
        return names, "given by the data set"
    own = [index for index, name in enumerate(names) if name == "train"]
    shares = {name: min(0.5, rules.fractions[name] * len(names) / len(own)) for name in missing}
    fractions = {"train": 1 - sum(shares.values()), **shares}
    position = {index: place for place, index in enumerate(own)}
    among = [
        replace(pair, first=position[pair.first], second=position[pair.second])
        for pair in pairs
        if pair.first in position and pair.second in position
    ]
    cut = [scenes[index] for index in own]
    groups = _groups(cut, among, rules.group)
    for index, name in zip(own, stratified(groups, [s.classes for s in cut], fractions, rules.seed), strict=True):
        names[index] = name
    return names, f"given by the data set, {' and '.join(missing)} cut out of train with seed {rules.seed}"


def _groups(scenes: Sequence[Scene], pairs: Sequence[Pair], group: str | None) -> list[int]:
    """The group of each scene: near-duplicates, and what `group` names, stay together."""
    keys: list[list[Hashable]] = [[("looks", cluster)] for cluster in clusters(len(scenes), pairs)]
    for own, scene in zip(keys, scenes, strict=True):
        if group == "folder":
            own.append(("folder", scene.place.rpartition("/")[0]))
        elif group is not None and (match := re.search(group, scene.place)):
            own.append(("name", match[1] if match.re.groups else match[0]))
    return grouped(keys)


def _grouping(group: str | None) -> str:
    if group is None:
        return "near-duplicates"
    return "near-duplicates and pictures of one folder" if group == "folder" else f"near-duplicates and {group!r}"


def _leaked(names: Sequence[str], pairs: Sequence[Pair]) -> dict[str, float]:
    """Of val and test, the share of pictures with a near-duplicate in a split before it."""
    touched: dict[str, set[int]] = {name: set() for name in SPLITS[1:]}
    joined = clusters(len(names), pairs)
    earliest: dict[int, int] = {}
    for index, cluster in enumerate(joined):
        rank = SPLITS.index(names[index])
        earliest[cluster] = min(rank, earliest.get(cluster, rank))
    for index, cluster in enumerate(joined):
        if earliest[cluster] < SPLITS.index(names[index]):
            touched[names[index]].add(index)
    sizes = {name: sum(own == name for own in names) for name in SPLITS}
    return {name: len(own) / sizes[name] if sizes[name] else 0.0 for name, own in touched.items()}
