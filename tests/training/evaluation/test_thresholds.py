import pytest

from safelight.detections import Detections
from safelight.postprocess import Thresholds
from tests.training.evaluation.made import found, truth
from training.evaluation.observed import Observed
from training.evaluation.thresholds import choose

CONFIGURED = Thresholds(0.3, 0.5, floor=0.05)


def seen(pairs):
    return Observed(tuple(map(str, range(len(pairs)))), tuple(f for f, _ in pairs), tuple(t for _, t in pairs))


def picture(shift):
    """A cat found at 0.9 and a false cat at 0.8; a dog found at 0.2 and a false dog at 0.1."""
    cat, dog, no_cat, no_dog = ([x + shift, 0, x + 8 + shift, 8] for x in (0, 10, 20, 30))
    some = found([cat, no_cat, dog, no_dog], [0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1])
    return some, truth([cat, dog], [0, 1])


def test_each_class_has_the_score_where_its_f1_is_greatest():
    choice = choose(seen([picture(i) for i in range(3)]), ["cat", "dog"], CONFIGURED, 0.5, support=3)
    assert choice.per_class == {"cat": 0.85, "dog": 0.15}
    assert choice.applied_to(CONFIGURED).scores(["cat", "dog"]).tolist() == pytest.approx([0.85, 0.15])
    assert choice.applied_to(CONFIGURED).floor == CONFIGURED.floor
    assert choice.val_f1 == pytest.approx(6 / 7.5) and choice.chosen_on == "validation scenes"


def test_few_boxes_choose_nothing_of_their_own():
    three = [picture(i) for i in range(3)]
    assert choose(seen(three), ["cat", "dog"], CONFIGURED, 0.5, support=4).per_class == {}
    assert set(choose(seen(three), ["cat", "dog", "cow"], CONFIGURED, 0.5, support=1).per_class) == {"cat", "dog"}
    one = [(found([[0, 0, 8, 8]], [0.7]), truth([[0, 0, 8, 8]]))]
    alone = choose(seen(one), ["cat"], CONFIGURED, 0.5, support=1)
    assert alone.per_class == {} and alone.to_dict() == {"score": 0.35}


def test_the_floor_is_the_least():
    low = [(found([[0, 0, 8, 8]], [0.06]), truth([[0, 0, 8, 8]]))]
    assert choose(seen(low), ["cat"], CONFIGURED, 0.5, support=1).score == CONFIGURED.floor


@pytest.mark.parametrize(
    ("val", "why"),
    [
        (None, "no labelled validation"),
        (seen([]), "no labelled validation"),
        (seen([(found([[0, 0, 8, 8]], [0.5]), truth([]))]), "no labelled validation"),
        (seen([(Detections.empty((64, 64)), truth([[0, 0, 8, 8]]))]), "nothing right was found"),
        (seen([(found([[40, 40, 48, 48]], [0.5]), truth([[0, 0, 8, 8]]))]), "nothing right was found"),
    ],
)
def test_without_anything_to_choose_by_the_configured_score_stays(val, why):
    choice = choose(val, ["cat", "dog"], CONFIGURED, 0.5, support=1)
    assert (choice.score, choice.per_class, choice.val_f1) == (0.3, {}, None)
    assert why in choice.chosen_on
