"""Pictures to train, val and test: groups stay together, classes are spread evenly, the seed decides the rest.

Or by a hash of their groups' names, which needs no look at the others. Knows nothing of files or annotation formats. After
Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, with groups in the place of
single examples.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from safelight.errors import DataError

_ALL = -1  # stands for "a picture", so that the number of pictures is spread like a class
_NONE = -2  # stands for "no object", likewise


def grouped(keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """The group of each picture, from what it must share a split with: pictures with a key in common are in one group,
    directly or over others. keys: of each picture; keys of different kinds should differ."""
    names = list(range(len(keys)))
    owner: dict[Hashable, int] = {}

    def root(index: int) -> int:
        while names[index] != index:
            names[index] = names[names[index]]
            index = names[index]
        return index

    for index, own in enumerate(keys):
        for key in own:
            one, other = root(index), root(owner.setdefault(key, index))
            names[max(one, other)] = min(one, other)
    return [root(index) for index in range(len(keys))]


def by_hash(key: str, fractions: Mapping[str, float], seed: int) -> str:
    """The split of a group by a hash of its name alone, so that it stays where it is whatever else is added or removed.

    fractions: by split, in order; they are scaled to a sum of 1. Raises ValueError on fractions that are not positive.
    """
    if not fractions or any(not share > 0 for share in fractions.values()):
        raise ValueError("fractions: expected a positive share for each split")
    place = position(key, seed) * sum(fractions.values())
    for name, share in fractions.items():
        place -= share
        if place < 0:
            return name
    return list(fractions)[-1]  # rounding


def position(key: str, seed: int) -> float:
    """Where a name lies in [0, 1): evenly spread, other with another seed."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def stratified(
    groups: Sequence[int], classes: Sequence[Sequence[int]], fractions: Mapping[str, float], seed: int
) -> list[str]:
    """The split of each picture. groups, classes: of each picture. fractions: by split; they are scaled to a sum of 1.

    The rarest class not yet spread goes first, its groups to the split that lacks most of it. Every split gets a group.
    Raises DataError when there are fewer groups than splits, and ValueError on fractions that are not positive.
    """
    if not fractions or any(not share > 0 for share in fractions.values()):
        raise ValueError("fractions: expected a positive share for each split")
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) < len(fractions):
        raise DataError(
            f"Expected at least {len(fractions)} groups of pictures for the splits {', '.join(fractions)}, got "
            f"{len(members)}: near-duplicates, and pictures of one group, stay together."
        )
    counts = {group: _counts(own, classes) for group, own in members.items()}
    chosen = _spread(counts, fractions, np.random.default_rng(seed))
    _fill_empty(chosen, members, list(fractions))
    return [chosen[group] for group in groups]


def _counts(own: Sequence[int], classes: Sequence[Sequence[int]]) -> Counter[int]:
    """How many pictures of a group hold each class, and how many there are."""
    counts = Counter(class_id for index in own for class_id in set(classes[index]) or {_NONE})
    counts[_ALL] = len(own)
    return counts


def _spread(
    counts: Mapping[int, Counter[int]], fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[int, str]:
    total: Counter[int] = sum(counts.values(), Counter())
    whole = sum(fractions.values())
    wanted = {s: {c: n * share / whole for c, n in total.items()} for s, share in fractions.items()}
    order = [list(counts)[i] for i in rng.permutation(len(counts))]
    luck = dict(zip(fractions, rng.permutation(len(fractions)), strict=True))
    chosen: dict[int, str] = {}
    rest = order
    while rest:
        left: Counter[int] = sum((counts[group] for group in rest), Counter())
        # _ALL, which is on every picture, comes last: all groups have another class, so that it never leads.
        rarest = min(left, key=lambda c: (c == _ALL, left[c], c))
        having = sorted((g for g in rest if counts[g][rarest]), key=lambda g: -counts[g][rarest])
        for group in having:
            split = max(fractions, key=lambda s: (wanted[s][rarest], wanted[s][_ALL], luck[s]))
            chosen[group] = split
            for class_id, number in counts[group].items():
                wanted[split][class_id] -= number
        rest = [group for group in rest if group not in chosen]
    return chosen


def _fill_empty(chosen: dict[int, str], members: Mapping[int, Sequence[int]], names: Sequence[str]) -> None:
    """Give every split a group: the smallest of the split that has most groups."""
    for name in names:
        if name not in chosen.values():
            richest = Counter(chosen.values()).most_common(1)[0][0]
            smallest = min((g for g, s in chosen.items() if s == richest), key=lambda g: (len(members[g]), g))
            chosen[smallest] = name
