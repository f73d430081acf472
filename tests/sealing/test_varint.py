"""Integers of variable length: RFC 9000's examples, borders of sizes, round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import SealBroken
from safelight.sealing import varint

EXAMPLES = {  # RFC 9000, appendix A.1
    "c2197c5eff14e88c": 151_288_809_941_952_652,
    "9d7f3e7d": 494_878_333,
    "7bbd": 15_293,
    "25": 37,
}


@pytest.mark.parametrize(("encoded", "value"), EXAMPLES.items())
def test_the_examples_of_rfc_9000(encoded, value):
    assert varint.encode(value).hex() == encoded
    assert varint.decode(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


def test_a_longer_form_is_read_too():
    """RFC 9000's example: 37 in two bytes."""
    assert varint.decode(bytes.fromhex("4025"), 0) == (37, 2)


@pytest.mark.parametrize(("value", "size"), [(0, 1), (63, 1), (64, 2), (2**14 - 1, 2), (2**14, 4), (2**30, 8)])
def test_the_shortest_form_is_written(value, size):
    assert len(varint.encode(value)) == size


@pytest.mark.parametrize("value", [-1, 2**62, 2**80])
def test_what_does_not_fit_is_refused(value):
    with pytest.raises(ValueError, match="Expected"):
        varint.encode(value)


@given(st.integers(0, 2**62 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_round_trips_anywhere_in_the_data(value, before, after):
    encoded = varint.encode(value)
    assert varint.decode(before + encoded + after, len(before)) == (value, len(before) + len(encoded))
    assert varint.size_of(encoded[0]) == len(encoded)


@given(st.integers(0, 2**62 - 1), st.data())
def test_an_early_end_is_refused(value, data):
    encoded = varint.encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(SealBroken):
        varint.decode(encoded[:cut], 0)
