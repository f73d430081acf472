"""One flavour of a reader, loaded and asked in a process of its own, so that its memory and its start are its own:

    python -m pipelines.reader.flavour ORDER.json

Imports what the flavour needs and no more: of ONNX Runtime or of torch. Knows nothing of what answers should have been.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["adapter", "merged", "onnx", "int8"]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Order:
    """kind: of flavour. pictures: `.npz` of `(H, W, 3)` uint8, in order. task: name, schema, prompt and image_side. reader:
    what `open_reader` takes, of torch's flavours; adapter: PEFT's folder, of `adapter` alone. exported: the export's folder,
    of ONNX's. rows: how many pictures are read together. threads: 0 for one a core. timed: pictures that are read alone."""

    kind: Kind
    pictures: str
    task: dict[str, Any]
    max_new_tokens: int
    rows: int
    threads: int
    timed: int
    reader: dict[str, Any] | None = None
    adapter: str | None = None
    exported: str | None = None


@dataclass(frozen=True)
class Said:
    """One answer. tokens: its end included. chosen: those that were not forced. steps: runs of the decoder that it was in."""

    text: str
    tokens: int
    chosen: int
    steps: int


Way = Callable[[Sequence[Pixels]], list[Said]]
"""Reads pictures, several together."""


@dataclass(frozen=True)
class Ready:
    """A flavour that can be asked. ways: `plain` greedy decoding, and of ONNX `constrained`. seconds: of importing its
    libraries, and of opening its files."""

    ways: dict[str, Way]
    libraries_s: float
    load_s: float


def measured(order: Order) -> dict[str, Any]:
    """Load the flavour, ask it about each picture alone and about all together."""
    from training.vlm.evaluation.memory import peak_bytes

    with np.load(order.pictures) as held:
        pictures: list[Pixels] = [held[name] for name in sorted(held.files)]
    with (_torch if order.kind in ("adapter", "merged") else _onnx)(order) as ready:
        ways = {name: _asked(way, pictures, order.timed) for name, way in ready.ways.items()}
    return {"libraries_s": ready.libraries_s, "load_s": ready.load_s, "peak_bytes": peak_bytes(), "ways": ways}


def _asked(way: Way, pictures: Sequence[Pixels], timed: int) -> dict[str, Any]:
    from training.vlm.evaluation.speed import Spent

    def spent(found: Sequence[Said], begun: float) -> Spent:
        sums = [sum(getattr(one, name) for one in found) for name in ("tokens", "chosen", "steps")]
        return Spent(len(found), time.perf_counter() - begun, *sums)

    way(pictures[:1])
    begun = time.perf_counter()
    alone = spent([said for picture in pictures[:timed] for said in way([picture])], begun)
    begun = time.perf_counter()
    found = way(pictures)
    together = spent(found, begun)
    return {"alone": asdict(alone), "together": asdict(together), "texts": [said.text for said in found]}


@contextmanager
def _torch(order: Order) -> Iterator[Ready]:
    """transformers' own `generate`."""
    begun = time.perf_counter()
    import torch

    from training.vlm.families import load_adapter, open_reader

    imported = time.perf_counter()
    assert order.reader is not None
    if order.threads:
        torch.set_num_threads(order.threads)
    reader = open_reader(**order.reader)
    if order.adapter is not None:
        load_adapter(reader, Path(order.adapter))
    loaded = time.perf_counter()

    def read(pictures: Sequence[Pixels]) -> list[Said]:
        said = []
        for start in range(0, len(pictures), order.rows):
            for one in reader.generate(
                pictures[start : start + order.rows], order.task["prompt"], order.max_new_tokens
            ):
                said.append(Said(one.text, len(one.token_ids), len(one.token_ids), len(one.token_ids)))
        return said

    yield Ready({"plain": read}, imported - begun, loaded - imported)


@contextmanager
def _onnx(order: Order) -> Iterator[Ready]:
    """The engine that serves."""
    begun = time.perf_counter()
    from pipelines.reader.reading import Exported, asking
    from safelight.reader.manifest import DECODER
    from safelight.reader.task import Task
    from serving.reader.adapter import Adapter

    imported = time.perf_counter()
    assert order.exported is not None
    exported = Exported.read(Path(order.exported))
    decoder = DECODER if order.kind == "onnx" else exported.int8
    assert decoder is not None
    with asking(exported, decoder, rows=order.rows, threads=order.threads) as ask:
        matrices = exported.matrices()
        adapters = {"plain": ask.adapter(None, matrices), "constrained": ask.adapter(Task(**order.task), matrices)}
        loaded = time.perf_counter()

        def way(adapter: Adapter) -> Way:
            def read(pictures: Sequence[Pixels]) -> list[Said]:
                found = ask.several(adapter, pictures.__getitem__, range(len(pictures)))
                return [Said(one.text, len(one.token_ids), one.chosen, one.steps) for one in found]

            return read

        yield Ready({name: way(one) for name, one in adapters.items()}, imported - begun, loaded - imported)


def main(path: Path) -> None:
    """Follow the order in a file, and write what was found beside it: ORDER.json to ORDER.found.json."""
    found = measured(Order(**json.loads(path.read_text())))
    path.with_suffix(".found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
