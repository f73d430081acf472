"""A tiny SmolVLM that has learnt two answers, its adapter, and its graphs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.vlm.families import checkpoints
from training.vlm.export.adapters import lora_matrices
from training.vlm.export.graphs import write_graphs
from training.vlm.export.linear import adaptable
from training.vlm.export.parity import Question
from training.vlm.export.running import Graphs
from training.vlm.families import Adaptation, adapt, open_reader

KIND = checkpoints.KINDS["smolvlm"]


@dataclass(frozen=True)
class Exported:
    """reader: with its adapter, which lies in `adapter`. graphs: of the base, in `folder`, which know nothing of it."""

    reader: Any
    base: Any
    adapter: Any
    adapted: Any
    matrices: Any
    graphs: Any
    folder: Any
    pictures: Any
    asked: Question


def scenes(count):
    """Pictures as different as can be: one half dark, one half bright, in one of two orders, with noise."""
    random = np.random.default_rng(7)
    made = []
    for i in range(count):
        picture = random.integers(0, 60, (24, 40, 3), dtype=np.uint8)
        picture[:, 20 * (i % 2) : 20 * (i % 2) + 20] += 180
        made.append(picture)
    return made


def taught(reader, steps=60):
    """An adapter that answers with one of two texts: logits of a network that has learnt nothing are all but equal."""
    torch.manual_seed(5)
    adapt(reader, Adaptation(kind="rslora", rank=4, alpha=8, vision="lora", connector="lora"))
    pictures = scenes(8)
    batch = reader.collate(
        [reader.encode(p, checkpoints.PROMPT, checkpoints.ANSWERS[i % 2]) for i, p in enumerate(pictures)]
    )
    optimiser = torch.optim.AdamW([p for p in reader.model.parameters() if p.requires_grad], 2e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        reader.loss(batch).backward()
        optimiser.step()
    return reader


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    checkpoints.write("smolvlm", root / "checkpoint")
    torch.manual_seed(0)
    base = open_reader(str(root / "checkpoint"), KIND.family, image_side=KIND.side)
    with torch.no_grad():  # layers that change what passes through them, which those of a fresh network hardly do
        for parameter in base.model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.15)
    base.save(root / "base")
    base = open_reader(str(root / "base"), KIND.family, image_side=KIND.side)
    adapted = adaptable(base.model.model)
    write_graphs(base.model, adapted, KIND.side, root / "graphs")
    reader = taught(open_reader(str(root / "base"), KIND.family, image_side=KIND.side))
    reader.save_adapter(root / "adapter")
    ids = reader.tokenizer.get_vocab()
    return Exported(
        reader,
        base,
        root / "adapter",
        adapted,
        lora_matrices(root / "adapter", adapted),
        Graphs(root / "graphs", threads=1),
        root / "graphs",
        scenes(20),
        Question(checkpoints.PROMPT, ids["<image>"], (ids[KIND.end],), 24),
    )
