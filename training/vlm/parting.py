"""Which record goes to which split: as its file says, or by a hash of what it must not share with another split.

Knows nothing of files or of JSON. Near-duplicate pictures stay together, and so do records whose answers agree in what the
task names as a group; a hash of the group's name, not chance or order, decides, so that a record stays where it is when
others are added.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from safelight.errors import DataError
from training.data.duplicates import Pair, clusters
from training.data.splits import by_hash, grouped, position

SPLITS = ("train", "validation", "test", "hard")
MADE = SPLITS[:3]
"""Those that can be made; what is hard only the data's owner knows."""


@dataclass(frozen=True)
class PartRules:
    """fractions: of splits that are made. seed: of the hash. max_leaked: share of a given split that may be, nearly, in one
    before it too."""

    fractions: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1})
    seed: int = 0
    max_leaked: float = 0.0

    def __post_init__(self) -> None:
        if set(self.fractions) != set(MADE) or any(not 0 < share < 1 for share in self.fractions.values()):
            raise ValueError(f"fractions: expected shares between 0 and 1 for {', '.join(MADE)}")
        if not 0 <= self.max_leaked <= 1:
            raise ValueError(f"max_leaked: expected a share, got {self.max_leaked}")


@dataclass(frozen=True)
class Leak:
    """shared_groups: of each split but train, how many of its groups are in one before it too. shared_pictures: how many of
    its pictures are, the same or nearly."""

    shared_groups: Mapping[str, int]
    shared_pictures: Mapping[str, int]


def parted(
    given: Sequence[str | None],
    groups: Sequence[str | None],
    names: Sequence[str],
    pairs: Sequence[Pair],
    rules: PartRules,
) -> list[str]:
    """The split of each record. given: the one its file says, None for all where there are none. groups: what it may share
    with no other split, None for nothing. names: of the records themselves, such as digests of their pictures. pairs: of
    near-duplicates among them.

    Validation and test are cut out of train where they are not given. Raises DataError where there is no train, or there
    are too few groups for the splits.
    """
    found = [name or "train" for name in given]
    if "train" not in found:
        raise DataError("Expected records for the split train, got none.")
    missing = [split for split in MADE if split not in found]
    if not missing:
        return found
    shares = {split: share for split, share in rules.fractions.items() if split == "train" or split in missing}
    own = [index for index, split in enumerate(found) if split == "train"]
    cut = _cut([groups[i] for i in own], [names[i] for i in own], _among(pairs, own), shares, rules.seed)
    for index, split in zip(own, cut, strict=True):
        found[index] = split
    return found


def leaks(splits: Sequence[str], groups: Sequence[str | None], pairs: Sequence[Pair]) -> Leak:
    """What splits have in common with splits before them."""
    ranks = [SPLITS.index(split) for split in splits]
    by_group = _earlier(ranks, groups)
    by_picture = _earlier(ranks, clusters(len(splits), pairs))
    shared = {s: {groups[i] for i in by_group if splits[i] == s} for s in SPLITS[1:] if s in splits}
    return Leak(
        {split: len(own) for split, own in shared.items()},
        {split: sum(splits[i] == split for i in by_picture) for split in shared},
    )


def refuse_leaks(leak: Leak, counts: Mapping[str, int], max_leaked: float) -> None:
    """Raises DataError where a split has a group of another one, or more of its pictures than that share."""
    for split, count in leak.shared_groups.items():
        if count:
            raise DataError(
                f"{count} groups of the split {split!r} are in a split before it too (task.group): its figures would "
                "flatter. Part the records otherwise, or let the stage do it."
            )
    for split, count in leak.shared_pictures.items():
        if count > max_leaked * counts[split]:
            raise DataError(
                f"{count} of {counts[split]} pictures of the split {split!r} are, the same or nearly, in a split before "
                f"it too: more than {max_leaked:.0%} (task.max_leaked). Its figures would flatter."
            )


def _cut(
    groups: Sequence[str | None], names: Sequence[str], pairs: Sequence[Pair], shares: Mapping[str, float], seed: int
) -> list[str]:
    """Splits by the hash of each group's first name."""
    keys: list[list[Hashable]] = [[("looks", cluster)] for cluster in clusters(len(names), pairs)]
    for own, group in zip(keys, groups, strict=True):
        if group is not None:
            own.append(("group", group))
    roots = grouped(keys)
    named: dict[int, str] = {}
    for root, group, name in zip(roots, groups, names, strict=True):
        named[root] = min(named.get(root, "\U0010ffff"), name if group is None else group)
    if len(named) < len(shares):
        raise DataError(
            f"Expected at least {len(shares)} groups of records for the splits {', '.join(shares)}, got {len(named)}."
        )
    chosen = {root: by_hash(name, shares, seed) for root, name in named.items()}
    for split in shares:
        if split not in chosen.values():  # few records: the last group of the fullest split, as the hash orders them
            most = max(shares, key=lambda s: sum(own == s for own in chosen.values()))
            chosen[max((r for r in chosen if chosen[r] == most), key=lambda r: position(named[r], seed))] = split
    return [chosen[root] for root in roots]


def _among(pairs: Sequence[Pair], own: Sequence[int]) -> list[Pair]:
    place = {index: number for number, index in enumerate(own)}
    return [
        Pair(place[p.first], place[p.second], p.distance, p.exact)
        for p in pairs
        if p.first in place and p.second in place
    ]


def _earlier(ranks: Sequence[int], keys: Sequence[Hashable | None]) -> list[int]:
    """Positions whose key comes up in a split of lower rank too."""
    least: dict[Hashable, int] = {}
    for rank, key in zip(ranks, keys, strict=True):
        if key is not None:
            least[key] = min(rank, least.get(key, rank))
    return [i for i, (rank, key) in enumerate(zip(ranks, keys, strict=True)) if key is not None and least[key] < rank]
