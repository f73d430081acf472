"""Which rows run together, and how rows of unequal length stand side by side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.reader import batch
from serving.reader.batch import Past, Place, groups, step_of, together
from serving.reader.graphs import array, value


def cost(counts, cut):
    return sum(batch._cost(len(group), max(counts[row] for row in group)) for group in cut)


def partitions(rows):
    if not rows:
        yield []
        return
    first, *rest = rows
    for cut in partitions(rest):
        yield [[first], *cut]
        for at in range(len(cut)):
            yield [*cut[:at], [first, *cut[at]], *cut[at + 1 :]]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_no_other_way_of_grouping_costs_less(counts):
    cut = groups(counts)
    assert sorted(row for group in cut for row in group) == list(range(len(counts)))
    assert cost(counts, cut) == min(cost(counts, other) for other in partitions(list(range(len(counts)))))


def test_a_row_with_a_prompt_does_not_hold_up_those_with_one_token():
    assert groups([1, 46, 1, 1]) == [[1], [0, 2, 3]]
    assert groups([1, 3, 1, 1]) == [[0, 1, 2, 3]]
    assert groups([]) == []


def past(held, seed=0):
    """Two layers' keys and values, random where a column is held and loud where it is nobody's."""
    held = np.array(held, np.int64)
    random = np.random.default_rng(seed)
    arrays = [random.normal(size=(len(held), 2, held.shape[1], 3)).astype(np.float32) for _ in range(4)]
    for layer in arrays:
        layer[~held.astype(bool)[:, None].repeat(2, 1)] = 1e9
    return Past([value(layer) for layer in arrays], held)


def columns(where):
    return [array(layer)[where.row][:, where.past.held[where.row].astype(bool)] for layer in where.past.layers]


def test_the_same_rows_are_not_copied():
    both = past([[1, 1, 0, 1], [1, 0, 0, 0]])
    assert together([Place(both, 0), Place(both, 1)]) is both


@pytest.mark.parametrize("picked", [[(0, 0)], [(0, 1), (0, 0)], [(0, 1), (1, 0), (0, 0)], [(1, 0), (1, 0), (1, 1)]])
def test_rows_that_join_and_leave_keep_what_is_theirs(picked):
    pasts = [past([[1, 1, 0, 1], [1, 0, 0, 0]], 1), past([[0, 1], [1, 1]], 2)]
    places = [Place(pasts[which], row) for which, row in picked]
    moved = together(places)
    assert moved.held.shape == (len(places), max(int(p.past.lengths[p.row]) for p in places))
    for row, place in enumerate(places):
        for mine, theirs in zip(columns(Place(moved, row)), columns(place), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert all(np.abs(array(layer)).max() < 1e3 for layer in moved.layers)  # what is masked is not loud


def test_columns_that_are_nobodys_do_not_pile_up():
    wide = np.zeros((2, 60), np.int64)
    wide[:, [0, 59]] = 1
    assert not past(wide[:, :30]).sparse and past(wide).sparse
    both = past(wide)
    assert together([Place(both, 0), Place(both, 1)]).held.shape == (2, 2)


def test_new_tokens_are_padded_at_the_right_and_the_padding_is_nobodys():
    step = step_of(past([[1, 1, 0, 1], [1, 0, 0, 0]]), [np.ones((1, 5), np.float32), np.ones((3, 5), np.float32)])
    assert step.embeddings.shape == (2, 3, 5) and step.embeddings[0, 1:].max() == 0
    assert step.held.tolist() == [[1, 1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1, 1]]
    assert step.positions.tolist() == [[3, 3, 3], [1, 2, 3]] and step.last.tolist() == [0, 2]
