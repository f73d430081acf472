"""export: a base and its trained adapter as ONNX graphs and LoRA matrices, the proof that they read as torch does, and a
cheaper decoder behind a gate.

Writes vision.onnx, embedding.onnx, decoder.onnx and tokenizer.json (the base's), adapter.safetensors (the reader's),
parity.json, report.json (what the manifests say of them, how they were made, how long a step takes) and, where it was
accepted, decoder.int8.onnx. What does not answer as torch does is not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console

from pipelines.reader.tasks import task_of
from pipelines.stage import build, plain, stage, write_json
from safelight.reader.manifest import ADAPTER, DECODER, TOKENIZER
from safelight.reader.picture import to_input
from training.fitting.cache import PictureCache
from training.vlm.export.adapters import lora_matrices, write_adapter
from training.vlm.export.architecture import architecture, network_of
from training.vlm.export.graphs import OPSET, write_graphs
from training.vlm.export.int8 import INT8, Int8, agreement, quantise
from training.vlm.export.linear import adaptable
from training.vlm.export.parity import Parity, Question, parity, require_equal
from training.vlm.export.running import Graphs, Matrices
from training.vlm.export.speed import step_ms
from training.vlm.families import load_adapter
from training.vlm.families.reader import HfReader
from training.vlm.prepared import Pictures, read_split

_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "transformers", "peft")


@dataclass(frozen=True)
class _Made:
    """What the graphs are asked in all comparisons."""

    folder: Path
    matrices: Matrices
    pictures: list[NDArray[np.uint8]]
    prompt_ids: list[int]
    asked: Question


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Write graphs and matrices, compare them with torch, then try fewer bits."""
    console = Console(soft_wrap=True, highlight=False)
    folder, trained = Path(cfg.out.export), Path(cfg.out.train) / "adapter"
    folder.mkdir(parents=True, exist_ok=True)
    reader: HfReader = build(cfg.model.reader, image_side=cfg.task.image_side, dtype="float32", four_bit=False)
    network = network_of(reader)
    adapted = adaptable(network.model, cfg.export.modules)
    matrices = lora_matrices(trained, adapted)
    told = architecture(reader, adapted)
    written = write_graphs(network, adapted, reader.image_side, folder, reader.views)
    rank = write_adapter(matrices, folder / ADAPTER)
    reader.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    load_adapter(reader, trained)
    asked = Question(cfg.task.prompt, told.image_token_id, told.eos_token_ids, cfg.export.max_new_tokens)
    made = _Made(folder, matrices, pictures(cfg), reader.prompt_ids(cfg.task.prompt), asked)
    compare(reader, made, [*written.values(), folder / ADAPTER])
    fewer = cfg.export.int8
    report = {
        "architecture": told.model_dump(mode="json"),
        "prompt_ids": made.prompt_ids,
        "max_new_tokens": cfg.export.max_new_tokens,
        "rank": rank,
        "int8": int8(made, Int8(fewer.enabled, fewer.pictures, fewer.least_equal)),
        "graphs": {path.name: describe(path) for path in sorted(folder.glob("*.onnx"))},
        "opset": OPSET,
        "versions": {name: version(name) for name in _PACKAGES},
    }
    report["step_ms"] = speed(made, cfg.export.repeats)
    write_json(folder / "report.json", report)
    for line in said(cfg.name, report):
        console.print(line)


def pictures(cfg: DictConfig) -> list[NDArray[np.uint8]]:
    """The first pictures of the test split, `(H, W, 3)`."""
    task = task_of(plain(cfg.task))
    records = read_split(Path(cfg.task.processed), "test", task)[: cfg.export.pictures]
    seen = Pictures(records, task.image_side, PictureCache(0))
    return [seen[i] for i in range(len(records))]


def compare(reader: HfReader, made: _Made, written: list[Path]) -> Parity:
    """Write parity.json. Raises ParityError, and removes what was written, when an answer differs from torch's."""
    found = parity(reader, Graphs(made.folder), made.matrices, made.pictures, made.asked)
    write_json(made.folder / "parity.json", found.to_dict())
    if found.equal != found.pictures or not found.pictures:
        for path in written:
            path.unlink()
    require_equal(found)
    return found


def int8(made: _Made, settings: Int8) -> dict[str, Any]:
    """What became of the decoder in 8 bits: accepted, refused or not offered, and what was measured."""
    path = made.folder / INT8
    path.unlink(missing_ok=True)
    if not settings.enabled:
        return {"outcome": "not offered", "reason": "switched off"}
    how = quantise(made.folder / DECODER, path)
    exact, other = Graphs(made.folder), Graphs(made.folder, INT8)
    inputs = [to_input(picture, pixels_side(exact)) for picture in made.pictures[: settings.pictures]]
    prompts = [
        exact.prompts(pixels[None], made.prompt_ids, made.asked.image_token_id, made.matrices)[0] for pixels in inputs
    ]
    found = agreement(exact, other, prompts, made.asked.end_ids, made.asked.max_new_tokens, made.matrices)
    gate = how | found.to_dict() | {"least_equal": settings.least_equal}
    if found.equal >= settings.least_equal:
        return {"outcome": "accepted", "file": INT8, "gate": gate}
    path.unlink()
    return {"outcome": "refused", "reason": f"{found.equal:.1%} of the answers are the exact decoder's", "gate": gate}


def pixels_side(graphs: Graphs) -> int:
    """Side of the pictures that the vision graph takes."""
    side = next(node.shape[-1] for node in graphs.vision.get_inputs() if node.name == "pixel_values")
    return int(side)


def speed(made: _Made, repeats: int) -> dict[str, Any]:
    """Milliseconds of a decode step by decoder and batch size, with matrices of rank 1 and with the adapter's."""
    past = len(made.prompt_ids)
    found: dict[str, Any] = {"past": past, "repeats": repeats}
    for name in (DECODER, INT8):
        if (made.folder / name).is_file():
            graphs = Graphs(made.folder, name)
            found[name] = {
                "no_adapter": step_ms(graphs, None, past, repeats),
                "adapter": step_ms(graphs, made.matrices, past, repeats),
            }
    return found


def describe(path: Path) -> dict[str, Any]:
    """How large a graph is, and of what."""
    nodes = Counter(node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node)
    return {"bytes": path.stat().st_size, "nodes": nodes.total()}


def said(name: str, report: Mapping[str, Any]) -> list[str]:
    """The report in a few lines."""
    sizes = ", ".join(f"{file} {of['bytes'] / 1e6:.1f} MB" for file, of in report["graphs"].items())
    steps = "; ".join(
        f"{file} {of['adapter']['1']:.1f} ms" for file, of in report["step_ms"].items() if isinstance(of, dict)
    )
    return [
        f"export: {name} reads as torch does, token for token",
        f"  {sizes}",
        f"  int8: {report['int8']['outcome']}{_why(report['int8'])}",
        f"  a step of one row: {steps}",
    ]


def _why(variant: Mapping[str, Any]) -> str:
    if variant["outcome"] != "accepted":
        return f", {variant['reason']}"
    return f", {variant['gate']['equal']:.1%} of {variant['gate']['pictures']} answers are the exact decoder's"


if __name__ == "__main__":
    main()
