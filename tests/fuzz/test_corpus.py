"""What the fuzzers start from, and whatever they found, holds without a fuzzer too; a little chance besides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_every_target_has_a_corpus_of_small_files():
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert max(path.stat().st_size for path in FILES) <= 4096


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_corpus_holds(path):
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_something_in_each_corpus_gets_past_the_parser(name):
    """Else a fuzzer would never see the other side of a cipher."""
    assert any(TARGETS[name](path.read_bytes()) for path in FILES if path.parent.name == name)


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "aws"])
@given(data=st.binary(max_size=300))
def test_chance(name, data):
    TARGETS[name](data)
