"""A reader to compare ways of reading with: a base, LoRA matrices that answer a few pictures, and the base's graphs.

Given a checkpoint and an adapter they are taken as they are. Otherwise a base is put together (the real SmolLM2-135M behind
a small vision tower at random) and matrices are fitted to a few drawn pictures until plain generation answers them in
canonical JSON: what is compared is speed, for the same answers, and not how well anything is read.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.reader.manifest import DECODER, EMBEDDING, VISION, Architecture
from safelight.reader.task import Task
from training.vlm.export.adapters import lora_matrices, write_adapter
from training.vlm.export.architecture import architecture, network_of
from training.vlm.export.graphs import write_graphs
from training.vlm.export.int8 import INT8, quantise
from training.vlm.export.linear import adaptable
from training.vlm.families import Adaptation, adapt, load_adapter, open_reader
from training.vlm.interface import Reader
from training.vlm.offline import Tower, assemble, language_model

Picture = NDArray[np.uint8]
Views = Sequence[Sequence[int]]
FAMILY = "smolvlm"
_LEARNING_RATE, _MOST_STEPS, _LOOK_EVERY, _FITTED = 1e-3, 400, 10, 0.02


@dataclass(frozen=True)
class Made:
    """folder: of the base's checkpoint, adapter: of its matrices as PEFT keeps them. graphs: by file name. matrices: the
    adapter.safetensors. steps: of the fit, None where there was none. views: looks at a picture that are averaged."""

    folder: Path
    adapter: Path
    graphs: dict[str, bytes]
    matrices: bytes
    rank: int
    architecture: Architecture
    tokenizer: str
    prompt_ids: tuple[int, ...]
    steps: int | None
    views: Views


def base(folder: Path, gguf: Path, tower: Tower) -> None:
    """Put the real language model behind a tower at random."""
    language, tokenizer = language_model(gguf)
    model, tokenizer = assemble(language, tokenizer, tower, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def drawn(task: Task, count: int, side: int) -> tuple[list[Picture], list[str]]:
    """Pictures of coloured squares and an answer of the task `keys` for each, from a seed."""
    rng, choose = np.random.default_rng(0), random.Random(0)
    properties = task.schema["properties"]
    pictures, answers = [], []
    for _ in range(count):
        tiles = rng.integers(0, 256, (6, 6, 3), np.uint8)
        pictures.append(np.kron(tiles, np.ones((side // 6, side // 6, 1), np.uint8)))
        cuts = [choose.randrange(10) for _ in range(choose.randint(4, 6))]
        chosen = {name: choose.choice(properties[name]["enum"]) for name in ("keyway", "brand")}
        answers.append(task.text(chosen | {"bittings": cuts}))
    return pictures, answers


def fit(reader: Reader, pictures: Sequence[Picture], prompt: str, answers: Sequence[str]) -> int:
    """Train LoRA matrices until plain generation gives the answers; returns the steps. Raises RuntimeError if it never does."""
    torch.manual_seed(0)
    examples = [reader.encode(picture, prompt, answer) for picture, answer in zip(pictures, answers, strict=True)]
    batch, longest = reader.collate(examples), max(len(example) for example in examples)
    learning = [parameter for parameter in reader.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, _LEARNING_RATE)
    for step in range(1, _MOST_STEPS + 1):
        reader.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = reader.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        if step % _LOOK_EVERY == 0:
            print(f"fitting: step {step}, loss {loss.item():.4f}", file=sys.stderr)
            if loss.item() < _FITTED:
                said = [one.text for one in reader.generate(pictures, prompt, longest)]
                if said == list(answers):
                    return step
    raise RuntimeError("The matrices do not answer the pictures that they were fitted to.")


def made(
    folder: Path,
    adapter: Path | None,
    scratch: Path,
    task: Task,
    fitting: tuple[Sequence[Picture], Sequence[str]],
    views: Views,
) -> Made:
    """The graphs of a checkpoint, and an adapter for it: the given one, or one that is fitted here."""
    steps = None
    reader: Any = open_reader(str(folder), FAMILY, image_side=task.image_side, views=views)
    adapted = adaptable(network_of(reader).model)
    described, prompt_ids = architecture(reader, adapted), tuple(reader.prompt_ids(task.prompt))
    paths = write_graphs(network_of(reader), adapted, task.image_side, scratch / "graphs", reader.views)
    quantise(paths[DECODER], scratch / "graphs" / INT8)
    if adapter is None:
        adapter = scratch / "adapter"
        learner = adapt(reader, Adaptation(rank=16, alpha=32, connector="lora"))
        steps = fit(learner, fitting[0], task.prompt, fitting[1])
        learner.save_adapter(adapter)
    file = scratch / "adapter.safetensors"
    rank = write_adapter(lora_matrices(adapter, adapted), file)
    graphs = {name: (scratch / "graphs" / name).read_bytes() for name in (VISION, EMBEDDING, DECODER, INT8)}
    text = reader.tokenizer.backend_tokenizer.to_str()
    return Made(folder, adapter, graphs, file.read_bytes(), rank, described, text, prompt_ids, steps, views)


def plain(made: Made, side: int, dtype: Any) -> Reader:
    """The reader as torch runs it: the matrices folded into the weights, which is the fastest that it can be."""
    reader = load_adapter(
        open_reader(str(made.folder), FAMILY, image_side=side, views=made.views), made.adapter
    ).merged()
    cast: Any = reader
    cast.model.to(dtype)
    cast.dtype = dtype
    cast.model.eval()
    return reader
