"""The files beside the bundles: whatever stands in them, they are read as what they are or refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.bundle import Champion
from safelight.errors import PromotionError
from training.registry.champions import HISTORY, INTENT, Champions, History, Intent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMED = st.builds(
    lambda version, digest: Champion(name="coco", version=version, digest=digest),
    st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


@pytest.fixture
def champions(tmp_path):
    (tmp_path / "coco").mkdir()
    return Champions(tmp_path / "coco")


@given(text=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_stands_there_is_refused_in_one_sentence(tmp_path_factory, text):
    champions = Champions(tmp_path_factory.mktemp("any") / "coco")
    champions.folder.mkdir()
    for name, read in ((HISTORY, champions.history), (INTENT, champions.intent)):
        (champions.folder / name).write_bytes(text)
        try:
            value = read()
        except PromotionError as error:
            assert name in error.detail
        else:
            assert value == History.model_validate_json(text)  # {} is a history without champions


@given(old=st.none() | NAMED, new=NAMED, previous=st.lists(NAMED, max_size=3), withdrawn=st.lists(NAMED, max_size=3))
def test_promoting_and_rolling_back_is_where_one_was(old, new, previous, withdrawn):
    history = History(previous=tuple(previous), withdrawn=tuple(c.digest for c in withdrawn))
    promoted = history.promoted(old, new)
    assert new.digest not in promoted.withdrawn
    if old is not None and old != new:
        back = promoted.rolled_back(new)
        assert back.previous == history.previous and new.digest in back.withdrawn
    else:
        assert promoted.previous == history.previous


def test_an_intent_of_another_model_is_refused(champions):
    other = Champion(name="trees", version="v1", digest="0" * 64)
    champions.begin(Intent(champion=other, history=History()))
    with pytest.raises(PromotionError, match=r"a move of coco .* one of trees"):
        champions.intent()


def test_what_is_written_is_read_again_and_leaves_nothing_beside_it(champions):
    intent = Intent(
        champion=Champion(name="coco", version="v1", digest="0" * 64),
        history=History(withdrawn=("1" * 64,)),
        receipt="r",
    )
    champions.begin(intent)
    champions.set_history(intent.history)
    assert (champions.intent(), champions.history()) == (intent, intent.history)
    champions.finish()
    champions.finish()
    assert champions.intent() is None and champions.champion() is None
    assert [path.name for path in champions.folder.iterdir()] == [HISTORY]
    assert champions.write_receipt("a.json", "{}").read_text() == "{}"


def test_a_bundle_taken_in_is_there_whole_in_the_place_of_another(champions, tmp_path):
    for text in ("one", "two"):
        source = tmp_path / text / "v1"
        source.mkdir(parents=True)
        (source / "manifest.json").write_text(text)
        champions.take_in(source)
        assert (champions.folder / "v1" / "manifest.json").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == {"coco", "one", "two"}
