"""Records stay with those they must not be parted from, and where they are when others are added."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safelight.errors import DataError
from training.data.duplicates import Pair
from training.vlm.parting import SPLITS, PartRules, leaks, parted, refuse_leaks

NAMES = [f"p{n}" for n in range(1000)]


def part(groups, pairs=(), given=None, **rules):
    return parted(given or [None] * len(groups), groups, NAMES[: len(groups)], pairs, PartRules(**rules))


def test_shares_and_seeds():
    found = part([None] * 1000)
    for split, share in {"train": 800, "validation": 100, "test": 100}.items():
        assert abs(found.count(split) - share) < 35
    assert found == part([None] * 1000) != part([None] * 1000, seed=1)


@given(st.lists(st.sampled_from("abcdefghijklmnopqrst"), min_size=60, max_size=200), st.integers(0, 99))
def test_groups_stay_together_and_nothing_leaks(groups, seed):
    assume(len(set(groups) - {groups[0], groups[-1]}) >= 2)  # the pair makes one group of these two
    pairs = [Pair(0, len(groups) - 1, 2, False)]
    found = part(groups, pairs, seed=seed)
    assert found[0] == found[-1] and {"train", "validation", "test"} <= set(found)
    leak = leaks(found, groups, pairs)
    assert not any(leak.shared_groups.values()) and not any(leak.shared_pictures.values())
    refuse_leaks(leak, {split: found.count(split) for split in SPLITS}, 0.0)


def test_records_stay_where_they_are_when_others_are_added():
    few, more = [str(n) for n in range(400)], [str(n) for n in range(800)]
    assert part(more)[:400] == part(few)


def test_given_splits_are_kept_and_missing_ones_cut_out_of_train():
    given = ["train"] * 500 + ["test"] * 20 + ["hard"] * 5
    found = part([str(n) for n in range(525)], given=given)
    assert found[500:] == given[500:] and set(found[:500]) == {"train", "validation"}
    assert 30 < found.count("validation") < 90
    whole = ["train", "validation", "test"]
    assert part([None] * 3, given=whole) == whole


def test_too_few_and_none_to_learn_from():
    with pytest.raises(DataError, match="at least 3 groups"):
        part(["a", "a", "b"])
    with pytest.raises(DataError, match="split train"):
        part([None], given=["test"])
    assert sorted(part(["a", "b", "c"])) == ["test", "train", "validation"]


def test_leaks_are_found():
    splits = ["train", "train", "test", "test", "hard"]
    leak = leaks(splits, ["a", "b", "a", "c", "c"], [Pair(1, 3, 3, False)])
    assert leak.shared_groups == {"test": 1, "hard": 1} and leak.shared_pictures == {"test": 1, "hard": 0}
    counts = {split: splits.count(split) for split in SPLITS}
    with pytest.raises(DataError, match="1 groups of the split 'test'"):
        refuse_leaks(leak, counts, 1.0)
    near = leaks(splits, [None] * 5, [Pair(1, 3, 3, False)])
    refuse_leaks(near, counts, 0.5)
    with pytest.raises(DataError, match="1 of 2 pictures of the split 'test'"):
        refuse_leaks(near, counts, 0.4)


@pytest.mark.parametrize(
    "rules", [{"fractions": {"train": 1.0}}, {"fractions": {"train": 1, "validation": 0, "test": 0}}, {"max_leaked": 2}]
)
def test_rules_that_cannot_be(rules):
    with pytest.raises(ValueError):
        PartRules(**rules)
