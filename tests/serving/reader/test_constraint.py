"""What a schema lets an answer be: always JSON that holds to it, and forced as the tokenizer itself would cut the text."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.errors import ManifestInvalid
from safelight.reader.task import Task
from serving.reader.constraint import Constraint, ConstraintBroken, Tokens
from tests.serving.reader import tiny

TOKENIZER = tiny.tokenizer()
VOCABULARY = TOKENIZER.get_vocab_size() + 8  # as heads that are padded to a round number
TOKENS = Tokens(TOKENIZER.to_str(), VOCABULARY, (tiny.END, tiny.PAD))
NAMES = st.text("abcdeiknotuy_", min_size=1, max_size=6)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=6)


def _pair(schema, values):
    return st.tuples(st.just(schema), values)


def _leaves():
    """A schema and a value that holds to it."""
    ranges = st.tuples(st.integers(-300, 300), st.integers(0, 500)).map(lambda pair: (pair[0], pair[0] + pair[1]))
    return st.one_of(
        st.lists(WORDS, min_size=1, max_size=4, unique=True).flatmap(
            lambda words: _pair({"enum": words}, st.sampled_from(words))
        ),
        ranges.flatmap(
            lambda ends: _pair(
                {"type": "integer", "minimum": ends[0], "maximum": ends[1]}, st.integers(ends[0], ends[1])
            )
        ),
        _pair({"type": "string", "maxLength": 6}, WORDS),
        _pair(
            {"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,3}$"}, st.from_regex(r"[A-Z]{2}[0-9]{1,3}", fullmatch=True)
        ),
        _pair({"type": "boolean"}, st.booleans()),
        _pair({"type": ["integer", "null"], "minimum": 0, "maximum": 9}, st.none() | st.integers(0, 9)),
    )


def _lists(pairs):
    return st.tuples(pairs, st.integers(0, 2), st.integers(0, 2)).flatmap(
        lambda drawn: _pair(
            {"type": "array", "items": drawn[0][0], "minItems": drawn[1], "maxItems": drawn[1] + drawn[2]},
            st.integers(drawn[1], drawn[1] + drawn[2]).map(lambda count: [drawn[0][1]] * count),
        )
    )


def _objects(pairs):
    def built(named):
        schema = {
            "type": "object",
            "properties": {name: schema for name, (schema, _, _) in named.items()},
            "required": [name for name, (_, _, required) in named.items() if required] or [next(iter(named))],
            "additionalProperties": False,
        }
        value = {name: value for name, (_, value, given) in named.items() if given or name in schema["required"]}
        return schema, value

    parts = pairs.flatmap(lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.booleans()))
    return st.dictionaries(NAMES, parts, min_size=1, max_size=3).map(built)


PAIRS = _objects(st.recursive(_leaves(), lambda pairs: _lists(pairs) | _objects(pairs), max_leaves=4))


def task(schema):
    return Task("test", schema, "Read.", 32)


@given(PAIRS)
@settings(max_examples=40)
def test_a_canonical_answer_is_let_through_and_forced_as_it_is_cut(pair):
    """Whatever is forced is what the tokenizer makes of the whole answer: a model that was trained on its tokens would have
    generated the same ones."""
    schema, answer = pair
    text = task(schema).text(answer)
    ids = [*TOKENIZER.encode(text).ids, tiny.END]
    matcher, at = Constraint(schema, TOKENS).matcher(), 0
    while at < len(ids):
        forced = matcher.forced()
        assert forced == ids[at : at + len(forced)]
        at += len(forced)
        if at < len(ids):
            assert ids[at] in matcher.allowed()
            matcher.take(ids[at])
            at += 1
    assert matcher.ended and matcher.forced() == []
    assert TOKENS.text(ids) == text


def spelled(text):
    """What JSON may write in two ways, written in one: \\u001F and \\u001f, -0 and 0."""
    return re.sub(r"-0\b", "0", text).lower()


@given(PAIRS, st.integers(0, 2**32))
@settings(max_examples=40)
def test_whatever_is_chosen_the_answer_is_the_canonical_text_of_one_that_holds(pair, seed):
    schema, random = pair[0], np.random.default_rng(seed)
    matcher, ids = Constraint(schema, TOKENS).matcher(), []
    ids += matcher.forced()
    while not matcher.ended:
        token = int(random.choice(matcher.allowed()))
        matcher.take(token)
        ids += [token, *matcher.forced()]
        assert len(ids) < 2000
    text = TOKENS.text(ids)
    assert spelled(task(schema).text(task(schema).parse(text))) == spelled(text)


def test_a_schema_may_refer_to_itself():
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "within": {"$ref": "#"}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    matcher = Constraint(schema, TOKENS).matcher()
    for token in TOKENIZER.encode('{"kind":"a","within":{"kind":"b"}}').ids:
        assert token in matcher.allowed()
        matcher.take(token)
    assert matcher.forced() == [tiny.END]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "format": "no-such-format"}}},
        {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.org/schema"}}},
        {"type": "object", "properties": {"a": {"type": "no-such-type"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(.*a){40}", "maxLength": 400}}},
        {"type": "object", "properties": {"a": {"enum": ["x" * 300_000]}}},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
    ],
    ids=["format", "keyword", "reference", "type", "pattern", "size", "unsatisfiable"],
)
def test_what_cannot_be_promised_is_refused(schema):
    with pytest.raises(ManifestInvalid):
        Constraint(schema, TOKENS)


def test_a_bound_that_is_met_on_the_way_says_nothing_of_the_answer():
    matcher = Constraint(tiny.KEYS, TOKENS).matcher()
    with pytest.raises(ConstraintBroken) as raised:
        matcher.take(TOKENIZER.encode("Master").ids[0])
    assert "Master" not in str(raised.value) and "Tokens" not in str(raised.value)


@pytest.mark.parametrize("text", ["byte", "gpt2", "/etc/hostname", "", "{", '{"model":{}}', json.dumps([1])])
def test_a_tokenizer_is_never_looked_for_elsewhere(text):
    with pytest.raises(ManifestInvalid):
        Tokens(text, VOCABULARY, (tiny.END,))


def test_a_tokenizer_with_more_tokens_than_logits_is_refused():
    with pytest.raises(ManifestInvalid):
        Tokens(TOKENIZER.to_str(), TOKENIZER.get_vocab_size() - 1, (tiny.END,))
