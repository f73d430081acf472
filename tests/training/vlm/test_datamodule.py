import numpy as np
import pytest

from safelight.errors import ConfigError
from tests.training.vlm.toys import TASK
from training.vlm.datamodule import ReaderDataModule
from training.vlm.photometry import Photometry


def data(bars, reader, **options):
    fixed = {"batch_size": 4, "steps": 12, "seed": 0, "val_every": 6}
    return ReaderDataModule(str(bars), TASK, reader, **{**fixed, **options})


def numbers(loader):
    return [[sample.number for sample in batch] for batch in loader]


def test_a_pass_sees_every_record_once_in_batches_of_like_length(bars, made):
    reader = made(None)
    batches = list(data(bars, reader).train_dataloader())
    assert sorted(sample.number for batch in batches for sample in batch) == list(range(24))
    spread = [max(len(s.example) for s in batch) - min(len(s.example) for s in batch) for batch in batches]
    assert sum(gap > 1 for gap in spread) <= 3
    assert len({len(sample.example) for batch in batches for sample in batch}) > 2


def test_an_interrupted_round_goes_on_where_it_was(bars, made):
    reader = made(None)
    whole = numbers(data(bars, reader).train_dataloader())
    loader = data(bars, reader).train_dataloader()
    loader.load_state_dict({"taken": 4})
    assert numbers(loader) == whole[4:]


def test_light_varies_by_seed_and_look_and_is_repeatable(bars, made):
    reader = made(None)

    def looks(seed, **options):
        loader = data(bars, reader, seed=seed, augment=Photometry(share=1), **options).train_dataloader()
        return {sample.number: sample.pixels for batch in loader for sample in batch}

    one, again, other = looks(0), looks(0, workers=1), looks(1)
    assert all(np.array_equal(one[number], again[number]) for number in one)
    assert not any(np.array_equal(one[number], other[number]) for number in one)


def test_validation_looks_at_records_spread_over_the_split(bars, made):
    reader = made(None)
    assert numbers(data(bars, reader, val_records=3, val_batch=2).val_dataloader()) == [[0, 3], [6]]
    assert numbers(data(bars, reader, val_records=99, val_batch=5).val_dataloader()) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"val_every": 5}, r"steps \(12\) must be a multiple of val_every"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
        ({"window": 0}, "datamodule.window: expected at least 1, got 0"),
        ({"val_records": 0}, "datamodule.val_records"),
        ({"cache_bytes": -1}, "datamodule.cache_bytes: expected at least 0"),
    ],
)
def test_settings_that_do_not_go_together_are_a_sentence(bars, made, options, match):
    with pytest.raises(ConfigError, match=match):
        data(bars, made(None), **options)


def test_batches_that_do_not_divide_are_a_sentence(bars, made):
    with pytest.raises(ConfigError, match="must be a multiple of accumulate x processes"):
        data(bars, made(None), accumulate=3).train_dataloader()
