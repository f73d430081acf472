import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.vlm.bucketing import Buckets

LENGTHS = st.lists(st.integers(1, 99), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 3), st.integers(1, 5), st.integers(0, 4))
def test_every_pass_visits_every_record_once(lengths, size, seed, window, number):
    buckets = Buckets(lengths, size, seed, window)
    count = len(lengths)
    assert sorted(buckets.place(number * count + at) for at in range(count)) == list(range(count))


@given(LENGTHS, st.integers(1, 9), st.integers(0, 3))
def test_a_record_does_not_depend_on_what_was_asked_for_before(lengths, size, seed):
    whole = [Buckets(lengths, size, seed).place(sample) for sample in range(3 * len(lengths))]
    again = Buckets(lengths, size, seed)
    assert [again.place(sample) for sample in reversed(range(3 * len(lengths)))] == whole[::-1]
    assert [pickle.loads(pickle.dumps(again)).place(sample) for sample in range(3)] == whole[:3]


def padding(lengths, size, window, passes=4):
    """The share of tokens that are padding, over several passes."""
    buckets = Buckets(lengths, size, 0, window)
    samples = passes * len(lengths) // size * size
    batches = np.array([lengths[buckets.place(sample)] for sample in range(samples)]).reshape(-1, size)
    return 1 - batches.sum() / (batches.max(1) * size).sum()


def test_little_is_padded():
    lengths = np.random.default_rng(0).integers(20, 120, 1003)
    by_chance, sorted_ = padding(lengths, 8, 1), padding(lengths, 8, 16)
    assert by_chance > 0.3
    assert sorted_ < 0.08


def test_batches_come_in_no_order_of_length_and_passes_differ():
    lengths = np.repeat(np.arange(1, 33), 8)
    buckets = Buckets(lengths.tolist(), 8, 0, window=32)
    first, second = (
        [int(lengths[buckets.place(number * len(lengths) + at)]) for at in range(0, len(lengths), 8)]
        for number in (0, 1)
    )
    assert sorted(first) == list(range(1, 33)) and first != sorted(first) and first != second


@pytest.mark.parametrize("wrong", [{"lengths": []}, {"size": 0}, {"window": 0}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected at least 1, got 0"):
        Buckets(**{"lengths": [1], "size": 1, "seed": 0, "window": 1, **wrong})
