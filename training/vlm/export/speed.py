"""How long a decoder takes for one token, at several batch sizes: figures for a report, of the machine that measures.

Knows nothing of what the tokens mean.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.vlm.export.running import Graphs, Matrices, matrices

BATCHES = (1, 4, 8)


def step_ms(graphs: Graphs, adapter: Matrices | None, past: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of a decode step by batch size (`"1"`, `"4"`, `"8"`), `past` columns in the cache; 1 warm-up."""
    lora = matrices(graphs.decoder, adapter)
    return {str(batch): _median(graphs, batch, past, repeats, lora) for batch in BATCHES}


def _median(graphs: Graphs, batch: int, past: int, repeats: int, lora: Matrices) -> float:
    feed = _feed(graphs.decoder.get_inputs(), batch, past) | dict(lora)
    graphs.decoder.run(None, feed)
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        graphs.decoder.run(None, feed)
        taken.append(time.perf_counter() - started)
    return round(1000 * statistics.median(taken), 2)


def _feed(inputs: Sequence[Any], batch: int, past: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    sizes = {"batch": batch, "new": 1, "old": past, "all": past + 1}
    feed: dict[str, Any] = {}
    for node in inputs:
        if node.name.startswith("lora."):
            continue
        shape = [sizes[d] if isinstance(d, str) else d for d in node.shape]
        whole = node.type == "tensor(int64)"
        feed[node.name] = np.ones(shape, np.int64) if whole else random.standard_normal(shape).astype(np.float32)
    return feed | {"logit_positions": np.zeros(batch, np.int64), "position_ids": np.full((batch, 1), past)}
