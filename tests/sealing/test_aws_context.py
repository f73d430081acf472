"""What an encryption context may say, as a table: expected things pass, surplus, markup and people's numbers do not."""

from __future__ import annotations

import random
import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import SealBroken
from safelight.sealing.aws.context import ALLOWED_KEYS, ContextPolicy, Declared, is_personal, own, read_time
from tests.sealing.aws_ends import CONTEXT, message, opened, opener

GOOD = {**CONTEXT, "session_id": "5f2d8c6ad5d14a3b", "timestamp": "2026-11-21T10:00:00Z", "file_type": "image/png"}
AT = 1_795_255_200.0


def refused(context) -> bool:
    try:
        ContextPolicy().read(context)
    except SealBroken:
        return True
    return False


def test_what_is_expected_is_read():
    assert ContextPolicy().read(GOOD) == Declared("image", "image/png", AT)
    assert ContextPolicy().read({**CONTEXT, "data_type": "http"}) == Declared("http", None, None)
    assert set(GOOD) | {"upload_timestamp"} == set(ALLOWED_KEYS)


def test_the_key_that_the_library_puts_in_is_let_through_and_not_the_senders():
    signed = {**GOOD, "aws-crypto-public-key": "A2TQk0/4P6v2Yx+Jw=="}
    assert not refused(signed)
    assert own(signed) == GOOD
    for name in ("aws-crypto-other", "aws-crypto-", "AWS-CRYPTO-PUBLIC-KEY"):
        assert refused({**GOOD, name: "x"})


@pytest.mark.parametrize(
    "change",
    [
        {"processing_stage": None}, {"processing_stage": "response"}, {"processing_stage": "Request"},
        {"data_type": None}, {"data_type": "text"}, {"data_type": "IMAGE"}, {"data_type": ""},
        {"file_type": "text/html"}, {"file_type": "image"}, {"file_type": "image/"}, {"file_type": "image/*"},
        {"file_type": "image/png; a=b"}, {"file_type": "image/png image/jpeg"}, {"file_type": "IMAGE/PNG"},
        {"file_type": "application/image/png"}, {"file_type": "image/" + "x" * 65},
        {"patient": "x"}, {"Session_id": "x"}, {"": "x"}, {"session_id ": "x"}, {"status": "200"},
    ],
    ids=repr,
)  # fmt: skip
def test_missing_surplus_or_other_things_are_refused(change):
    context = {**GOOD, **change}
    assert refused({key: value for key, value in context.items() if value is not None})


@pytest.mark.parametrize("key", ALLOWED_KEYS)
@pytest.mark.parametrize(
    "bad",
    ["<", ">", "&", '"', "'", "\\", "`", "$", "%", "{", ";", "|", "\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u200b",
     "\u2028", "é", "１", "＠", "\U0001f600"],
    ids=ascii,
)  # fmt: skip
def test_control_and_markup_characters_are_refused_everywhere(key, bad):
    assert not refused(GOOD)
    for value in (bad, GOOD.get(key, "x") + bad, bad + GOOD.get(key, "x")):
        assert refused({**GOOD, key: value})


def test_values_are_neither_empty_nor_long():
    assert not refused({**GOOD, "session_id": "x" * 256})
    for value in ("", "x" * 257):
        assert refused({**GOOD, "session_id": value})


PERSONAL = [
    "alice@example.org", "session alice@example.org", "a@b", "x:alice.b-c+d@mail.example.co.uk/1",
    "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "4111.1111.1111.1111", "4111_1111/1111:1111",
    "4111, 1111, 1111, 1111", "card 5555555555554444 ok", "378282246310005", "3782-822463-10005", "30569309025904",
    "6011111111111117", "4222222222222", "6304000000000000000", "id-4111111111111111-99", "12 4111 1111 1111 1111 34",
    "536-90-4399", "536904399", "536 90 4399", "536.90.4399", "ssn:536-90-4399", "x_536_90_4399", "536-904399",
]  # fmt: skip
HARMLESS = [
    "5f2d8c6ad5d14a3b9f0e6a1c2b7d4e90", "mine", "a/b+c==", "worker-12", "2026-11-21", "1795255200", "session_1795255200123_7",
    "4111111111111112", "4111 1111 1111 1112", "a4111111111111111", "999-90-4399", "536-00-4399", "000-12-3456",
    "411111111111", "12345678901234567890123456789012", "5369043990", "@", " @ ",
]  # fmt: skip


@pytest.mark.parametrize("value", PERSONAL)
def test_what_looks_like_a_persons_is_refused(value):
    assert is_personal(value)
    assert refused({**GOOD, "session_id": value})
    with pytest.raises(SealBroken):
        opened(opener(), message(b"x", {**CONTEXT, "session_id": value}))


@pytest.mark.parametrize("value", HARMLESS)
def test_what_does_not_is_taken(value):
    assert not is_personal(value)
    assert not refused({**GOOD, "session_id": value})


@given(st.text("0123456789", min_size=12, max_size=18), st.sampled_from("23456"), st.sampled_from(["", " ", "-"]))
def test_every_number_with_a_card_s_check_digit_is_found(middle, first, separator):
    digits = first + middle
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits[:-1])))
    number = digits[:-1] + str(-total % 10)
    assert is_personal(separator.join(number[at : at + 4] for at in range(0, len(number), 4)))
    wrong = digits[:-1] + str((1 - total) % 10)
    if len(wrong) == 13:  # no shorter run in it could be another card
        assert not is_personal(wrong)


def test_random_names_are_hardly_ever_taken_for_people():
    rng = random.Random(0)
    names = [uuid.UUID(int=rng.getrandbits(128), version=4) for _ in range(20_000)]
    assert not any(is_personal(str(name)) or is_personal(name.hex) for name in names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1795255200", AT), ("2026-11-21T10:00:00Z", AT), ("2026-11-21t10:00:00z", AT), ("2026-11-21 10:00:00+00:00", AT),
        ("2026-11-21T11:30:00+01:30", AT), ("2026-11-21T10:00Z", AT), ("20261121T100000Z", AT),
        ("2026-11-21T10:00:00,5Z", AT + 0.5), ("2026-11-21T10:00:00.000Z", AT),
        ("2026-11-21T10:00:00.250000000-00:00", AT + 0.25), ("2026-11-21T12+02", None),
    ],
)  # fmt: skip
def test_times_are_read(text, expected):
    if expected is None:
        with pytest.raises(SealBroken):
            read_time(text)
    else:
        assert read_time(text) == expected
        assert ContextPolicy().read({**CONTEXT, "upload_timestamp": text}).sent_at == expected


@pytest.mark.parametrize("key", ["timestamp", "upload_timestamp"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00", "2026-11-21", "2026-13-21T10:00:00Z", "2026-11-21T10:61:00Z", "2026-11-21T10:00:00+25:00", "now",
        "Sat, 21 Nov 2026 10:00:00 GMT", "1795255200123", "1795255200.5", "-1795255200", "+1795255200", "0", "536904399",
        "1_795_255_200", "4111111111111111", "2026-11-21T10:00:00.4111111111111111Z", "2026-W47-6T10:00:00Z", " 1795255200",
    ],
)  # fmt: skip
def test_times_that_cannot_be_read_are_refused(key, text):
    assert refused({**CONTEXT, key: text})


@given(st.text(max_size=40))
def test_reading_a_time_ends_in_a_number_or_a_refusal(text):
    with suppress(SealBroken):
        assert isinstance(read_time(text), float)


@given(st.dictionaries(st.sampled_from(ALLOWED_KEYS) | st.text(max_size=5), st.text(max_size=30), max_size=6))
def test_any_context_ends_in_a_declaration_or_a_refusal(context):
    assert refused(context) or isinstance(ContextPolicy().read(context), Declared)


def test_the_allowlist_is_the_operators():
    own_keys = ContextPolicy(["processing_stage", "data_type", "camera"])
    assert own_keys.read({**CONTEXT, "camera": "north-3"}).content == "image"
    for context in (GOOD, {**CONTEXT, "session_id": "x"}, {**CONTEXT, "camera": "a@b.c"}):
        with pytest.raises(SealBroken):
            own_keys.read(context)
