"""The two ways of training the same task: the project's Lightning job, and transformers' Trainer as its documentation has it.

Both leave out validation and checkpoints, which are no part of a step; everything else of either stays as it is.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import transformers
import yaml
from torch import Tensor, nn

from harness.tasks import ROOT, SEED, Task
from safelight.postprocess import Thresholds
from training.detector.hf import HfDetector
from training.detector.hf.outputs import targets
from training.detector.interface import Detector
from training.detector.module import DetectorModule
from training.fitting.fitting import fit

RATE, DECAY, CLIP = 0.0015, 0.05, 10.0
EMA_DECAY = 0.98  # conf/train.yaml
Step = Callable[[], None]
"""Called when a step is done; the next begins when it returns."""


def with_lightning(task: Task, root: Path, step: Step) -> None:
    """`fit` as pipelines/train.py calls it, with the trainer of conf/trainer/cpu.yaml."""
    settings = yaml.safe_load((ROOT / "conf/trainer/cpu.yaml").read_text())
    settings.pop("_target_")
    assert settings["gradient_clip_val"] == CLIP and settings["precision"] == "bf16-mixed"
    trainer = functools.partial(pl.Trainer, **settings, max_steps=task.steps, limit_val_batches=0)
    data = task.data(root)
    module = DetectorModule(task.detector(), task.preprocess, Thresholds(0.3, 0.5), RATE, DECAY, 50, task.steps)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            module, data, trainer, Path(folder), seed=SEED, ema_decay=EMA_DECAY, log_every=10,
            resumable=True, callbacks=[_Lightning(step)], progress=False,
        )  # fmt: skip


class _Lightning(pl.Callback):
    def __init__(self, step: Step) -> None:
        self._step = step

    def on_train_batch_end(self, *_: Any) -> None:
        self._step()


def with_trainer(task: Task, root: Path, step: Step, channels_last: bool = False) -> None:
    """bf16 and use_cpu as the page on CPUs says; its own (fused) AdamW; as many loader processes as the other way has, kept
    alive; nothing logged, saved or evaluated on the way. channels_last: what that page does not say, done by hand."""
    data = task.data(root)
    learner = _Learner(task.detector())
    if channels_last:
        learner = learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it for 4-d tensors alone
    workers = data.workers()
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=task.steps, per_device_train_batch_size=task.batch, seed=SEED,
            learning_rate=RATE, weight_decay=DECAY, max_grad_norm=CLIP, lr_scheduler_type="cosine", warmup_steps=50,
            bf16=True, use_cpu=True, dataloader_num_workers=workers, dataloader_persistent_workers=workers > 0,
            dataloader_pin_memory=False, train_sampling_strategy="sequential", remove_unused_columns=False,
            logging_strategy="no", save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        transformers.Trainer(
            learner, arguments, data_collator=collate(learner, channels_last), callbacks=[_Trainer(step)],
            train_dataset=data.train_dataloader().dataset,
        ).train()  # fmt: skip


class _Trainer(transformers.TrainerCallback):  # type: ignore[misc]  # its base is untyped
    def __init__(self, step: Step) -> None:
        self._step = step

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._step()


class _Learner(nn.Module):
    """A detector as Trainer wants a model: keyword arguments in, an answer with `loss` out. A network of transformers is called
    as it is."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.own = isinstance(detector, HfDetector)
        self.model = detector.network if isinstance(detector, HfDetector) else detector

    def forward(self, pixel_values: Tensor, labels: list[dict[str, Tensor]]) -> Any:
        if self.own:
            return {"loss": self.model(pixel_values=pixel_values, labels=labels).loss}
        boxes, classes = [one["boxes"] for one in labels], [one["class_labels"] for one in labels]
        return {"loss": self.model.losses(pixel_values, boxes, classes)["loss"]}


def collate(
    learner: _Learner, channels_last: bool
) -> Callable[[Sequence[tuple[Tensor, Tensor, Tensor]]], dict[str, Any]]:
    """Samples to `pixel_values` and `labels`, as transformers' guide to object detection has them."""
    return functools.partial(_collated, own=learner.own, channels_last=channels_last)


def _collated(samples: Sequence[tuple[Tensor, Tensor, Tensor]], *, own: bool, channels_last: bool) -> dict[str, Any]:
    pictures, boxes, classes = zip(*samples, strict=True)
    batch = torch.stack(pictures)
    if channels_last:
        batch = batch.contiguous(memory_format=torch.channels_last)
    if own:
        return {"pixel_values": batch, "labels": targets(boxes, classes, batch.shape[-1], batch.device)}
    labels = [{"boxes": of_one, "class_labels": kinds} for of_one, kinds in zip(boxes, classes, strict=True)]
    return {"pixel_values": batch, "labels": labels}


WAYS: dict[str, Callable[[Task, Path, Step], None]] = {
    "lightning": with_lightning,
    "trainer": with_trainer,
    "trainer, channels last": functools.partial(with_trainer, channels_last=True),
}
"""The first two are compared; the third says where the difference comes from."""
