import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.fitting.cache import PictureCache


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=40), st.integers(0, 100))
def test_it_never_holds_more_than_it_may_and_never_errs(asked, most):
    cache = PictureCache(most)
    sizes = dict(reversed(asked))
    for key, _ in asked:
        picture = cache.get(key, lambda key=key: np.full(sizes[key], key, np.uint8))
        assert picture.tolist() == [key] * sizes[key]
        assert cache.nbytes <= most
    assert cache.hits + cache.misses == len(asked)


def test_the_one_longest_unused_goes_first():
    cache = PictureCache(20)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda: np.zeros(10, np.uint8))
    assert cache.hits == 1
    cache.get("a", lambda: pytest.fail("it was kept"))
    cache.get("b", lambda: np.zeros(10, np.uint8))
    assert (cache.hits, cache.misses) == (2, 4)


def test_what_is_too_large_is_not_kept():
    cache = PictureCache(5)
    cache.get("a", lambda: np.zeros(6, np.uint8))
    assert cache.nbytes == 0


def test_less_than_nothing_is_refused():
    with pytest.raises(ValueError, match="0 or more"):
        PictureCache(-1)
