"""Tiny checkpoints of every family, made here, and what comes of training them on one picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from safelight.detections import box_iou
from training.detector.hf import Backbone, HfDetector, pretrained

SIDE = 32
STARTS = 3
"""Trainings of random weights, of which some get stuck, before a family is said not to learn."""
LABELS = ("square", "disc", "dot")
FAMILIES = ("rt_detr_v2", "d_fine", "rf_detr", "deimv2", "lw_detr", "yolos", "detr")
NAMES = {"id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
BOX = (11.0, 12.0, 19.0, 20.0)


def configuration(family: str) -> Any:
    """A network of two layers and 32 channels, one feature level, 12 queries, for pictures of 32 pixels."""
    import transformers as hf
    from transformers.models.rf_detr.configuration_rf_detr import RfDetrDinov2Config

    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vit = {**wide, "mlp_ratio": 2, "patch_size": 8, "image_size": SIDE, "out_indices": [1, 2]}
    real_time = {
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16],
        "feat_strides": [8],
        "encode_proj_layers": [0],
        "num_feature_levels": 1,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "d_model": 32,
        "num_queries": 12,
        "decoder_in_channels": [32],
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "num_denoising": 4,
        "hidden_expansion": 0.5,
        **NAMES,
    }
    grouped = {
        "d_model": 32,
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_self_attention_heads": 2,
        "decoder_cross_attention_heads": 2,
        "decoder_n_points": 2,
        "num_queries": 12,
        "group_detr": 2,
        "c2f_num_blocks": 1,
        **NAMES,
    }
    small = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    resnet = {**small, "out_features": ["stage2"]}
    if family == "rt_detr_v2":
        return hf.RTDetrV2Config(backbone_config=hf.RTDetrResNetConfig(**resnet), decoder_n_levels=1, **real_time)
    if family == "rt_detr":
        return hf.RTDetrConfig(backbone_config=hf.RTDetrResNetConfig(**resnet), **real_time)
    if family in ("d_fine", "deimv2"):
        kind = hf.DFineConfig if family == "d_fine" else hf.Deimv2Config
        return kind(backbone_config=hgnet(), decoder_n_points=[4], depth_mult=0.34, max_num_bins=8, **real_time)
    if family == "lw_detr":
        backbone = hf.LwDetrViTConfig(**vit, pretrain_image_size=SIDE, window_block_indices=[0], num_windows=4)
        return hf.LwDetrConfig(backbone_config=backbone, projector_scale_factors=[1.0], **grouped)
    if family == "rf_detr":
        return hf.RfDetrConfig(backbone_config=RfDetrDinov2Config(**vit, num_windows=2), **grouped)
    if family == "yolos":
        sizes = {"intermediate_size": 64, "image_size": [SIDE, SIDE], "patch_size": 8, "num_detection_tokens": 12}
        return hf.YolosConfig(**wide, **sizes, **NAMES)
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 12}
    return hf.DetrConfig(backbone_config=hf.ResNetConfig(**resnet), use_timm_backbone=False, **layers, **heads, **NAMES)


def hgnet() -> Any:
    """The smallest HGNetv2 with a feature map of stride 8."""
    import transformers as hf

    return hf.HGNetV2Config(
        embedding_size=8,
        depths=[1, 1],
        hidden_sizes=[16, 16],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16],
        stage_mid_channels=[8, 8],
        stage_out_channels=[16, 16],
        stage_num_blocks=[1, 1],
        stage_numb_of_layers=[1, 1],
        stage_downsample=[False, True],
        stage_light_block=[False, False],
        stage_kernel_size=[3, 3],
        use_learnable_affine_block=True,
        out_features=["stage2"],
    )


def write(family: str, folder: Path) -> Path:
    """A checkpoint with random weights, as transformers stores them."""
    from transformers import AutoModelForObjectDetection

    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForObjectDetection.from_config(configuration(family)).save_pretrained(folder)
    scaling = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**scaling, "rescale_factor": 1 / 255}))
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Session fixtures run before the parent's per-test limit on threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Lesson:
    """A detector that learnt one picture, and the loss and the gradients' length of each step."""

    family: str
    checkpoint: Path
    detector: HfDetector
    images: Tensor
    boxes: list[Tensor]
    classes: list[Tensor]
    losses: list[float] = field(default_factory=list)
    gradients: list[float] = field(default_factory=list)

    def best(self, detector: HfDetector | None = None) -> tuple[int, float, float]:
        """Of the surest answer: class, score, IoU with the truth."""
        with torch.no_grad():
            boxes, scores = (detector or self.detector)(self.images)
        query, kind = divmod(int(scores[0].flatten().argmax()), scores.shape[-1])
        overlap = box_iou(boxes[0, query : query + 1].numpy(), self.boxes[0].numpy())[0, 0]
        return kind, float(scores[0, query, kind]), float(overlap)

    def found(self) -> bool:
        """Whether the surest answer is the object."""
        kind, score, overlap = self.best()
        return kind == 1 and score > 0.35 and overlap > 0.75


def picture() -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """A bright square, called `disc`, on dark noise."""
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.2
    x0, y0, x1, y1 = (int(value) for value in BOX)
    image[0, :, y0:y1, x0:x1] = torch.tensor([0.9, 0.2, 0.2])[:, None, None]
    return image, [torch.tensor([BOX])], [torch.tensor([1])]


def learn(lesson: Lesson, most: int = 160, rate: float = 8e-3) -> None:
    """Train until the surest answer is the object, at most `most` steps."""
    detector = lesson.detector
    optimiser = torch.optim.AdamW(detector.parameter_groups(rate, 1e-4), rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 10) * max(0.1, 1 - step / 160)
    )
    for step in range(1, most + 1):
        detector.train()
        loss = detector.losses(lesson.images, lesson.boxes, lesson.classes)["loss"]
        optimiser.zero_grad()
        loss.backward()
        lesson.gradients.append(float(torch.nn.utils.clip_grad_norm_(detector.parameters(), 5)))
        lesson.losses.append(loss.item())
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            detector.eval()
            if lesson.found():
                break
    detector.eval()


@pytest.fixture(scope="session", params=FAMILIES)
def lesson(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    """Each family: a checkpoint, given new heads and trained on one picture. Tests leave the detector as it is."""
    folder = write(request.param, tmp_path_factory.mktemp(request.param))
    with one_thread(), torch.random.fork_rng():
        for seed in range(STARTS):
            torch.manual_seed(seed)
            detector = pretrained(LABELS, str(folder), keep_heads=False, input_size=SIDE, backbone=Backbone(1.0))
            lesson = Lesson(request.param, folder, detector, *picture())
            learn(lesson)
            if lesson.found():
                break
    return lesson


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[[str], Path]:
    """Writes checkpoints: `checkpoint("d_fine")`."""
    return lambda family: write(family, tmp_path / family)


@pytest.fixture
def scene() -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The picture, its box and its class."""
    return picture()
