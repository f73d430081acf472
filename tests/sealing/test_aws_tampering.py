"""Thousands of messages that somebody changed on the way: none opens, and every one of them fails alike."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import SealBroken
from safelight.sealing.aws import AwsWrapper
from safelight.sealing.messages import InnerResponse
from tests.sealing.aws_ends import (
    AES,
    CONTEXT,
    JSON,
    RAW,
    SIGNED,
    aes_keyring,
    answer_to,
    answered,
    as_json,
    message,
    opened,
    opener,
    received,
    request,
    rsa_key,
    rsa_keyring,
)

PLAIN = bytes(range(256)) * 9  # three frames of 1 KiB
STATED = {**CONTEXT, "session_id": "mine", "timestamp": "1795000000", "file_type": "image/png"}


def framed(plain: bytes = PLAIN, **options) -> bytes:
    return message(plain, STATED, frame_length=1024, **options)


def to_a_public_key() -> bytes:
    return b"".join(AwsWrapper(rsa_keyring(), now=lambda: 1_795_000_000).wrap(request(b"")).body)


FORMS = {
    "unsigned": (framed, RAW),
    "signed": (lambda: framed(suite=SIGNED), RAW),
    "json": (lambda: as_json(message(b"x", STATED), metadata=STATED), JSON),
    "rsa": (to_a_public_key, RAW),
}


def flipped(body: bytes, rng: random.Random) -> Iterator[bytes]:
    """One bit of each byte, another one each time."""
    for at in range(len(body)):
        changed = bytearray(body)
        changed[at] ^= 1 << rng.randrange(8)
        yield bytes(changed)


def rearranged(body: bytes, rng: random.Random) -> Iterator[bytes]:
    """Pieces cut out, doubled, swapped, overwritten; both ends cut off."""
    for _ in range(100):
        a, b, c = sorted(rng.sample(range(len(body) + 1), 3))
        noise = rng.randbytes(b - a)
        yield from (
            body[:a], body[a:], body[:a] + body[b:], body[:b] + body[a:], body[:a] + body[b:c] + body[a:b] + body[c:],
            body[:a] + noise + body[b:], body[:a] + bytes(b - a) + body[b:], body[:a] + noise + body[a:],
        )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_no_changed_message_opens(form):
    make, media_type = FORMS[form]
    body = make()
    opening = opener(AES, rsa_key())
    opened(opening, body, media_type)
    rng = random.Random(0)
    mutants = {*flipped(body, rng), *rearranged(body, rng)} - {body}
    assert len(mutants) > 1000
    for mutant in mutants:
        with pytest.raises(SealBroken):
            opened(opening, mutant, media_type, piece=1_000_000)


def test_frames_cannot_be_left_out_repeated_moved_or_taken_from_another_message():
    one, other = framed(), framed(bytes(reversed(PLAIN)))
    assert len(one) == len(other)
    frame = 4 + 12 + 1024 + 16
    final = 4 + 4 + 12 + 4 + len(PLAIN) % 1024 + 16
    begins = len(one) - final - 2 * frame
    cuts = [0, begins, begins + frame, begins + 2 * frame, len(one)]
    head, first, second, last = (one[a:b] for a, b in pairwise(cuts))
    his = [other[a:b] for a, b in pairwise(cuts)]
    assert opened(opener(), head + first + second + last).request.body == PLAIN
    for pieces in (
        (head, first, last), (head, second, last), (head, second, first, last), (head, first, first, last), (head, last),
        (head, first, second), (head, first, second, second, last), (head, first, his[2], last), (head, his[1], second, last),
        (head, first, second, his[3]), (his[0], first, second, last), (head, *his[1:]), (head, first, second, last, last),
    ):  # fmt: skip
        with pytest.raises(SealBroken):
            opened(opener(), b"".join(pieces))


@pytest.mark.parametrize("json", [False, True], ids=["raw", "json"])
@pytest.mark.parametrize("kind", ["aes", "rsa"])
def test_no_changed_answer_opens(kind, json):
    keyring = aes_keyring() if kind == "aes" else rsa_keyring()
    sealing = AwsWrapper(keyring, content="image" if kind == "aes" else "http", json=json)
    outgoing = sealing.wrap(request())
    body = answer_to(received(opener(AES, rsa_key()), outgoing), 200, ((b"content-type", b"image/png"),), b"found")
    mine, rng = outgoing.answer, random.Random(1)
    start = body[:700] if kind == "rsa" else body  # the rest is padding, in one frame
    mutants = {one + body[len(start) :] for one in flipped(start, rng)} | {*rearranged(body, rng)}
    for mutant in mutants - {body}:
        opening = type(mine)(mine._envelope, mine._content, mine._keyring, mine._message_id)
        opening.feed(mutant)
        with pytest.raises(SealBroken):
            opening.finish()
    assert isinstance(answered(outgoing, body), InnerResponse)


@given(st.binary(max_size=300), st.sampled_from([RAW, JSON]), st.integers(0, 60))
def test_garbage_is_refused_and_nothing_else_happens(garbage, media_type, kept):
    for body in (garbage, framed()[:kept] + garbage):
        with pytest.raises(SealBroken):
            opened(opener(), body, media_type)
