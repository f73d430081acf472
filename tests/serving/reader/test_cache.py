"""Answers that are kept for a while, under keys that nobody else can make."""

import numpy as np

from serving.reader.cache import ResultCache

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_an_answer_is_found_again_until_it_is_too_old():
    clock = Clock()
    cache = ResultCache(4, 10, clock)
    key = cache.key(PIXELS, "a" * 64)
    assert cache.get(key) is None
    cache.put(key, "answer")
    clock.now = 9.9
    assert cache.get(cache.key(PIXELS.copy(), "a" * 64)) == "answer"
    clock.now = 10
    assert cache.get(key) is None and len(cache) == 0


def test_the_one_asked_for_longest_ago_goes_first():
    cache = ResultCache(2, 10, Clock())
    for name in "ab":
        cache.put(name.encode(), name)
    assert cache.get(b"a") == "a"
    cache.put(b"c", "c")
    assert [cache.get(key) for key in (b"a", b"b", b"c")] == ["a", None, "c"]
    cache.clear()
    assert len(cache) == 0


def test_no_room_is_no_cache():
    cache = ResultCache(0, 10, Clock())
    cache.put(b"a", "a")
    assert cache.get(b"a") is None


def test_whatever_the_answer_depends_on_is_in_the_key():
    cache = ResultCache(1, 10, Clock(), secret=lambda size: b"s" * size)
    asked = [
        cache.key(PIXELS, "a"),
        cache.key(PIXELS + 1, "a"),
        cache.key(PIXELS.reshape(2, 8, 3), "a"),
        cache.key(PIXELS.astype(np.int8), "a"),
        cache.key(PIXELS, "b"),
        cache.key(PIXELS, "a", ["x"]),
        cache.key(PIXELS, "a", ["x", ""]),
        cache.key(PIXELS, "ax"),
    ]
    assert len(set(asked)) == len(asked) and {len(key) for key in asked} == {32}
    assert cache.key(np.asfortranarray(PIXELS), "a") == asked[0]


def test_two_processes_do_not_make_the_same_key():
    assert ResultCache(1, 10, Clock()).key(PIXELS, "a") != ResultCache(1, 10, Clock()).key(PIXELS, "a")
