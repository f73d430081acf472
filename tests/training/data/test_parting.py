from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import DataError
from training.data.duplicates import Pair
from training.data.parting import SplitRules, named, parted
from training.data.records import Found, PictureFile, Scene
from training.data.splits import by_hash, grouped, stratified

TENTHS = {"train": 0.8, "val": 0.1, "test": 0.1}


def found(classes, places=None, splits=None):
    count = len(classes)
    places, splits = places or [f"p{i}" for i in range(count)], splits or [None] * count
    scenes = [
        Scene(
            f"p{i}", PictureFile(""), (100, 80), [(i, 0, i + 9, 9)] * len(classes[i]), classes[i], places[i], "", None
        )
        for i in range(count)
    ]
    scenes = [Scene(**{**vars(s), "split": split}) for s, split in zip(scenes, splits, strict=True)]
    return Found("test", "", ("a", "b", "c"), tuple(scenes), (), sum(map(len, classes)))


def names(parting):
    return {scene.image_id: split for split, own in parting.parts.items() for scene, _ in own}


def test_rare_classes_are_in_every_split():
    classes = [[0]] * 70 + [[0, 1]] * 20 + [[2]] * 10
    chosen = stratified(list(range(100)), classes, TENTHS, 0)
    assert Counter(chosen) == {"train": 80, "val": 10, "test": 10}
    for class_id, total in ((0, 90), (1, 20), (2, 10)):
        counts = Counter(s for s, own in zip(chosen, classes, strict=True) if class_id in own)
        assert counts["train"] == pytest.approx(0.8 * total, abs=1)
        assert counts["val"] == pytest.approx(0.1 * total, abs=1)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 3), max_size=3)), min_size=3, max_size=40),
    st.integers(0, 5),
)
def test_groups_stay_whole_and_no_split_is_empty(pictures, seed):
    groups, classes = [g for g, _ in pictures], [c for _, c in pictures]
    if len(set(groups)) < 3:
        with pytest.raises(DataError, match="at least 3 groups"):
            stratified(groups, classes, TENTHS, seed)
        return
    chosen = stratified(groups, classes, TENTHS, seed)
    assert len({(g, s) for g, s in zip(groups, chosen, strict=True)}) == len(set(groups))
    assert set(chosen) == set(TENTHS)
    assert chosen == stratified(groups, classes, TENTHS, seed)


def test_pictures_without_objects_are_spread_like_a_class():
    classes = [[0]] * 50 + [[]] * 50
    chosen = stratified(list(range(100)), classes, TENTHS, 0)
    assert Counter(chosen[50:]) == {"train": 40, "val": 5, "test": 5}


def test_the_seed_changes_the_split():
    classes = [[i % 3] for i in range(60)]
    assert stratified(list(range(60)), classes, TENTHS, 0) != stratified(list(range(60)), classes, TENTHS, 1)


def test_keys_join_over_others():
    assert grouped([["a"], ["a", "b"], ["c"], ["b"], [], ["c", "d"]]) == [0, 0, 2, 0, 4, 2]


def test_near_duplicates_and_named_groups_stay_together():
    data = found([[0]] * 30, [f"{'abc'[i % 3]}/film{i // 3 % 5}_{i}" for i in range(30)])
    chosen = names(parted(data, [Pair(0, 29, 2, False)], SplitRules()))
    assert chosen["p0"] == chosen["p29"] and set(chosen.values()) == {"train", "val", "test"}
    by_film = names(parted(data, [], SplitRules(group=r"film(\d+)")))
    assert len({(i // 3 % 5, by_film[f"p{i}"]) for i in range(30)}) == 5
    by_folder = names(parted(data, [], SplitRules(group="folder")))
    assert len({(i % 3, by_folder[f"p{i}"]) for i in range(30)}) == 3


def test_given_splits_are_kept_and_missing_ones_cut_out_of_train():
    data = found([[0]] * 40, splits=["train"] * 30 + ["val"] * 10)
    parting = parted(data, [], SplitRules())
    chosen = names(parting)
    assert [chosen[f"p{i}"] for i in range(30, 40)] == ["val"] * 10
    assert Counter(chosen.values()) == {"train": 26, "val": 10, "test": 4}
    assert parting.how.startswith("given by the data set, test cut out of train")
    whole = parted(found([[0]] * 9, splits=["train", "val", "test"] * 3), [], SplitRules(use="given"))
    assert whole.how == "given by the data set" and Counter(names(whole).values()) == {"train": 3, "val": 3, "test": 3}


def test_one_given_split_is_none():
    data = found([[0]] * 12, splits=["train"] * 12)
    assert parted(data, [], SplitRules()).how.startswith("made:")
    with pytest.raises(DataError, match="splits given"):
        parted(data, [], SplitRules(use="given"))


def test_given_splits_that_share_pictures_are_refused_above_a_share():
    data = found([[0]] * 30, splits=["train"] * 10 + ["val"] * 10 + ["test"] * 10)
    one = [Pair(0, 10, 0, True)]
    parting = parted(data, one, SplitRules())
    assert parting.leaked == {"val": 0.1, "test": 0.0}
    over_another = [*one, Pair(10, 20, 3, False), Pair(10, 21, 3, False)]
    with pytest.raises(DataError, match=r"20% of the given split 'test'.*more than 10%.*data\.split\.use=new"):
        parted(data, over_another, SplitRules())
    assert parted(data, over_another, SplitRules(max_leaked=1)).leaked == {"val": 0.1, "test": 0.2}
    assert set(parted(data, over_another, SplitRules(use="new")).leaked.values()) == {0.0}


def test_named_scenes_and_regions():
    data = found([[0], [1]])
    splits = {"train": [{"scene": "p0", "region": [0, 0, 50, 80]}], "test": [{"scene": "p1"}]}
    parting = named(data, splits, 0.5)
    ((scene, region),) = parting.parts["train"]
    assert region == (0, 0, 50, 80) and scene.size == (50, 80)
    assert parting.parts["test"][0][1] == (0, 0, 100, 80)
    with pytest.raises(DataError, match="p7: its picture could not be read"):
        named(data, {"train": [{"scene": "p7"}]}, 0.5)
    with pytest.raises(DataError, match=r"a region \[x0, y0, x1, y1\]"):
        named(data, {"train": [{"scene": "p0", "region": [0, 0, 50]}]}, 0.5)
    with pytest.raises(DataError, match="inside"):
        named(data, {"train": [{"scene": "p0", "region": [0, 0, 101, 80]}]}, 0.5)


@pytest.mark.parametrize(
    "values",
    [
        {"use": "mine"},
        {"fractions": {"train": 1}},
        {"fractions": {**TENTHS, "val": 0}},
        {"group": "("},
        {"max_leaked": 2},
    ],
)
def test_rules_that_cannot_hold_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        SplitRules(**values)


def test_a_hash_leaves_groups_where_they_are():
    fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    names = [f"group {n}" for n in range(4000)]
    found = Counter(by_hash(name, fractions, 3) for name in names)
    assert all(abs(found[split] / 4000 - share) < 0.02 for split, share in fractions.items())
    assert [by_hash(name, fractions, 3) for name in names[:50]] == [by_hash(name, fractions, 3) for name in names[:50]]
    assert [by_hash(name, fractions, 3) for name in names] != [by_hash(name, fractions, 4) for name in names]
    assert by_hash("\ud800", {"all": 1.0}, 0) == "all"
    with pytest.raises(ValueError, match="positive"):
        by_hash("a", {"train": 0.0}, 0)
