import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna import create_study
from optuna.samplers import RandomSampler

from safelight.errors import ConfigError
from training.tuning.space import Choice, FloatRange, IntRange, describe_space, parse_space

GOOD = {
    "a.b": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "c": {"type": "int", "low": 10, "high": 100, "step": 10},
    "d": {"type": "choice", "values": ["x", None, 2, True, 0.5]},
}


def test_a_space_is_read_and_described():
    space = parse_space(GOOD)
    assert space == {
        "a.b": FloatRange(1e-4, 1e-2, log=True),
        "c": IntRange(10, 100, step=10),
        "d": Choice(("x", None, 2, True, 0.5)),
    }
    assert parse_space(describe_space(space)) == space


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "is empty"),
        ({"a": 3}, "a: expected a mapping with a type, got int"),
        ({"a": {"low": 1, "high": 2}}, "a: expected type float, int or choice, got None"),
        ({"a": {"type": ["float"]}}, "expected type float, int or choice"),
        ({"a": {"type": "float", "low": 1}}, "float needs high"),
        ({"a": {"type": "float", "low": 1, "high": 2, "step": 1}}, "float does not take step"),
        ({"a": {"type": "float", "low": 2, "high": 1}}, "expected low below high, got 2 and 1"),
        ({"a": {"type": "float", "low": 1, "high": 1}}, "expected low below high"),
        ({"a": {"type": "float", "low": "1", "high": 2}}, "expected finite numbers"),
        ({"a": {"type": "float", "low": 1, "high": float("inf")}}, "expected finite numbers"),
        ({"a": {"type": "float", "low": float("nan"), "high": 1}}, "expected finite numbers"),
        ({"a": {"type": "float", "low": False, "high": True}}, "expected finite numbers"),
        ({"a": {"type": "float", "low": 0, "high": 1, "log": True}}, "low above 0"),
        ({"a": {"type": "float", "low": 1, "high": 2, "log": "yes"}}, "true or false for log"),
        ({"a": {"type": "int", "low": 1, "high": 2.5}}, "whole numbers"),
        ({"a": {"type": "int", "low": 1, "high": 10, "step": 2}}, "a step of at least 1 that leads from 1 to 10"),
        ({"a": {"type": "int", "low": 1, "high": 9, "step": 2, "log": True}}, "a step of at least 1"),
        ({"a": {"type": "choice", "values": "ab"}}, "expected a list"),
        ({"a": {"type": "choice", "values": ["x"]}}, "at least two different values"),
        ({"a": {"type": "choice", "values": [1, 1.0]}}, "at least two different values"),
        ({"a": {"type": "choice", "values": [[1], [2]]}}, "plain values"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_by_name(bad, message):
    with pytest.raises(ConfigError, match=message):
        parse_space(bad)


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
descriptions = st.dictionaries(
    st.sampled_from(["type", "low", "high", "log", "step", "values", "other"]),
    plain | st.lists(plain, max_size=4) | st.sampled_from(["float", "int", "choice"]),
)


@given(st.dictionaries(st.text(max_size=8), descriptions | plain, max_size=3))
def test_whatever_is_read_is_refused_or_can_be_described(described):
    try:
        space = parse_space(described)
    except ConfigError:
        return
    assert parse_space(describe_space(space)) == space


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_what_is_drawn_lies_within(low, width):
    study = create_study(sampler=RandomSampler(seed=0))
    space = parse_space({"x": {"type": "float", "low": low, "high": low + width}, "y": GOOD["c"], "z": GOOD["d"]})
    trial = study.ask()
    drawn = {name: parameter.draw(trial, name) for name, parameter in space.items()}
    assert low <= drawn["x"] <= low + width
    assert drawn["y"] in range(10, 101, 10)
    assert drawn["z"] in GOOD["d"]["values"]
