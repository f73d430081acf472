"""Padmé sizes: what was published about them, and that they hide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.sealing.padding import missing, padded


@pytest.mark.parametrize(("size", "expected"), [(78, 80), (85, 88)])
def test_the_sizes_of_the_authors_own_tests(size, expected):
    """Those of `TestPad` in the Go library of Padmé's authors (dedis/purb): 77 bytes and a mark, without and with a head."""
    assert padded(size) == expected


def by_the_paper(size: int) -> int:
    """The definition in section 4 of the paper, with logarithms by counting."""
    e = max(n for n in range(64) if 2**n <= size)
    s = max(n for n in range(64) if 2**n <= e) + 1
    unit = 2 ** (e - s)
    return -(-size // unit) * unit


@given(st.integers(2, 2**40))
def test_sizes_are_those_of_the_paper_and_grow_little(size):
    assert padded(size) == by_the_paper(size)
    assert size <= padded(size) <= size * 1.12
    assert padded(padded(size)) == padded(size)


def test_few_sizes_are_left():
    sizes = {padded(size) for size in range(2**20, 2**21)}
    assert len(sizes) <= 33


@given(st.integers(0, 2**30), st.integers(0, 2**16))
def test_nothing_is_sent_smaller_than_the_least(size, least):
    assert size + missing(size, least) >= max(size, least) and missing(size, least) >= 0
