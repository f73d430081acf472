import functools

import pytest
import pytorch_lightning as pl
import torch

from safelight.errors import ConfigError, DataError, TrainingDiverged
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from training.detector.datamodule import SceneDataModule
from training.detector.module import MONITOR, DetectorModule
from training.detector.scenes import Augment
from training.fitting.debugging import LearnsByHeart, Profiled
from training.fitting.fitting import fit

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*GPU available but not used.*")


def trainer(**values):
    fixed = {"accelerator": "cpu", "devices": 1, "use_distributed_sampler": False, "num_sanity_val_steps": 0}
    return functools.partial(pl.Trainer, enable_model_summary=False, **{**fixed, **values})


@pytest.fixture
def train(tmp_path, splits, detector):
    """Fits a small detector: `train(steps=4, val_every=2, trainer={}, module={}, data={}, **fit's)`."""

    def run(steps=4, val_every=2, made=None, **options):
        of_trainer = {"max_steps": steps, **options.pop("trainer", {})}
        of_module = {"learning_rate": 5e-3, "weight_decay": 0.02, "warmup_steps": 2, **options.pop("module", {})}
        of_data = {"batch_size": 2, "val_every": val_every, **options.pop("data", {})}
        of_trainer.setdefault("accumulate_grad_batches", of_data.get("accumulate", 1))
        data = SceneDataModule(str(splits), PREPROCESS, Augment(), steps=steps, seed=0, **of_data)
        learner = DetectorModule(
            made or detector(), PREPROCESS, Thresholds(0.3, 0.45, floor=0.01), steps=steps, **of_module
        )
        defaults = {"seed": 0, "log_every": 1, "progress": False}
        return learner, fit(learner, data, trainer(**of_trainer), tmp_path / "fit", **{**defaults, **options})

    return run


def test_it_says_how_it_went(train):
    told = []
    _, done = train(track=lambda rows: told.append([row["step"] for row in rows]))
    assert [row["step"] for row in done.history] == [1, 2, 3, 4]
    assert {"lr", "train_loss", "train_box"} <= set(done.history[0])
    assert [row["step"] for row in done.history if "val_map50" in row] == [2, 4]
    assert done.best_step in (2, 4) and done.steps == 4
    assert done.score == max(row["val_map50"] for row in done.history if "val_map50" in row)
    assert told == [[1, 2], [1, 2, 3, 4]]  # after each round
    assert 0 < done.loader_wait < 1 and done.seconds > 0


def test_the_detector_ends_with_the_averaged_weights_of_the_best_validation(train):
    """With decay 1 the average stays at the first weights, so every validation has the same score: the first is best."""
    learner, done = train(ema_decay=1.0)
    assert done.best_step == 2
    first = learner.detector.network.fine_head.weight.clone()
    again, _ = train(ema_decay=None)
    assert not torch.equal(again.detector.network.fine_head.weight, first)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_without_patience_lost_it_ends_early(train, ema_decay):
    _, done = train(steps=12, val_every=1, patience=2, ema_decay=ema_decay, module={"learning_rate": 0.0})
    assert done.steps == 3 and done.best_step == 1


def test_several_backward_passes_make_one_step(train):
    _, done = train(data={"accumulate": 2})
    assert [row["step"] for row in done.history] == [1, 2, 3, 4]


def test_an_exception_of_a_callback_ends_it(train):
    class Enough(Exception):
        pass

    class Stop(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            assert MONITOR in trainer.callback_metrics
            raise Enough

    with pytest.raises(Enough):
        train(callbacks=[Stop()])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_numbers_that_are_none_end_it(train, detector, tmp_path, where):
    made = detector()
    calls = []

    class Spoiled(type(made)):
        def losses(self, images, boxes, classes):
            calls.append(len(calls))
            terms = super().losses(images, boxes, classes)
            if len(calls) == 4:
                zero = self.network.fine_head.bias.sum() * 0
                terms["loss"] = terms["loss"] * torch.nan if where == "loss" else terms["loss"] + torch.sqrt(zero)
            return terms

    made.__class__ = Spoiled
    with pytest.raises(TrainingDiverged, match=rf"The {where} of step 4 is not finite.*learning_rate"):
        train(steps=6, made=made)
    assert (tmp_path / "fit" / "best-2.safetensors").is_file()
    assert all(torch.isfinite(p).all() for p in made.parameters())


def test_frozen_normalisation_keeps_its_statistics_and_learns_its_scale(train, detector):
    before = {name: value.clone() for name, value in detector().state_dict().items()}
    for frozen in (True, False):
        learner, _ = train(module={"freeze_norm": frozen}, ema_decay=None)
        after = learner.detector.state_dict()
        kept = [torch.equal(before[n], after[n]) for n in before if n.endswith(("running_mean", "running_var"))]
        assert all(kept) if frozen else not any(kept)
        name = "network.backbone.0.norm.weight"
        assert not torch.equal(before[name], after[name])


def test_one_batch_is_learnt_by_heart(train):
    heart = LearnsByHeart(0.7)
    options = {"trainer": {"limit_val_batches": 0}, "data": {"one_batch": True}, "module": {"learning_rate": 2e-2}}
    _, done = train(steps=60, val_every=60, callbacks=[heart], **options)
    assert heart.last <= 0.7 * heart.first and done.steps < 60 and done.best_step == 0


def test_what_cannot_be_learnt_by_heart_is_told(train):
    options = {"trainer": {"limit_val_batches": 0}, "data": {"one_batch": True}, "module": {"learning_rate": 0.0}}
    with pytest.raises(TrainingDiverged, match="not learnt by heart"):
        train(steps=4, val_every=4, callbacks=[LearnsByHeart(0.5)], **options)


def test_a_profile_has_a_table_and_a_trace(train, tmp_path):
    train(steps=6, val_every=6, callbacks=[Profiled(tmp_path / "profile")], trainer={"limit_val_batches": 0})
    assert "convolution" in (tmp_path / "profile" / "operators.txt").read_text()
    assert (tmp_path / "profile" / "trace.json").stat().st_size > 1000


def test_a_device_that_is_not_there_is_a_sentence(train):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="trainer: "):
        train(trainer={"accelerator": "gpu"})
    with pytest.raises(ConfigError, match=r"trainer: .*GPU"):
        train(trainer={"strategy": "fsdp"})


def test_augmentation_that_does_not_go_with_the_preprocessing_is_refused(train):
    with pytest.raises(ConfigError, match="does not go with"):
        SceneDataModule("nowhere", Preprocess("letterbox", 64), Augment(), batch_size=1, steps=1, seed=0)


def test_an_empty_split_is_a_sentence(splits, tmp_path):
    from datasets import Dataset

    from training.data.scenes import features

    empty = Dataset.from_dict({name: [] for name in features(["square"])}, features=features(["square"]))
    empty.save_to_disk(str(tmp_path / "val"))
    data = SceneDataModule(str(tmp_path), PREPROCESS, Augment(), batch_size=1, steps=1, seed=0)
    with pytest.raises(DataError, match="'val' has no pictures"):
        data.val_dataloader()
