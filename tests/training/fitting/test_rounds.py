import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from safelight.errors import ConfigError
from training.fitting.rounds import RoundLoader, Rounds, RoundSampler

counts = st.integers(1, 4)


def taken(rounds, world, round_, skip=0):
    """What each process takes in a round, pass by pass: `[rank][pass]`, lists of sample numbers."""
    found = []
    for rank in range(world):
        sampler = RoundSampler(rounds, world, rank)
        sampler.begin(round_ * rounds.val_every)
        sampler.skip(skip)
        found.append(list(sampler))
    return found


@given(counts, counts, counts, counts, counts)
def test_a_step_sees_the_same_samples_however_the_work_is_shared(val_every, share, accumulate, world, round_):
    size = share * accumulate * world
    rounds = Rounds(val_every * 5, val_every, size, accumulate)
    by_rank = taken(rounds, world, round_)
    for step in range(val_every):
        passes = range(step * accumulate, (step + 1) * accumulate)
        seen = sorted(number for of_one in by_rank for at in passes for number in of_one[at])
        first = (round_ * val_every + step) * size
        assert seen == list(range(first, first + size))


@given(counts, counts, st.data())
def test_what_was_seen_is_left_out(val_every, accumulate, data):
    rounds = Rounds(val_every, val_every, accumulate, accumulate)
    skip = data.draw(st.integers(0, val_every * accumulate - 1))
    assert taken(rounds, 1, 0, skip)[0] == taken(rounds, 1, 0)[0][skip:]


def test_one_batch_comes_again_and_again():
    sampler = RoundSampler(Rounds(6, 3, 4), one_batch=True)
    sampler.begin(3)
    assert list(sampler) == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((100, 30, 4), "steps \\(100\\) must be a multiple of val_every \\(30\\), for example 90"),
        ((10, 20, 4), "for example 20"),
        ((0, 1, 4), "steps: expected at least 1"),
        ((1, 1, 0), "batch_size: expected at least 1"),
        ((1, 1, 1, 0), "accumulate: expected at least 1"),
    ],
)
def test_what_does_not_divide_is_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        Rounds(*values)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(
        ConfigError, match="batch_size \\(8\\) must be a multiple of accumulate x processes \\(2 x 3 = 6\\)"
    ):
        RoundSampler(Rounds(1, 1, 8, 2), world=3)


class Numbers(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        return index


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_within_a_round(workers):
    def loader():
        return RoundLoader(Numbers(), RoundSampler(Rounds(6, 3, 2)), num_workers=workers)

    first = loader()
    iterator = iter(first)
    next(iterator)
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    assert [batch.tolist() for batch in second] == [[2, 3], [4, 5]]
    assert [batch.tolist() for batch in second] == [[0, 1], [2, 3], [4, 5]]  # the next pass is whole again
    assert second.state_dict() == {"taken": 3}
    third = loader()
    third.load_state_dict({"taken": 3})  # a round was over
    assert torch.equal(torch.stack(list(third)), torch.arange(6).reshape(3, 2))


class Listener(pl.LightningModule):
    """Remembers what it is given."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

    def training_step(self, batch, _):
        self.seen.append(batch.tolist())
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_under_lightning_each_round_goes_on_in_the_stream(tmp_path, workers):
    """No sample comes twice."""
    rounds = Rounds(6, 2, 3)
    learner = Listener()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=rounds.steps,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    sampler = RoundSampler(rounds)
    options = {"num_workers": workers, "persistent_workers": workers > 0}
    trainer.fit(learner, RoundLoader(Numbers(), sampler, lambda: trainer.global_step, **options))
    assert learner.seen == [list(range(step * 3, step * 3 + 3)) for step in range(rounds.steps)]
