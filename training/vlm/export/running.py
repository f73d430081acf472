"""The three graphs run one after another: greedy answers from pictures, without torch.

For parity, gates and measurements; the service has an engine of its own (serving/reader). Knows nothing of tokenizers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from safelight.reader.manifest import DECODER, EMBEDDING, VISION

Floats = NDArray[np.float32]
Matrices = Mapping[str, Floats]
"""`lora.PATH.A` and `.B`, as `adapter.safetensors` holds them."""


@dataclass(frozen=True)
class Answered:
    """token_ids: of each row, with the end token where it was reached. logits: `(B, V)` of each step, for rows that were
    still going; those of the others mean nothing."""

    token_ids: list[list[int]]
    logits: list[Floats]


class Graphs:
    """The graphs of one base. decoder: file name of the one to take. threads: within one run, 0 for one a core."""

    def __init__(self, folder: Path, decoder: str = DECODER, threads: int = 0) -> None:
        self.vision, self.embedding, self.decoder = (
            open_graph(folder / name, threads) for name in (VISION, EMBEDDING, decoder)
        )
        self._caches = {
            node.name: (int(node.shape[1]), int(node.shape[3]))
            for node in self.decoder.get_inputs()
            if node.name.startswith("past_key_values.")
        }

    def prompts(
        self, pictures: Floats, prompt_ids: Sequence[int], image_token_id: int, adapter: Matrices | None = None
    ) -> Floats:
        """Embeddings `(B, T, H)` of the prompt with each picture's features in it. pictures: `(B, 3, S, S)`."""
        found = self.vision.run(None, {"pixel_values": pictures, **matrices(self.vision, adapter)})
        features: Floats = found[0]
        embedded: Floats = self.embedding.run(None, {"input_ids": np.array([prompt_ids], np.int64)})[0]
        embeds = np.repeat(embedded, len(pictures), axis=0)
        embeds[:, np.array(prompt_ids) == image_token_id] = features
        return embeds

    def greedy(
        self,
        embeds: Floats,
        mask: NDArray[np.int64],
        end_ids: Sequence[int],
        max_new_tokens: int,
        adapter: Matrices | None = None,
    ) -> Answered:
        """The likeliest token after token. embeds, mask: prompts `(B, T, H)` and `(B, T)`; masked places may be anywhere
        but at the end."""
        rows = len(embeds)
        lora = matrices(self.decoder, adapter)
        cache = {name: np.zeros((rows, heads, 0, width), np.float32) for name, (heads, width) in self._caches.items()}
        answered = Answered([[] for _ in range(rows)], [])
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
        going = np.ones(rows, bool)
        while True:
            logits, cache = self._step(embeds, mask, positions, cache, lora)
            answered.logits.append(logits)
            chosen = logits.argmax(axis=1)
            for row in np.flatnonzero(going):
                answered.token_ids[row].append(int(chosen[row]))
            going &= ~np.isin(chosen, end_ids)
            if not going.any() or len(answered.logits) == max_new_tokens:
                return answered
            embeds = self.embedding.run(None, {"input_ids": chosen[:, None].astype(np.int64)})[0]
            positions = positions[:, -1:] + 1
            mask = np.concatenate([mask, np.ones((rows, 1), np.int64)], axis=1)

    def _step(
        self,
        embeds: Floats,
        mask: NDArray[np.int64],
        positions: NDArray[np.int64],
        cache: dict[str, Floats],
        lora: dict[str, Floats],
    ) -> tuple[Floats, dict[str, Floats]]:
        rows, length, _ = embeds.shape
        feed: dict[str, Any] = {
            "inputs_embeds": embeds,
            "attention_mask": mask,
            "position_ids": positions,
            "logit_positions": np.full(rows, length - 1, np.int64),
        }
        logits, *present = self.decoder.run(None, feed | cache | lora)
        return logits, dict(zip(cache, present, strict=True))


def open_graph(path: Path, threads: int = 0) -> ort.InferenceSession:
    """A graph on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def matrices(session: ort.InferenceSession, adapter: Matrices | None) -> dict[str, Floats]:
    """The LoRA matrices that a graph takes: the adapter's, or zeros of rank 1."""
    wanted = {node.name: node.shape for node in session.get_inputs() if node.name.startswith("lora.")}
    if adapter is not None:
        return {name: adapter[name] for name in wanted}
    return {
        name: np.zeros([1 if isinstance(d, str) else d for d in shape], np.float32) for name, shape in wanted.items()
    }
