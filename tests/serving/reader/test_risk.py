"""The risk rule, point by point, the numbers behind it, and the catalogue that they come from."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import yaml

from safelight.errors import ConfigError
from serving.reader.catalogue import SystemEntry, load_keys
from serving.reader.catalogue.catalogue import KEYS
from serving.reader.risk import ELEVATED, HIGH, bittings_of, risk_of
from tests.conftest import ROOT

NOTHING = SystemEntry()


def rules(bittings, entry=NOTHING):
    return {reason.rule: reason.points for reason in risk_of(bittings, entry).reasons}


@pytest.mark.parametrize(("cuts", "depths", "macs"), [(1, 4, 1), (3, 4, 2), (4, 5, 3), (5, 6, 4), (4, 3, 9)])
def test_bittings_are_counted_as_one_by_one(cuts, depths, macs):
    allowed = sum(all(abs(a - b) <= macs for a, b in pairwise(one)) for one in product(range(depths), repeat=cuts))
    assert bittings_of(cuts, depths, macs) == allowed


@pytest.mark.parametrize(
    ("bittings", "expected"),
    [
        ([0, 4, 9, 3, 6], {}),
        ([2, 5, 4, 7, 3], {}),
        ([3, 3, 3, 3, 3], {"level-cuts": 30, "few-depths": 15, "equal-neighbours": 20}),
        ([1, 2, 3, 1, 2], {"level-cuts": 30}),
        ([1, 1, 5, 7, 3], {"equal-neighbours": 10}),
        ([1, 7, 1, 7], {"few-depths": 15}),
        ([4], {"level-cuts": 30, "few-depths": 15}),
    ],
)
def test_each_rule_adds_its_points(bittings, expected):
    assert rules(bittings) == expected


def test_the_numbers_of_a_system_add_theirs():
    keys = load_keys()
    assert rules([2, 5, 4, 7, 3], keys.entry("SC1")) == {"small-system": 10, "open-keyway": 10}
    assert rules([2, 5, 4, 6, 3], keys.entry("KW1")) == {"small-system": 20, "open-keyway": 10}
    assert rules([0, 9, 4, 7, 3], keys.entry("SC1")).keys() == {"small-system", "open-keyway", "steeper-than-macs"}
    assert rules([2, 5, 4], keys.entry("SC1"))["outside-system"] == 0
    assert rules([0, 5, 4, 6, 3], keys.entry("KW1")).keys() >= {"outside-system", "steeper-than-macs"}
    assert rules([2, 5, 4, 7, 3], keys.entry("never heard of")) == {}


def test_levels_begin_where_they_are_said_to():
    entry = load_keys().entry("KW1")
    assert [risk_of(one, entry).level for one in ([2, 5, 3, 6, 3], [3, 3, 3, 3, 3])] == ["elevated", "high"]
    low, high = risk_of([2, 5, 4, 7, 3], NOTHING), risk_of([3, 3, 3, 3, 3], NOTHING)
    assert (low.level, low.score, high.level, high.score) == ("low", 0, "high", 65)
    assert ELEVATED <= 45 < HIGH <= 65 and list(high.reasons) == sorted(high.reasons, key=lambda one: -one.points)


def test_every_rule_is_documented_with_its_points():
    text = (ROOT / "docs/reader/serving.md").read_text()
    for rule in ("level-cuts", "equal-neighbours", "few-depths", "small-system", "open-keyway", "outside-system",
                 "steeper-than-macs"):  # fmt: skip
        assert f"| `{rule}` |" in text


def test_the_shipped_catalogue_holds_and_names_its_sources():
    document = yaml.safe_load(KEYS.read_bytes())
    keys = load_keys()
    assert set(document["keyways"]) == set(keys.keyways) >= {"SC1", "SC4", "KW1", "AR1", "Y1", "M1"}
    for entry in keys.keyways.values():
        facts = [
            fact for fact in (entry.lock_type, entry.manufacturing_complexity, entry.openness, entry.system) if fact
        ]
        assert all(fact.source and fact.told.startswith("illustrative: ") == fact.illustrative for fact in facts)
        assert entry.estimated_annual_production is None  # nobody published one


@pytest.mark.parametrize(
    "text",
    ["", "keyways: [", "keyways: {SC1: {lock_type: pin}}", "keyways: {SC1: {lock_type: {value: pin}}}", "other: {}",
     "keyways: {SC1: {system: {cuts: 0, least: 0, depths: 10, macs: 7, source: x}}}"],
)  # fmt: skip
def test_a_catalogue_that_does_not_hold_is_refused(tmp_path, text):
    (tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_keys(tmp_path / "keys.yaml")


def test_a_catalogue_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        load_keys(tmp_path / "absent.yaml")
