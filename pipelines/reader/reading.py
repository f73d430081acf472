"""An exported reader, asked as the service asks it: the graphs in serving's engine, many pictures at a time.

Knows nothing of what answers should have been. Imports neither torch nor Hydra: flavours measures the memory of a process
that has this alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DataError
from safelight.reader.manifest import ADAPTER, EMBEDDING, TOKENIZER, VISION, Architecture
from safelight.reader.picture import to_input
from safelight.reader.task import Task
from serving.reader.adapter import Adapter, Matrices, no_matrices, read_matrices
from serving.reader.constraint import Constraint, Tokens
from serving.reader.engine import Engine
from serving.reader.graphs import Graphs, open_graphs
from serving.reader.row import Read
from training.vlm.evaluation.speed import Spent

Look = Callable[[int], NDArray[np.uint8]]
"""A picture `(H, W, 3)` by its number. May be called from several threads."""


@dataclass(frozen=True)
class Exported:
    """What the export stage left in `folder`. int8: the file of the cheaper decoder, None where none was accepted."""

    folder: Path
    architecture: Architecture
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    rank: int
    int8: str | None

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Raises DataError when there is none."""
        path = folder / "report.json"
        if not path.is_file():
            raise DataError(f"Expected an exported reader in {folder}. Run the export stage first.")
        told: dict[str, Any] = json.loads(path.read_text())
        return cls(
            folder,
            Architecture.model_validate(told["architecture"]),
            tuple(told["prompt_ids"]),
            told["max_new_tokens"],
            told["rank"],
            told["int8"].get("file"),
        )

    def matrices(self) -> Matrices:
        """The adapter's."""
        return read_matrices((self.folder / ADAPTER).read_bytes(), self.architecture, self.rank)


@dataclass(frozen=True)
class Asking:
    """An engine that runs, and adapters for it. rows: how many answers it works on at a time."""

    exported: Exported
    engine: Engine
    tokens: Tokens
    rows: int

    def adapter(self, task: Task | None, matrices: Matrices | None) -> Adapter:
        """task: whose answers are held to its schema, None for no constraint. matrices: None for the base as it is."""
        own = no_matrices(self.exported.architecture) if matrices is None else matrices
        constraint = None if task is None else Constraint(task.schema, self.tokens)
        return Adapter("", own, self.exported.prompt_ids, constraint, self.exported.max_new_tokens)

    def read(self, adapter: Adapter, look: Look, numbers: Sequence[int]) -> tuple[list[Read], Spent]:
        """Answers about the pictures of these numbers, and what they took; decoding of files is in the seconds, what an
        adapter needs once is not."""
        self.engine.warm(adapter)
        begun = time.perf_counter()
        found = self.several(adapter, look, numbers)
        return found, spent(found, time.perf_counter() - begun)

    def several(self, adapter: Adapter, look: Look, numbers: Sequence[int]) -> list[Read]:
        """Answers about the pictures of these numbers, `rows` under way at a time."""
        with ThreadPoolExecutor(self.rows, thread_name_prefix="reading") as threads:
            return list(threads.map(lambda number: self.one(adapter, look(number)), numbers))

    def one(self, adapter: Adapter, pixels: NDArray[np.uint8]) -> Read:
        """The answer about one picture `(H, W, 3)`."""
        return self.engine.read(
            to_input(pixels, self.exported.architecture.image_side), adapter, left_s=lambda: math.inf
        )


def spent(found: Sequence[Read], seconds: float) -> Spent:
    """What some answers took together."""
    return Spent(
        len(found),
        seconds,
        sum(len(one.token_ids) for one in found),
        sum(one.chosen for one in found),
        sum(one.steps for one in found),
    )


@contextmanager
def asking(exported: Exported, decoder: str, *, rows: int, threads: int) -> Iterator[Asking]:
    """The exported graphs with one of the decoders, opened, and stopped in the end. threads: within one run, 0 for one a
    core."""
    graphs, tokens = _graphs(exported, decoder, threads), _tokens(exported)
    engine = Engine(graphs, tokens, rows=rows, clock=time.monotonic)
    try:
        yield Asking(exported, engine, tokens, rows)
    finally:
        engine.stop(wait_s=60.0)


def _graphs(exported: Exported, decoder: str, threads: int) -> Graphs:
    files = {"vision": VISION, "embedding": EMBEDDING, "decoder": decoder}
    given = {name: (exported.folder / file).read_bytes() for name, file in files.items()}
    return open_graphs(exported.architecture, **given, threads=threads, provider="cpu")


def _tokens(exported: Exported) -> Tokens:
    of = exported.architecture
    return Tokens((exported.folder / TOKENIZER).read_text(encoding="utf-8"), of.vocabulary, of.eos_token_ids)
