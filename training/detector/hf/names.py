"""Which parts of a detection transformer are what, and how it scores, by the names that transformers gave them.

Knows nothing of weights or training. Every family names its parts in its own way; these are those of the families in
transformers 5 that detect from a picture alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

SOFTMAX = frozenset({"detr", "yolos", "table-transformer"})
"""Families whose last class is `no object`: their classes exclude each other. All others score each class by itself."""

CLASS_HEADS = (
    "class_embed",
    "enc_score_head",
    "enc_out_class_embed",
    "denoising_class_embed",
    "class_labels_classifier",
)
"""Modules whose shape or meaning depends on the classes."""

BOX_HEADS = ("bbox_embed", "enc_bbox_head", "enc_out_bbox_embed", "bbox_predictor")

BACKBONES = (
    "model.backbone.backbone",    # LW-DETR, RF-DETR: beside it stands the projector, which is not pretrained alone
    "model.backbone",             # DETR, RT-DETR, D-FINE
    "model.conv_encoder.model",   # DEIMv2
    "model.conv_encoder.backbone",   # DEIMv2 on DINOv3
    "vit",                        # YOLOS
)  # fmt: skip
"""Feature extractors, the first that is there."""

QUERIES = ("detection_tokens",)
"""Parameters inside a backbone that speak for objects, and are trained with the heads."""


def is_head(name: str) -> bool:
    """Whether a module or parameter belongs to the heads of classes or boxes."""
    return bool(set(name.split(".")) & {*CLASS_HEADS, *BOX_HEADS})


def is_class_head(name: str) -> bool:
    """Whether a module or parameter belongs to the heads of classes."""
    return bool(set(name.split(".")) & set(CLASS_HEADS))


def backbone_of(network: nn.Module) -> str | None:
    """Name of the feature extractor, None where no known name is there."""
    modules = {name for name, _ in network.named_modules()}
    return next((name for name in BACKBONES if name in modules), None)


def backbone_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """The feature extractor's parameters."""
    prefix = backbone_of(network)
    for name, parameter in network.named_parameters():
        if prefix is not None and name.startswith(prefix + ".") and not set(name.split(".")) & set(QUERIES):
            yield parameter
