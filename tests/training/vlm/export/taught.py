"""A tiny SmolVLM whose layers matter, and adapters that it was taught two answers with: logits far enough apart to compare."""

import numpy as np
import torch

from tests.training.vlm.families import checkpoints
from training.vlm.families import Adaptation, adapt, open_reader

KIND = checkpoints.KINDS["smolvlm"]
VIEWS = ((0, 0), (4, -2))


def opened(folder):
    return open_reader(str(folder), KIND.family, image_side=KIND.side, views=VIEWS)


def write_base(folder, scratch):
    """A checkpoint of layers that change what passes through them, which those of a fresh network hardly do."""
    checkpoints.write("smolvlm", scratch)
    torch.manual_seed(0)
    base = opened(scratch)
    with torch.no_grad():
        for parameter in base.model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.15)
    base.save(folder)


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
