"""Figures against numbers worked out by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from safelight.errors import AnswerInvalid, ConfigError
from tests.training.vlm.made_records import TASK
from training.vlm.evaluation.confusions import confusion_of, kinds
from training.vlm.evaluation.figures import figures
from training.vlm.evaluation.intervals import quotient, share
from training.vlm.evaluation.items import compared, item_figures, lists
from training.vlm.evaluation.majority import majority
from training.vlm.evaluation.reading import MISSING, Reading, judged, same
from training.vlm.evaluation.speed import Spent, spread
from training.vlm.evaluation.targets import Targets, against

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def answer(colour="red", counts=(1, 2, 3), **more):
    return {"colour": colour, "counts": list(counts), **more}


def four():
    """One right; one item off by two; a list that lacks an item; no answer."""
    read = (answer(), answer(counts=(1, 4, 3)), answer("blue", (1, 2)), None)
    return [Reading(answer(), one, -0.5) for one in read]


def test_what_was_said_is_held_against_the_record():
    truth = json.dumps(answer())
    assert judged(TASK, truth, truth).right
    assert judged(TASK, truth, '{"counts":[1,2,3],"colour":"red"}').right
    assert not judged(TASK, truth, json.dumps(answer("blue"))).right
    for said in (
        "",
        truth[:-1],
        f"{truth} ",
        json.dumps(answer(counts=[1.5])),
        '{"colour":"red","counts":[1,2,3],"x":1}',
    ):
        reading = judged(TASK, truth, said)
        assert reading.valid == (said == f"{truth} ")  # white space around JSON is JSON
        assert not reading.valid or reading.right
    with pytest.raises(AnswerInvalid):
        judged(TASK, "{}", truth)


def test_true_is_not_one():
    assert not same(True, 1) and not same([True], [1]) and same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same(MISSING, None) and same(MISSING, MISSING)


@given(VALUES, VALUES)
def test_same_is_an_equivalence(one, other):
    assert same(one, one) and same(one, other) == same(other, one)
    if same(one, other):
        assert type(one) is type(other) and one == other


def test_a_share_by_hand():
    # Wilson, 8 of 10, z = 1.96: centre (0.8 + 0.19207) / 1.38415 = 0.716738, half width 0.226577
    found = share(8, 10)
    assert found == {"value": 0.8, "low": 0.490162, "high": 0.943318, "of": 10}
    assert share(0, 5)["low"] == 0 and share(5, 5)["high"] == 1 and share(5, 5)["low"] == pytest.approx(0.565518)
    assert share(0, 0) == {"value": None, "low": None, "high": None, "of": 0}


@given(st.integers(1, 400).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_is_scipys(trial):
    hits, of = trial
    theirs = binomtest(hits, of).proportion_ci(0.95, "wilson")
    assert (share(hits, of)["low"], share(hits, of)["high"]) == pytest.approx((theirs.low, theirs.high), abs=2e-6)


def test_a_quotient_draws_pictures_whole():
    found = quotient([0, 1, 2], [4, 4, 4], 500, 0)
    assert found["value"] == 0.25 and found["of"] == 12 and 0 <= found["low"] < 0.25 < found["high"] <= 0.5
    assert found == quotient([0, 1, 2], [4, 4, 4], 500, 0)
    assert quotient([1, 3], [2, 6], 50, 0) == {"value": 0.5, "low": 0.5, "high": 0.5, "of": 8}  # drawn together
    assert quotient([0, 0], [0, 0], 50, 0)["value"] is None and quotient([], [], 50, 0)["of"] == 0
    assert quotient([1, 0], [1, 0], 50, 0)["low"] == 1.0  # a draw of pictures with nothing on them says nothing


def test_lists_place_by_place():
    one = compared([2, 5, 4, 7, 3], [2, 6, 4, 4])
    assert (one.places, one.wrong, one.compared, one.off, one.same_length) == (5, 3, 4, 4, False)
    other = compared(["a", True], ["a", 1, "b"])
    assert (other.places, other.wrong, other.compared, other.off) == (3, 2, 0, 0)
    assert compared([], []) == compared([], []) and compared([], []).same_length


@given(st.lists(st.integers(0, 9), max_size=6), st.lists(st.integers(0, 9), max_size=6))
def test_comparing_knows_no_sides(one, other):
    assert compared(one, other) == compared(other, one)
    assert (compared(one, other).wrong == 0) == (one == other) and compared(one, other).wrong <= max(
        len(one), len(other)
    )


def test_all_figures_by_hand():
    found = figures(four(), TASK.fields, 200, 0)
    assert found["pictures"] == 4 and found["valid"] == share(3, 4) and found["exact"] == share(1, 4)
    assert list(found["fields"]) == ["colour", "counts", "serial"]
    assert found["fields"]["colour"] == {"exact": share(2, 4)}
    assert found["fields"]["serial"] == {"exact": share(3, 4)}  # neither has one; but no answer has nothing right
    counts = found["fields"]["counts"]
    assert counts["exact"] == share(1, 4)
    # wrong places: 0 of 3, 1 of 3, 1 of 3 and, without an answer, 3 of 3
    assert counts["items"]["wrong"]["value"] == pytest.approx(5 / 12, abs=1e-4) and counts["items"]["wrong"]["of"] == 12
    # both have an integer at 3 + 3 + 2 places, which are off by 2 in all
    assert counts["items"]["mean_absolute_error"]["value"] == 0.25
    assert counts["items"]["mean_absolute_error"]["of"] == 8
    assert counts["items"]["length_wrong"] == share(2, 4)


def test_lists_of_words_have_no_distance():
    readings = [Reading({"words": ["a", "b"]}, {"words": ["a", "c"]})]
    assert lists(readings, "words") and not lists(readings, "others")
    assert set(item_figures(readings, "words", 10, 0)) == {"wrong", "length_wrong"}


def test_a_property_that_is_on_one_side_only():
    readings = [Reading({"counts": [1]}, {}), Reading({}, {"counts": [1, 2]}), Reading({}, {})]
    found = item_figures(readings, "counts", 10, 0)
    assert found["wrong"]["value"] == 1 and found["wrong"]["of"] == 3 and found["length_wrong"] == share(2, 3)
    assert kinds(readings, ["counts"]) == [("counts: there on one side only", 2)]


def test_the_majority():
    answers = [answer("red"), answer("blue"), answer("blue"), answer("red", (1,)), answer("red", (1,), serial="x")]
    assert majority(answers, TASK.fields) == {"colour": "red", "counts": [1, 2, 3]}
    assert majority([answer("red"), answer("blue")], ["colour"]) == {"colour": "blue"}
    assert majority([], TASK.fields) == {}


def test_what_is_taken_for_what():
    values, counts = confusion_of(four(), "counts")
    assert values == ["1", "2", "3", "4"]
    there, read = (dict(zip([*values, "-"], row, strict=True)) for row in (counts.sum(axis=1), counts.sum(axis=0)))
    assert there == {"1": 3, "2": 3, "3": 3, "4": 0, "-": 0} and read == {"1": 3, "2": 2, "3": 2, "4": 1, "-": 1}
    assert counts[1, 3] == 1 and counts[2, 4] == 1
    values, counts = confusion_of(four(), "colour")
    assert values == ["blue", "red"] and counts.tolist() == [[0, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert confusion_of([Reading({"a": str(i)}, {"a": "0"}) for i in range(30)], "a") is None
    assert confusion_of([Reading({"a": 1}, None)], "a") is None
    assert confusion_of([Reading({"a": v}, {"a": 10}) for v in (2, 10, "2", True)], "a")[0] == ["2", "10", "2", "true"]


def test_kinds_of_errors():
    found = kinds(four(), TASK.fields)
    assert found == [
        ("colour: another value", 1),
        ("counts: 1 item off", 1),
        ("counts: fewer items", 1),
        ("no answer of the task", 1),
    ]
    off = [Reading(answer(), answer(counts=c)) for c in ((2, 3, 3), (2, 2, 3), (1, 2, 3, 4), (9, 8, 7))]
    assert dict(kinds(off, ["counts"])) == {
        "counts: 2 items off by one": 1,
        "counts: 1 item off by one": 1,
        "counts: more items": 1,
        "counts: 3 items off": 1,
    }


def test_targets():
    free, held = (figures(those, TASK.fields, 10, 0) for those in (four(), four()[:2]))
    found = against(Targets(0.75, {"colour": 1.0, "counts": 0.6}), free, held)
    assert found["valid_unconstrained"] == {"at_least": 0.75, **share(3, 4), "met": True}
    assert found["fields"]["colour"]["met"] and not found["fields"]["counts"]["met"] and found["met"] is False
    assert against(Targets(None, {"colour": 1.0}), free, held)["met"] is True
    assert against(Targets(None, {}), free, held) == {"fields": {}, "met": None}
    nothing = figures([], TASK.fields, 10, 0)
    assert against(Targets(0.0, {}), nothing, nothing)["met"] is False
    with pytest.raises(ConfigError, match="keyway"):
        against(Targets(None, {"keyway": 0.9}), free, held)
    for bad in (Targets, lambda *_: Targets(None, {"colour": 90})):
        with pytest.raises(ConfigError, match="share"):
            bad(1.5, {})


def test_speed():
    found = Spent(4, 2.0, 100, 40, 44).figures()
    assert found == {
        "pictures": 4,
        "seconds_per_picture": 0.5,
        "tokens_per_second": 50.0,
        "tokens_per_picture": 25.0,
        "chosen_per_picture": 10.0,
        "steps_per_picture": 11.0,
    }
    assert Spent(0, 0.0, 0, 0, 0).figures() == {"pictures": 0}


def test_spread():
    assert list(spread(10, 4)) == [0, 2, 5, 7] and list(spread(3, 5)) == list(spread(3, None)) == [0, 1, 2]
    assert list(spread(5, 0)) == []


@given(st.integers(0, 500), st.integers(0, 500))
def test_spread_takes_each_once(count, most):
    found = list(spread(count, most))
    assert len(set(found)) == len(found) == min(count, most) and all(0 <= n < count for n in found)
