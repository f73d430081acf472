"""Ways of reading the same pictures: torch's plain `generate` and our engine, free and held to a schema."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness import readers
from safelight.errors import AnswerInvalid
from safelight.reader.manifest import DECODER, EMBEDDING, VISION
from safelight.reader.picture import to_input
from safelight.reader.task import Task
from serving.reader.adapter import Adapter, read_matrices
from serving.reader.constraint import Constraint, Tokens
from serving.reader.engine import Engine
from serving.reader.graphs import open_graphs
from training.vlm.export.int8 import INT8

PLAIN, HALF, FREE, HELD, SHORT = (
    "generate fp32",
    "generate bf16",
    "engine fp32",
    "engine fp32, JSON",
    "engine int8, JSON",
)
EXACT = (PLAIN, FREE, HELD)
BATCHES, MOST = (1, 8), 64
Answer = tuple[tuple[int, ...], int]  # token ids, and how many runs of the language model they took
Way = Callable[[Sequence[readers.Picture]], list[Answer]]


def read_pictures(records: Path, most: int) -> list[readers.Picture]:
    """The pictures that the first lines name."""
    lines = [json.loads(line) for line in records.read_text().splitlines()[:most]]
    return [np.asarray(Image.open(records.parent / line["image_path"]).convert("RGB")) for line in lines]


def all_ways(made: readers.Made, task: Task, threads: int) -> tuple[dict[str, Way], Callable[[], None]]:
    """By name, and what ends them."""
    tokens = Tokens(made.tokenizer, made.architecture.vocabulary, made.architecture.eos_token_ids)
    matrices = read_matrices(made.matrices, made.architecture, made.rank)
    adapters = {
        held: Adapter("0" * 64, matrices, made.prompt_ids, Constraint(task.schema, tokens) if held else None, MOST)
        for held in (False, True)
    }
    engines = {}
    for decoder in (DECODER, INT8):
        files = {"vision": made.graphs[VISION], "embedding": made.graphs[EMBEDDING], "decoder": made.graphs[decoder]}
        graphs = open_graphs(made.architecture, **files, threads=threads, provider="cpu")
        engines[decoder] = Engine(graphs, tokens, rows=max(BATCHES), clock=time.perf_counter)
    made.graphs.clear()  # ONNX Runtime has copies

    def torch_way(dtype: torch.dtype) -> Way:
        reader = readers.plain(made, task.image_side, dtype)
        return lambda pictures: [
            (one.token_ids, len(one.token_ids)) for one in reader.generate(list(pictures), task.prompt, MOST)
        ]

    def engine_way(decoder: str, held: bool) -> Way:
        engine = engines[decoder]
        pool = ThreadPoolExecutor(max(BATCHES))

        def read(pixels: readers.Picture) -> Answer:
            found = engine.read(to_input(pixels, task.image_side), adapters[held], left_s=lambda: math.inf)
            return found.token_ids, found.steps

        return lambda pictures: list(pool.map(read, pictures))

    ways = {
        PLAIN: torch_way(torch.float32),
        HALF: torch_way(torch.bfloat16),
        FREE: engine_way(DECODER, False),
        HELD: engine_way(DECODER, True),
        SHORT: engine_way(INT8, True),
    }

    def stop() -> None:
        for engine in engines.values():
            engine.stop(10)

    return ways, stop


def answerable(
    pictures: Sequence[readers.Picture], generate: Way, made: readers.Made, task: Task
) -> list[readers.Picture]:
    """Eight of those that plain generation answers in canonical JSON: that is what all ways are to say. Raises RuntimeError."""
    tokens = Tokens(made.tokenizer, made.architecture.vocabulary, made.architecture.eos_token_ids)
    found = []
    for picture in pictures:
        ids = generate([picture])[0][0]
        try:
            if task.text(task.parse(tokens.text(ids))) == tokens.text(ids):
                found.append(picture)
        except AnswerInvalid:
            continue
    if not found:
        raise RuntimeError("Plain generation answers none of the pictures in canonical JSON.")
    return [found[at % len(found)] for at in range(max(BATCHES))]


def turns(ways: Mapping[str, Way], pictures: Sequence[readers.Picture], rounds: int) -> dict[int, dict[str, list[Any]]]:
    """Every way reads every batch in every round, in an order that rotates; the first round is a rehearsal. By batch and way:
    (seconds, token ids, runs) of each."""
    runs: dict[int, dict[str, list[Any]]] = {batch: {way: [] for way in ways} for batch in BATCHES}
    names = list(ways)
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        for batch in BATCHES:
            first = number * batch % len(pictures)
            asked = [pictures[(first + at) % len(pictures)] for at in range(batch)]
            for at in range(len(names)):
                way = names[(number + at) % len(names)]
                begun = time.perf_counter()
                answers = ways[way](asked)
                took = time.perf_counter() - begun
                if number:
                    runs[batch][way].append((took, [ids for ids, _ in answers], [steps for _, steps in answers]))
    return runs
