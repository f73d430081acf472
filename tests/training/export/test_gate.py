import pytest

from training.export.gate import judge, medians


@pytest.mark.parametrize(
    ("before", "after", "most", "reason"),
    [
        (0.5, 0.5, 0.01, None),
        (0.5, 0.6, 0.01, None),
        (0.5, 0.4901, 0.01, None),
        (0.5, 0.4899, 0.01, r"falls from 0\.5000 to 0\.4899, more than 0\.01"),
        (0.5, 0.4999, 0.0, "falls"),
        (0.0, 0.0, 0.01, "could not fail"),
        (0.01, 0.01, 0.01, "could not fail"),
        (0.0, 0.0, 0.0, "could not fail"),
    ],
)
def test_the_gate(before, after, most, reason):
    verdict = judge(before, after, most)
    assert verdict.accepted is (reason is None)
    assert verdict.gate["before"] == before and verdict.gate["after"] == after and verdict.gate["allowed"] == most
    if reason is not None:
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(verdict.reason)


def test_actions_take_turns_and_the_rehearsal_does_not_count():
    times = iter([0, 9, 20, 21, 21, 23, 30, 33, 33, 37, 40, 41, 41, 43])
    order = []
    actions = {name: (lambda name=name: order.append(name)) for name in "ab"}
    assert medians(actions, 3, lambda: next(times)) == {"a": 1000, "b": 2000}
    assert order == list("abababab")
