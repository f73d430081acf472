"""The budget of bytes: what is taken is given back, however a request ends, and nobody waits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import Overloaded
from serving.resilience.memory import Budget


def test_what_would_exceed_it_is_refused_and_takes_nothing():
    budget = Budget(100)
    with budget.holding() as first, budget.holding() as second:
        first.take(60)
        with pytest.raises(Overloaded) as refusal:
            second.take(41)
        assert refusal.value.status == 503 and refusal.value.retry_after_s == 1
        assert budget.held == 60 and second.held == 0
        second.take(40)
        assert budget.held == 100
    assert budget.held == 0


def test_it_is_given_back_when_a_request_fails():
    budget = Budget(10)
    with pytest.raises(KeyError), budget.holding() as holding:
        holding.take(10)
        raise KeyError
    assert budget.held == 0


def test_keeping_less_gives_the_rest_back_and_keeping_more_takes_nothing():
    budget = Budget(100)
    with budget.holding() as holding:
        holding.take(80)
        holding.keep(30)
        assert (budget.held, holding.held) == (30, 30)
        holding.keep(50)
        assert (budget.held, holding.held) == (30, 30)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["take", "keep"]), st.integers(0, 60))))
def test_the_sum_is_right_and_never_above_the_bound(steps):
    budget = Budget(100)
    with contextlib.ExitStack() as stack:
        holdings = [stack.enter_context(budget.holding()) for _ in range(4)]
        for who, what, size in steps:
            with contextlib.suppress(Overloaded):
                getattr(holdings[who], what)(size)
            assert budget.held == sum(one.held for one in holdings) <= 100
    assert budget.held == 0
