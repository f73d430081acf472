"""flavours: what a reader can be had in, measured side by side, each in a process of its own.

The adapter on its base and the merged network by torch, the exported graphs in both precisions by the engine that serves:
time to load, seconds a picture, tokens a second, memory, size on disk, exact match. Writes merged/, the network with the
adapter folded in, as `from_pretrained` reads it; metrics/reader-flavours.json; and a table into flavours.document, where that
has a mark for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from pipelines.reader.flavour import Order
from pipelines.reader.reading import Exported
from pipelines.reader.tasks import task_of
from pipelines.stage import build, plain, stage, write_json
from safelight.errors import SafelightError
from safelight.reader.manifest import ADAPTER, DECODER, EMBEDDING, TOKENIZER, VISION
from safelight.reader.task import Task
from training.evaluation.latency import processor
from training.evaluation.tables import put_table
from training.fitting.cache import PictureCache
from training.vlm.evaluation.flavours import Flavour, Way, conditions, flavour_figures, table
from training.vlm.evaluation.reading import judged
from training.vlm.evaluation.speed import Spent, spread
from training.vlm.families import load_adapter
from training.vlm.interface import Reader
from training.vlm.prepared import Pictures, read_split

MERGED = "merged"
_ROOT = Path(__file__).resolve().parents[2]


class FlavourFailed(SafelightError):
    """A flavour's process ended without figures."""

    title = "A flavour could not be measured"


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk, as `Flavour` has them."""

    own: int
    shared: int | None


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Merge, measure each flavour, write figures and table."""
    console, out, task = Console(soft_wrap=True, highlight=False), Path(cfg.out.flavours), task_of(plain(cfg.task))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    merge(cfg, out / MERGED)
    exported = Exported.read(Path(cfg.out.export))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        orders, truths = ordered(cfg, task, exported, Path(scratch))
        for kind, order in orders.items():
            console.print(f"flavours: {kind}")
            flavour = measured(order, sizes(cfg, exported, kind), task, truths, Path(scratch))
            found[kind] = flavour_figures(flavour, task.fields)
    if "int8" not in found:
        found["int8"] = {"reason": "not accepted at export"}
    report = {
        "task": cfg.task.name,
        "pictures": len(truths),
        **{name: cfg.flavours[name] for name in ("rows", "timed")},
        "threads": cfg.flavours.threads or os.cpu_count(),
        "processor": processor(),
        "flavours": found,
    }
    write_json(Path(cfg.out.flavour_metrics), report)
    text = f"{table(report)}\n\n{conditions(report)}"
    (out / "table.md").write_text(text + "\n")
    document = cfg.flavours.document
    if document is not None and not put_table(Path(document), mark(cfg.name), text):
        console.print(f"flavours: {document} has no mark for a table of {cfg.name}")
    console.print(text)


def mark(name: str) -> str:
    """What the table of a reader stands behind in a document."""
    return f"flavours of {name}: written by python -m pipelines.reader.flavours"


def merge(cfg: DictConfig, folder: Path) -> None:
    """Write the network with the adapter folded in."""
    reader: Reader = build(cfg.model.reader, image_side=cfg.task.image_side, dtype="float32", four_bit=False)
    load_adapter(reader, Path(cfg.out.train) / "adapter").merged().save(folder)


def ordered(cfg: DictConfig, task: Task, exported: Exported, scratch: Path) -> tuple[dict[str, Order], list[str]]:
    """What each flavour is to do, and the texts of the records that it is asked about: test pictures, evenly spread."""
    every = read_split(Path(cfg.task.processed), "test", task)
    records = [every[number] for number in spread(len(every), cfg.flavours.pictures)]
    pictures = Pictures(records, task.image_side, PictureCache(0))
    held = {f"{number:06}": pictures[number] for number in range(len(records))}
    np.savez(scratch / "pictures.npz", **held)  # type: ignore[arg-type]  # taken for allow_pickle
    common: dict[str, Any] = {
        "pictures": str(scratch / "pictures.npz"),
        "task": {"name": task.name, "schema": task.schema, "prompt": task.prompt, "image_side": task.image_side},
        "max_new_tokens": exported.max_new_tokens,
        **{name: cfg.flavours[name] for name in ("rows", "threads", "timed")},
    }
    opened = plain(cfg.model.reader) | {"image_side": task.image_side, "dtype": "float32", "four_bit": False}
    opened.pop("_target_")
    if Path(opened["source"]).is_dir():
        opened["source"] = str(Path(opened["source"]).absolute())
    merged = opened | {"source": str((Path(cfg.out.flavours) / MERGED).absolute()), "revision": None}
    graphs = common | {"exported": str(exported.folder.absolute())}
    trained = str((Path(cfg.out.train) / "adapter").absolute())
    orders = {
        "adapter": Order("adapter", **common, reader=opened, adapter=trained),
        "merged": Order("merged", **common, reader=merged),
        "onnx": Order("onnx", **graphs),
        **({"int8": Order("int8", **graphs)} if exported.int8 else {}),
    }
    return orders, [record.text for record in records]


def measured(order: Order, size: Sizes, task: Task, truths: Sequence[str], scratch: Path) -> Flavour:
    """Run a flavour's process. Raises FlavourFailed; what it said of why is on the terminal."""
    path = scratch / f"{order.kind}.json"
    path.write_text(json.dumps(asdict(order)))
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.reader.flavour", str(path.absolute())], cwd=_ROOT, check=False
    )
    if done.returncode:
        raise FlavourFailed(f"Expected figures of the flavour {order.kind}, its process ended with {done.returncode}.")
    found = json.loads(path.with_suffix(".found.json").read_text())
    ways = {name: _way(one, task, truths) for name, one in found["ways"].items()}
    return Flavour(size.own, size.shared, found["libraries_s"], found["load_s"], found["peak_bytes"], ways)


def sizes(cfg: DictConfig, exported: Exported, kind: str) -> Sizes:
    """Of a flavour's files: its own, and those of its base."""
    if kind == "merged":
        return Sizes(_bytes(Path(cfg.out.flavours) / MERGED), 0)
    if kind == "adapter":
        base = Path(cfg.model.reader.source)
        return Sizes(_bytes(Path(cfg.out.train) / "adapter"), _bytes(base) if base.is_dir() else None)
    decoder = DECODER if kind == "onnx" else str(exported.int8)
    shared = sum((exported.folder / name).stat().st_size for name in (VISION, EMBEDDING, decoder, TOKENIZER))
    return Sizes((exported.folder / ADAPTER).stat().st_size, shared)


def _way(found: Mapping[str, Any], task: Task, truths: Sequence[str]) -> Way:
    readings = [judged(task, truth, said) for truth, said in zip(truths, found["texts"], strict=True)]
    return Way(Spent(**found["alone"]), Spent(**found["together"]), readings)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
