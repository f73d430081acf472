"""A task's answers: one text each, checked both ways, and schemas that cannot be used are refused."""

import contextlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import AnswerInvalid, ConfigError
from safelight.reader.task import Task, Violation, strict_json

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "keyway": {"enum": ["SC1", "KW1"]},
        "bittings": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 7},
        "brand": {"type": ["string", "null"]},
        "size": {"$ref": "#/$defs/size"},
    },
    "$defs": {"size": {"type": "object", "properties": {"w": {"type": "number"}, "h": {"type": "number"}}}},
    "required": ["keyway", "bittings"],
    "additionalProperties": False,
}
TASK = Task("keys", SCHEMA, "What key is this?", 336)

answers = st.fixed_dictionaries(
    {"keyway": st.sampled_from(["SC1", "KW1"]), "bittings": st.lists(st.integers(0, 9), max_size=7)},
    optional={
        "brand": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))),
        "size": st.fixed_dictionaries({}, optional={"h": st.floats(-1e6, 1e6), "w": st.floats(-1e6, 1e6)}),
    },
)


def test_the_text_of_an_answer():
    answer = {"size": {"h": 2.5, "w": 3.0}, "brand": "Größe", "bittings": [2, 5.0], "keyway": "SC1"}
    text = TASK.text(answer)
    assert text == '{"keyway":"SC1","bittings":[2,5],"brand":"Größe","size":{"w":3,"h":2.5}}'
    assert TASK.fields == ("keyway", "bittings", "brand", "size")


@given(answers, st.randoms())
def test_one_text_whatever_the_order_and_back(answer, random):
    keys = list(answer)
    random.shuffle(keys)
    text = TASK.text({key: answer[key] for key in keys})
    assert text == TASK.text(answer)
    assert TASK.parse(text) == answer and TASK.text(TASK.parse(text)) == text
    assert json.loads(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SC1 SC1",
        '{"keyway":"SC1"',
        '{"keyway":"SC1"}',
        '["SC1"]',
        '{"keyway":"SC1","bittings":[2],"keyway":"KW1"}',
        '{"keyway":"SC1","bittings":[NaN]}',
        '{"keyway":"SC1","bittings":[10]}',
        '{"keyway":"SC1","bittings":[2],"colour":"mauve"}',
        '{"keyway":"SC1","bittings":[' + "9" * 5000 + "]}",
        "[" * 100_000,
    ],
)
def test_what_is_no_answer(text):
    with pytest.raises(AnswerInvalid) as caught:
        TASK.parse(text)
    assert not any(word in str(caught.value) for word in ("SC1", "KW1", "colour", "mauve"))


@pytest.mark.parametrize("brand", ["\ud800", 3])
def test_what_has_no_text(brand):
    with pytest.raises(AnswerInvalid):
        TASK.text({"keyway": "SC1", "bittings": [], "brand": brand})
    with pytest.raises(AnswerInvalid):
        TASK.text({"keyway": "SC1", "bittings": [], "size": {"w": float("nan")}})


@given(st.text())
def test_any_text_is_an_answer_or_refused(text):
    with contextlib.suppress(AnswerInvalid):
        assert not TASK.violations(TASK.parse(text))


def test_violations_name_place_and_rule():
    found = TASK.violations({"keyway": "XX", "bittings": [1, 12]})
    assert [(v.place, v.rule) for v in found] == [
        ("/bittings/1", "/properties/bittings/items/maximum"),
        ("/keyway", "/properties/keyway/enum"),
    ]
    assert isinstance(found[0], Violation) and "12" in found[0].message
    assert TASK.violations({"keyway": "SC1", "bittings": []}) == []


def test_leaves():
    answer = {"size": {"w": 1}, "bittings": [4, 5], "keyway": "SC1"}
    assert TASK.leaves(answer) == {"/keyway": "SC1", "/bittings/0": 4, "/bittings/1": 5, "/size/w": 1}
    assert TASK.leaves({"keyway": "SC1", "bittings": []}) == {"/keyway": "SC1", "/bittings": None}


def test_extra_properties_come_last_by_name():
    schema = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
    task = Task("open", schema, "?", 64)
    assert task.text({"z": 1, "a": 2, "b": 3}) == '{"b":3,"a":2,"z":1}'


def test_order_through_lists_and_alternatives():
    point = {"type": "object", "properties": {"y": {"type": "integer"}, "x": {"type": "integer"}}}
    schema = {
        "type": "object",
        "properties": {
            "points": {"type": "array", "items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]}},
            "pair": {"type": "array", "prefixItems": [True, point]},
        },
        "required": ["points"],
        "$defs": {"point": point},
    }
    text = Task("points", schema, "?", 64).text({"pair": [1, {"x": 1, "y": 2}], "points": [None, {"x": 3, "y": 4}]})
    assert text == '{"points":[null,{"y":4,"x":3}],"pair":[1,{"y":2,"x":1}]}'


def test_formats_are_checked():
    schema = {
        "type": "object",
        "properties": {"read_on": {"type": "string", "format": "date"}},
        "required": ["read_on"],
    }
    task = Task("dates", schema, "?", 64)
    assert task.parse('{"read_on":"2026-02-28"}') and len(task.violations({"read_on": "2026-02-30"})) == 1


def simple(**changes):
    return {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], **changes}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ([], "expected an object"),
        ({"type": "objekt"}, "/type"),
        (simple(type="array"), "at the root, got 'array'"),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a"]}, "at the root, got None"),
        ({"type": "object"}, "constrains nothing"),
        (simple(required=[]), "at least one `required`"),
        (simple(properties={"a": True}), "of at least one property"),
        (simple(properties={"a": {"title": "A"}}), "of at least one property"),
        (simple(properties={"a": {"pattern": "("}}), "pattern"),
        (simple(properties={"a": {"$ref": "https://example.org/a.json"}}), "within the schema"),
        (simple(properties={"a": {"$ref": "#/$defs/none"}}), "leads nowhere"),
        (simple(properties={"a": {"$anchor": "here", "type": "null"}}), "anchor is not supported"),
        (simple(properties={"a": {"$id": "https://example.org/", "type": "null"}}), "id is not supported"),
        (simple(**{"$schema": "http://json-schema.org/draft-07/schema#"}), "2020-12"),
    ],
)
def test_schemas_that_cannot_be_used(schema, said):
    with pytest.raises(ConfigError, match=said):
        Task("keys", schema, "?", 336)


@pytest.mark.parametrize(
    "changes", [{"name": "Keys"}, {"name": "../keys"}, {"prompt": " "}, {"image_side": 0}, {"image_side": 9999}]
)
def test_tasks_that_cannot_be(changes):
    with pytest.raises(ConfigError, match=f"task.{next(iter(changes))}"):
        Task(**{"name": "keys", "schema": SCHEMA, "prompt": "?", "image_side": 336, **changes})


def test_travels_and_compares():
    assert TASK.validator  # made
    there = pickle.loads(pickle.dumps(TASK))
    assert there == TASK and hash(there) == hash(TASK) and there.parse('{"keyway":"SC1","bittings":[]}')


def test_strict_json_says_where():
    with pytest.raises(AnswerInvalid, match="at character 5"):
        strict_json('{"a":}')
