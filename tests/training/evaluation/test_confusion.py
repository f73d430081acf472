import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safelight.detections import Detections
from tests.training.evaluation.made import found, truth
from training.detector.metrics import true_positives
from training.evaluation.confusion import BACKGROUND, confusion, mixed_up, pair, rows

CAT, DOG = [0, 0, 10, 10], [30, 0, 40, 10]


def test_hits_mix_ups_misses_and_false_alarms():
    truths = [truth([CAT, DOG, [0, 40, 10, 50]], [0, 1, 0])]
    some = [found([CAT, [31, 0, 41, 10], [50, 50, 60, 60]], [0.9, 0.8, 0.7], [0, 0, 1])]
    counts = confusion(some, truths, 2, 0.5)
    assert counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert sorted(rows(counts, ["cat", "dog"])) == sorted(
        [("cat", "cat"), ("cat", BACKGROUND), ("dog", "cat"), (BACKGROUND, "dog")]
    )
    assert mixed_up(counts, ["cat", "dog"]) == [("dog", "cat", 1)]


def test_a_box_goes_to_its_own_class_first():
    """Another class lies on it more exactly and is surer: that one is the false alarm."""
    paired = pair(found([CAT, [1, 0, 11, 10]], [0.9, 0.5], [1, 0]), truth([CAT], [0]), 0.5)
    assert paired.partner.tolist() == [-1, 0] and paired.right.tolist() == [False, True]
    assert not paired.missed.any()


def test_nothing_there_and_nothing_found():
    nothing, empty = Detections.empty((64, 64)), truth([])
    assert confusion([nothing], [empty], 2, 0.5).sum() == 0
    assert confusion([nothing], [truth([CAT], [1])], 2, 0.5)[1, 2] == 1
    assert confusion([found([CAT], [0.5], [1])], [empty], 2, 0.5)[2, 1] == 1


@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(0, 12))
def test_every_box_is_counted_once_and_the_diagonal_is_what_precision_counts(seed, there, answered):
    rng = np.random.default_rng(seed)

    def boxes(count):
        low = rng.uniform(0, 30, (count, 2))
        return np.concatenate([low, low + rng.uniform(5, 20, (count, 2))], axis=1)

    truths = truth(boxes(there), rng.integers(0, 3, there))
    some = found(boxes(answered), rng.uniform(0, 1, answered), rng.integers(0, 3, answered))
    counts = confusion([some], [truths], 3, 0.3)
    assert counts[:3].sum() == there and counts[:, :3].sum() == answered and counts[3, 3] == 0
    assert np.trace(counts) == true_positives(some, truths, 0.3).sum()
