import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.fitting.order import Order, repeat_factors


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_pass_visits_every_place_once(count, seed, number):
    order = Order(count, seed)
    assert sorted(order.place(number * count + at) for at in range(count)) == list(range(count))


@given(st.lists(st.floats(1, 9), min_size=1, max_size=30), st.integers(0, 5))
def test_with_repeats_each_place_has_its_share_to_within_one(repeats, seed):
    order = Order(len(repeats), seed, np.array(repeats))
    for number in range(3):
        visits = np.bincount(
            [order.place(number * len(repeats) + at) for at in range(len(repeats))], minlength=len(repeats)
        )
        assert np.all(np.abs(visits - np.array(repeats) / np.sum(repeats) * len(repeats)) < 1 + 1e-9)


def test_a_sample_depends_on_seed_and_number_alone():
    one, two, other = Order(17, 3), Order(17, 3), Order(17, 4)
    asked = [40, 3, 3, 99, 16, 17]
    assert [one.place(i) for i in asked] == [two.place(i) for i in reversed(asked)][::-1]
    assert [one.place(i) for i in range(17)] != [other.place(i) for i in range(17)]
    assert pickle.loads(pickle.dumps(one)).place(40) == one.place(40)


def test_rare_classes_come_up_more_often():
    """Ten pictures, class 1 on one of them: with t = 0.4 its factor is sqrt(0.4 / 0.1) = 2 (LVIS, section 5.3)."""
    classes = [np.array([0, 0])] * 8 + [np.array([0, 1])] + [np.zeros(0, np.int64)]
    assert repeat_factors(classes, 0.4).tolist() == [1] * 8 + [2, 1]
    order = Order(10, 0, repeat_factors(classes, 0.4))
    visits = np.bincount([order.place(i) for i in range(1100)], minlength=10)
    assert visits[8] == pytest.approx(200, abs=2) and visits[0] == pytest.approx(100, abs=12)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="at least 1 place"):
        Order(0, 0)
    with pytest.raises(ValueError, match="threshold"):
        repeat_factors([np.array([0])], 0.0)
