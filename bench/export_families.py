"""Every family of detectors through export: how, how long, how large, and how far the graph is from the network.

    python bench/export_families.py            # minutes; also fills in the table of docs/export.md
    python bench/export_families.py --only d_fine yolos

The networks are made here, of the structure of each family and random weights, and overfitted to four pictures: on an
untrained DETR scores tie, and parity says nothing. What is shown is that export works, not that the networks are any good.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers
from harness import machine
from torch import Tensor

from safelight.errors import ParityError
from safelight.preprocess import to_tensor
from training.detector.hf import HfDetector
from training.detector.hf.checkpoint import Scaling
from training.detector.interface import Detector
from training.detector.yolov3_tiny import YoloV3TinyDetector
from training.export.int8 import INT8, Int8, quantise
from training.export.onnx import describe_graph, export_onnx, onnx_run, torch_run
from training.export.parity import Tolerance, tensor_parity

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs/export.md"
BEGIN, END = "<!-- families -->", "<!-- end -->"
LABELS = ("red", "grey")
SIDE = 64
STEPS, SURE = 800, 0.5  # overfitting ends when every picture's best score is at least SURE
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LeakyRelu", "MaxPool", "Concat", "Resize")

_DETR: dict[str, Any] = {
    "num_labels": 2, "encoder_hidden_dim": 32, "encoder_in_channels": [16, 24, 32], "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2, "d_model": 32, "num_queries": 20, "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_attention_heads": 2, "num_denoising": 10,
}  # fmt: skip
_GROUPED: dict[str, Any] = {
    "num_labels": 2, "d_model": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2, "decoder_n_points": 2, "num_queries": 10, "group_detr": 2,
}  # fmt: skip
_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8,
}  # fmt: skip


def _resnet() -> Any:
    stages = ["stage2", "stage3", "stage4"]
    return transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, layer_type="basic", out_features=stages
    )


def _hgnet() -> Any:
    return transformers.HGNetV2Config(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 16, 24], stage_mid_channels=[8] * 4, stage_out_channels=[8, 16, 24, 32],
        stage_num_blocks=[1] * 4, stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True], stage_kernel_size=[3] * 4, stage_numb_of_layers=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip


TINY: dict[str, Callable[[], Any]] = {
    "rt_detr_v2": lambda: transformers.RTDetrV2Config(backbone_config=_resnet(), **_DETR),
    "d_fine": lambda: transformers.DFineConfig(
        backbone_config=_hgnet(), hidden_expansion=0.5, lqe_hidden_dim=8, **_DETR
    ),
    "deimv2": lambda: transformers.Deimv2Config(
        backbone_config=_hgnet(), hidden_expansion=0.5, lqe_hidden_dim=8, **_DETR
    ),
    "rf_detr": lambda: transformers.RfDetrConfig(
        backbone_config=transformers.RfDetrDinov2Config(num_windows=2, out_indices=[1, 2], **_VIT), **_GROUPED
    ),
    "lw_detr": lambda: transformers.LwDetrConfig(
        backbone_config=transformers.LwDetrViTConfig(
            pretrain_image_size=SIDE, num_windows=4, window_block_indices=[0], out_indices=[0, 1], **_VIT
        ),
        projector_scale_factors=[1.0],
        **_GROUPED,
    ),
    "yolos": lambda: transformers.YolosConfig(
        num_labels=2, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=[SIDE, SIDE], patch_size=16, num_detection_tokens=10, use_mid_position_embeddings=False,
    ),
}  # fmt: skip


def detector(family: str) -> Detector:
    """A small network of a family, its weights random."""
    torch.manual_seed(0)
    if family == YoloV3TinyDetector.family:
        anchors = [[[16, 16], [24, 20], [32, 32]], [[20, 24], [40, 40], [60, 60]]]
        return YoloV3TinyDetector(LABELS, anchors, grid_scale=2.0, widths=(4, 8, 8, 16, 16, 32, 32))
    network = transformers.AutoModelForObjectDetection.from_config(TINY[family]())
    return HfDetector(LABELS, network, Scaling())


def pictures() -> tuple[np.ndarray, list[Tensor], list[Tensor]]:
    """Four pictures `(4, S, S, 3)` uint8 with one box each, and boxes and classes as detectors learn from them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (4, SIDE, SIDE, 3), np.uint8)
    boxes, classes = [], []
    for index, image in enumerate(images):
        corner = 4 + 6 * index
        image[corner : corner + 20, corner : corner + 24] = (255, 0, 0) if index % 2 == 0 else (200, 200, 200)
        boxes.append(torch.tensor([[corner, corner, corner + 24, corner + 20]], dtype=torch.float32))
        classes.append(torch.tensor([index % 2]))
    return images, boxes, classes


def overfit(network: Detector, images: Tensor, boxes: list[Tensor], classes: list[Tensor]) -> tuple[int, float]:
    """Train until the network is sure of every picture: (steps, the least of the pictures' best scores)."""
    optimizer = torch.optim.AdamW(network.parameter_groups(2e-3, 1e-4))
    sure = 0.0
    for step in range(1, STEPS + 1):
        network.train()
        optimizer.zero_grad()
        network.losses(images, boxes, classes)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        if step % 20 == 0:
            with torch.inference_mode():
                sure = float(network.eval()(images)[1].amax(dim=(1, 2)).min())
            if sure >= SURE:
                break
    return step, sure


def measured(family: str, folder: Path) -> dict[str, Any]:
    """One family's figures; where the graph is too far from the network, `parity` says so."""
    network = detector(family)
    images, boxes, classes = pictures()
    inputs = np.stack([to_tensor(image) for image in images])
    steps, sure = overfit(network, torch.from_numpy(inputs), boxes, classes)
    graph = folder / f"{family}.onnx"
    started = time.process_time()
    made = export_onnx(network, SIDE, graph)
    seconds = time.process_time() - started
    batch = np.concatenate([inputs, inputs[..., ::-1]])
    try:
        parity: dict[str, Any] = tensor_parity(torch_run(network), onnx_run(graph), batch, Tolerance())
    except ParityError as error:
        parity = {"refused": error.detail}
    return {
        "family": family,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "input": SIDE,
        "steps": steps,
        "least_best_score": sure,
        "export_cpu_seconds": round(seconds, 1),
        "graph": describe_graph(graph, made),
        "parity": parity,
        "int8": quantised(graph, images),
    }


def quantised(graph: Path, images: np.ndarray) -> dict[str, Any]:
    """What int8 does to the best score of each picture that the graph was calibrated on. No gate: there is no metric."""
    settings = Int8(True, len(images), "minmax", 0.0, OPERATORS, heads=False)
    small = graph.with_name(INT8)
    made = quantise(graph, images, settings, small)
    inputs = np.stack([to_tensor(image) for image in images])
    before, after = (onnx_run(path)(inputs)[1].max(axis=(1, 2)) for path in (graph, small))
    return made | {"bytes": small.stat().st_size, "best_score_drift": float(np.abs(before - after).max())}


def row(found: dict[str, Any]) -> str:
    """A line of the table in docs/export.md."""
    graph, parity = found["graph"], found["parity"]
    if "refused" in parity:
        drift, rules = "refused: " + parity["refused"], "-"
    else:
        drift = ", ".join(f"{of['boxes_relative']:.0e} / {of['score']:.0e}" for of in parity.values())
        rules = " and ".join(sorted({of["rule"] for of in parity.values()}))
    cells = [
        found["family"],
        f"{found['parameters'] / 1e3:.0f}",
        f"{found['least_best_score']:.2f} ({found['steps']})",
        graph["exporter"],
        f"{found['export_cpu_seconds']:.0f}",
        f"{graph['nodes']}, {graph['bytes'] / 1e3:.0f} kB",
        drift,
        rules,
        f"{found['int8']['bytes'] / 1e3:.0f} kB, {found['int8']['best_score_drift']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Any]) -> str:
    """docs/export.md's table."""
    heads = (
        "family",
        "thousand parameters",
        "least best score (steps)",
        "exporter",
        "seconds of processor time",
        "nodes, size",
        "drift of boxes / scores at batch 1, 2, 8",
        "compared",
        "int8: size, drift of best scores",
    )
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads), *map(row, results["families"])]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    families = [YoloV3TinyDetector.family, *TINY]
    parser.add_argument("--only", nargs="+", choices=families, help="these families; docs/export.md is left alone")
    parser.add_argument("--out", type=Path, default=HERE / "export_families.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # small tensors: more threads cost more than they bring
    rows = []
    for family in arguments.only or families:
        with TemporaryDirectory() as folder:
            rows.append(measured(family, Path(folder)))
        print(row(rows[-1]), flush=True)
    results = {"machine": machine.describe(), "families": rows}
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    if not arguments.only:
        text = DOCUMENT.read_text()
        begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        DOCUMENT.write_text(f"{text[:begin]}\n{table(results)}\n{text[end:]}")


if __name__ == "__main__":
    main()
