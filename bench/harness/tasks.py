"""What both ways of training are given: the network, the pictures, how they vary, how many at a time and how often."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
import yaml
from datasets import Dataset
from PIL import Image

from safelight.preprocess import Preprocess
from training.data.scenes import features
from training.detector.datamodule import SceneDataModule
from training.detector.hf import HfDetector
from training.detector.hf.checkpoint import Scaling
from training.detector.interface import Detector
from training.detector.scenes import Augment
from training.detector.yolov3_tiny import YoloV3TinyDetector

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / "data/processed/neon-trees"
LABELS = ("tree",)
SEED = 0

Network = Literal["yolov3_tiny", "d_fine"]
NETWORKS: tuple[Network, ...] = ("yolov3_tiny", "d_fine")


@dataclass(frozen=True)
class Task:
    """side: of the network's input in pixels. batch: pictures a step. warm: steps that are not timed, in which loaders
    start, caches fill and kernels are chosen. block: steps that are timed at a stretch, `blocks` times. threads: of torch;
    None for its own choice, one a core. small: networks that learn nothing and take milliseconds."""

    network: Network
    side: int
    batch: int
    warm: int
    block: int
    blocks: int
    threads: int | None = None
    small: bool = False

    @property
    def steps(self) -> int:
        return self.warm + self.block * self.blocks

    @property
    def preprocess(self) -> Preprocess:
        """Tiles of half the input's side, as tree-crowns is trained."""
        return Preprocess("tiles", self.side, tile=self.side // 2, overlap=88 * self.side // 832)

    def detector(self) -> Detector:
        """The network with the same random weights each time; speed does not depend on them."""
        torch.manual_seed(SEED)
        if self.network == "yolov3_tiny":
            widths = {"widths": (4, 8, 8, 16, 16, 32, 32)} if self.small else {}
            return YoloV3TinyDetector(LABELS, _yaml("conf/model/yolov3_tiny_crowns.yaml")["detector"]["anchors"],
                                      grid_scale=2.0, **widths)  # fmt: skip
        return HfDetector(LABELS, transformers.AutoModelForObjectDetection.from_config(d_fine(self.small)), Scaling())

    def data(self, root: Path) -> SceneDataModule:
        """The project's own, with its own number of loader processes."""
        settings = _yaml("conf/augment/tiles.yaml")
        augment = Augment(**{name: value for name, value in settings.items() if not name.startswith("_")})
        return SceneDataModule(
            str(root), self.preprocess, augment, self.batch, self.steps, SEED,
            workers=None, cache_bytes=1_000_000_000,
        )  # fmt: skip


def _yaml(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return found


def d_fine(small: bool) -> Any:
    """D-FINE as its nano checkpoint is built (Peng et al., 2024): the HGNetV2-B0 backbone, two scales, three decoder layers."""
    if small:
        backbone = transformers.HGNetV2Config(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, stem_channels=[3, 8, 8],
            stage_in_channels=[8, 8, 16, 24], stage_mid_channels=[8] * 4, stage_out_channels=[8, 16, 24, 32],
            stage_num_blocks=[1] * 4, stage_downsample=[False, True, True, True],
            stage_light_block=[False, False, True, True], stage_kernel_size=[3] * 4, stage_numb_of_layers=[1] * 4,
            out_features=["stage3", "stage4"],
        )  # fmt: skip
        sizes: dict[str, Any] = {"encoder_in_channels": [24, 32], "d_model": 32, "encoder_hidden_dim": 32, "num_queries": 20,
                                 "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_denoising": 10, "decoder_layers": 2,
                                 "encoder_attention_heads": 2, "decoder_attention_heads": 2, "lqe_hidden_dim": 8,
                                 "decoder_in_channels": [32, 32]}  # fmt: skip
    else:
        backbone = transformers.HGNetV2Config(
            stem_channels=[3, 16, 16], stage_in_channels=[16, 64, 256, 512], stage_mid_channels=[16, 32, 64, 128],
            stage_out_channels=[64, 256, 512, 1024], stage_num_blocks=[1, 1, 2, 1],
            stage_numb_of_layers=[3, 3, 3, 3], hidden_sizes=[64, 256, 512, 1024], out_features=["stage3", "stage4"],
            use_learnable_affine_block=True, stage_downsample=[False, True, True, True],
            stage_light_block=[False, False, True, True], stage_kernel_size=[3, 3, 5, 5],
        )  # fmt: skip
        sizes = {"encoder_in_channels": [512, 1024], "d_model": 128, "encoder_hidden_dim": 128, "encoder_ffn_dim": 512,
                 "decoder_ffn_dim": 512, "decoder_layers": 3, "decoder_in_channels": [128, 128], "hidden_expansion": 0.34,
                 "depth_mult": 0.5}  # fmt: skip
    return transformers.DFineConfig(
        backbone_config=backbone, num_labels=len(LABELS), num_feature_levels=2, feat_strides=[16, 32],
        decoder_n_points=[4, 4] if small else [6, 6], encode_proj_layers=[1], **sizes,
    )  # fmt: skip


def scenes(folder: Path, drawn: bool) -> Path:
    """The prepared splits: the project's, or scenes that are drawn in `folder`, of the same kind: many small things."""
    if not drawn and PREPARED.is_dir():
        return PREPARED
    for split in ("train", "val"):
        if not (folder / split).is_dir():
            rows = [_drawn(number, np.random.default_rng([SEED, number])) for number in range(2)]
            Dataset.from_list(rows, features=features(list(LABELS))).save_to_disk(str(folder / split))
    return folder


def _drawn(number: int, rng: np.random.Generator, side: int = 1024) -> dict[str, Any]:
    """A scene with 200 bright squares of some 40 pixels on dark, noisy ground."""
    image = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
    boxes = []
    for _ in range(200):
        size, (x, y) = int(rng.integers(25, 60)), rng.integers(0, side - 60, 2)
        image[y : y + size, x : x + size] = rng.integers(120, 250, 3)
        boxes.append([float(x), float(y), float(size), float(size)])
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return {
        "image": {"bytes": buffer.getvalue(), "path": None}, "image_id": f"drawn-{number}", "width": side, "height": side,
        "objects": {"bbox": boxes, "category": [0] * len(boxes)},
    }  # fmt: skip
