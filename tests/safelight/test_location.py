"""Places become coarse, and what was sent is in nothing that is said."""

from __future__ import annotations

import logging
import traceback

import pygeohash
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import InvalidOption
from safelight.location import FEW_PEOPLE, CoarseLocation, coarse_geohash, coarse_zip

# The worked example of the geohash's author (57.64911, 10.40744), and places at the seams of the grid.
PLACES = {
    ("57.64911", "10.40744"): "u4pruy",
    ("-90", "-180"): "000000",
    ("90", "180"): "zzzzzz",
    ("0", "0"): "s00000",
    ("-0.0", "-0.000001"): "ebpbpb",
    ("+42.6", "-5.6"): "ezs42e",
    ("001.5", "-000.5"): "ebr8s9",
}


@pytest.mark.parametrize("place", PLACES)
def test_known_places(place):
    for precision in range(1, 7):
        cell = coarse_geohash(*place, precision)
        assert len(cell) == precision
        assert PLACES[place].startswith(cell)


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 6))
def test_a_cell_holds_its_place(latitude, longitude, precision):
    texts = f"{latitude:.9f}", f"{longitude:.9f}"
    box = pygeohash.get_bounding_box(coarse_geohash(*texts, precision))
    assert box.min_lat - 1e-9 <= float(texts[0]) <= box.max_lat + 1e-9
    assert box.min_lon - 1e-9 <= float(texts[1]) <= box.max_lon + 1e-9


def test_places_of_one_cell_are_one():
    """At four characters nobody can tell two ends of a city apart."""
    assert coarse_geohash("37.79", "-122.40", 4) == coarse_geohash("37.72", "-122.50", 4) == "9q8y"


@pytest.mark.parametrize("code", ["94103", "94103-1234", "941031234"])
def test_three_digits_of_a_zip_are_left(code):
    assert coarse_zip(code) == "941"


# 45 CFR 164.514(b)(2)(i)(B) with the guidance of the Department of Health and Human Services, census of 2000.
LISTED = ["036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884", "890",
          "893"]  # fmt: skip


@pytest.mark.parametrize("prefix", LISTED)
def test_where_few_people_live_nothing_is_left(prefix):
    for rest in ("00", "99", "01-2345"):
        assert coarse_zip(prefix + rest) == "000"


def test_the_list_is_whole():
    assert len(LISTED) == 17 and set(LISTED) | {"205", "369"} == FEW_PEOPLE
    assert sum(coarse_zip(f"{number:03d}00") == "000" for number in range(1, 1000)) == len(FEW_PEOPLE)


BAD_DEGREES = [
    "", " ", "91", "-90.000001", "180", "nan", "inf", "-inf", "1e1", "1_0", "0x10", "1,5", "1.", ".5", "++1", "1 ", " 1",
    "\u0661", "1\n", "1.123456789012345678901", "12N", "9" * 400,
]  # fmt: skip
BAD_ZIPS = ["", "1234", "123456", "12345-", "12345-123", "12345-12345", "1234a", "12345 1234", "\u0661" * 5, " 12345",
            "12345\n", "K1A 0B1", "-12345", "9" * 400]  # fmt: skip


def said(call) -> str:
    with pytest.raises(InvalidOption) as caught:
        call()
    error = caught.value
    assert error.__cause__ is None and error.__context__ is None
    return str(error) + repr(error) + "".join(traceback.format_exception_only(error))


@pytest.mark.parametrize("text", BAD_DEGREES)
def test_bad_degrees_are_refused_and_not_said(text):
    what = said(lambda: coarse_geohash(text, "0", 4))
    assert what.count("latitude: expected decimal degrees from -90 to 90.") == 3
    assert "longitude: expected decimal degrees from -180 to 180." in said(
        lambda: coarse_geohash("0", text + "180.1", 4)
    )


@pytest.mark.parametrize("text", BAD_ZIPS)
def test_bad_zips_are_refused_and_not_said(text):
    assert said(lambda: coarse_zip(text)).count("zip: expected a US ZIP code of five digits") == 3


REFUSALS = {
    "latitude: expected decimal degrees from -90 to 90.",
    "longitude: expected decimal degrees from -180 to 180.",
    "zip: expected a US ZIP code of five digits, or nine as in 12345-6789.",
}


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_text_is_a_place_or_refused_in_the_same_words(one, other):
    for call in (lambda: coarse_geohash(one, other, 4), lambda: coarse_zip(one)):
        try:
            assert len(call()) in (3, 4)
        except InvalidOption as error:
            assert str(error) in REFUSALS


def test_nothing_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    coarse_geohash("57.64911", "10.40744", 4)
    coarse_zip("94103")
    with pytest.raises(InvalidOption):
        coarse_geohash("57.64911", "1000.40744", 4)
    assert not caplog.records


def test_what_is_left_is_all_there_is():
    assert repr(CoarseLocation("9q8y", "941")) == "CoarseLocation(geohash='9q8y', zip3='941')"
