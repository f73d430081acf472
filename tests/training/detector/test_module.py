import math

import pytest
import pytorch_lightning as pl
import torch
import torch._inductor.config
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint

from safelight.errors import ConfigError
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from training.detector.datamodule import SceneDataModule
from training.detector.module import MONITOR, DetectorModule
from training.detector.scenes import Augment

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def module(learner, steps=10, **values):
    arguments = {"learning_rate": 5e-3, "weight_decay": 0.02, "warmup_steps": 4, **values}
    return DetectorModule(learner, PREPROCESS, Thresholds(0.3, 0.45, floor=0.01), steps=steps, **arguments)


def fit(folder, splits, learner, steps, precision="32-true", every=None, callbacks=()):
    data = SceneDataModule(str(splits), PREPROCESS, Augment(scale=1.1), batch_size=4, steps=steps, seed=0)
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        max_steps=steps,
        val_check_interval=every or steps,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    trainer.fit(learner, datamodule=data)
    return trainer


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(detector):
    learner = module(detector(), steps=100, warmup_steps=10)
    factors = [learner.learning_rate_factor(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[50] == pytest.approx(0.02 + 0.98 / 2)
    assert factors[100] == pytest.approx(0.02)
    assert factors[20] == pytest.approx(0.02 + 0.98 * (1 + math.cos(math.pi / 5)) / 2)


def test_only_kernels_decay(detector):
    whole = detector()
    optimiser = module(whole).configure_optimizers()["optimizer"]
    decayed, free = optimiser.param_groups
    assert decayed["weight_decay"] == 0.02 and free["weight_decay"] == 0
    assert all(p.ndim == 4 for p in decayed["params"]) and all(p.ndim == 1 for p in free["params"])
    assert sum(p.numel() for g in optimiser.param_groups for p in g["params"]) == sum(
        p.numel() for p in whole.parameters()
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_few_dozen_steps_find_the_squares_of_a_scene_never_seen(tmp_path, splits, detector, precision):
    trainer = fit(tmp_path, splits, module(detector(), steps=150), 150, precision)
    assert trainer.global_step == 150
    assert trainer.callback_metrics[MONITOR] > 0.3


def test_the_seed_fixes_the_training(tmp_path, splits, detector):
    one, two = (fit(tmp_path, splits, module(detector()), 6) for _ in range(2))
    for name, value in one.lightning_module.state_dict().items():
        assert torch.equal(value, two.lightning_module.state_dict()[name]), name


def test_the_best_checkpoint_holds_the_averaged_weights(tmp_path, splits, detector):
    """With decay 1 the average stays what it was after the first step, whatever the training does."""
    learner = module(detector())
    average, best = EMAWeightAveraging(decay=1.0), ModelCheckpoint(tmp_path, "best", monitor=MONITOR, mode="max")
    fit(tmp_path, splits, learner, 8, every=4, callbacks=[average, best])
    kept = torch.load(best.best_model_path, weights_only=True)
    averaged, trained = kept["state_dict"], kept["current_model_state"]
    name = "detector.network.fine_head.weight"
    assert not torch.equal(averaged[name], trained[name])
    fresh = module(detector())
    fit(tmp_path, splits, fresh, 1)
    assert set(averaged) == set(fresh.state_dict())
    assert torch.equal(learner.state_dict()[name], averaged[name])  # the average is left in place at the end


def test_validation_is_done_with_the_averaged_weights(tmp_path, splits, detector):
    """An average that never moves gives the same figure at each validation; the weights themselves do not."""

    class Remember(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_validation_batch_start(self, trainer, pl_module, *_):
            self.seen.append(pl_module.detector.network.fine_head.weight.detach().clone())

    remember = Remember()
    fit(tmp_path, splits, module(detector()), 8, every=4, callbacks=[EMAWeightAveraging(decay=1.0), remember])
    assert len(remember.seen) == 2
    assert torch.allclose(remember.seen[0], remember.seen[1], atol=1e-7)


def test_compiling_needs_a_compiler(detector):
    if torch.cuda.is_available():
        pytest.skip("on a GPU it does not")
    with torch._inductor.config.patch("cpp.cxx", ("no-such-compiler",)), pytest.raises(ConfigError, match="compiler"):
        module(detector(), compiled=True)
