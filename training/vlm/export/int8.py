"""The decoder with its weights in 8 bits, and how near its answers are to those of the exact one.

Weights alone are kept as integers, in blocks of 32 along the inputs with a scale each (ONNX Runtime's MatMulNBits);
activations are rounded block by block as they come, so that products are of integers. On SmolLM2-135M that kept every
first choice of 40 next tokens (mean Kullback-Leibler divergence 0.005), where ONNX Runtime's dynamic quantisation, with one
scale for all of a layer's activations, kept 65 % (0.80), and 4-bit blocks 70 % (0.54). LoRA matrices are inputs, and stay
as they are. Source: Dettmers and Zettlemoyer, "The case for 4-bit precision: k-bit Inference Scaling Laws", 2023, on blocks.

Knows nothing of metrics of a task: whether the graph is good enough is for a gate to say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from safelight.errors import ConfigError
from training.vlm.export.running import Answered, Graphs, Matrices

INT8 = "decoder.int8.onnx"
_BITS, _BLOCK = 8, 32
_IN_INTEGERS = 4  # MatMulNBits' accuracy level: activations are rounded to 8 bits too
_TOGETHER = 8


@dataclass(frozen=True)
class Int8:
    """pictures: on how many it is compared with the exact decoder. least_equal: share of answers that must be the same."""

    enabled: bool
    pictures: int
    least_equal: float

    def __post_init__(self) -> None:
        if self.pictures < 1 or not 0 <= self.least_equal <= 1:
            raise ConfigError(f"int8: expected pictures >= 1 and a share, got {self.pictures} and {self.least_equal}.")


@dataclass(frozen=True)
class Agreement:
    """equal: share of answers that are the same, token for token. divergence: mean Kullback-Leibler divergence of the exact
    next-token distributions from the others, nats, over steps at which both had said the same until then."""

    pictures: int
    equal: float
    divergence: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def quantise(decoder: Path, path: Path) -> dict[str, Any]:
    """Write the 8-bit form of a decoder to `path`; returns how it was made. Raises ConfigError when nothing is 8 bits wide."""
    with _quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

        how = DefaultWeightOnlyQuantConfig(
            bits=_BITS, block_size=_BLOCK, is_symmetric=True, accuracy_level=_IN_INTEGERS
        )
        quantiser = MatMulNBitsQuantizer(onnx.load(str(decoder)), algo_config=how)
        quantiser.process()
        quantiser.model.save_model_to_file(str(path), False)
    nodes = [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]
    if "MatMulNBits" not in nodes:
        raise ConfigError("int8: expected products with weights in the decoder, found none.")
    return {"bits": _BITS, "block": _BLOCK, "nodes": nodes.count("MatMulNBits"), "bytes": path.stat().st_size}


def agreement(
    exact: Graphs,
    other: Graphs,
    prompts: Sequence[NDArray[np.float32]],
    end_ids: Sequence[int],
    max_new_tokens: int,
    adapter: Matrices | None,
) -> Agreement:
    """How near greedy answers are. prompts: embeddings `(T, H)` of each, as `Graphs.prompts` makes them, of one length."""
    equal, divergences = 0, [0.0]
    for start in range(0, len(prompts), _TOGETHER):
        embeds = np.stack(prompts[start : start + _TOGETHER])
        mask = np.ones(embeds.shape[:2], np.int64)
        a, b = (graphs.greedy(embeds, mask, end_ids, max_new_tokens, adapter) for graphs in (exact, other))
        equal += sum(x == y for x, y in zip(a.token_ids, b.token_ids, strict=True))
        divergences += [d for row in range(len(embeds)) for d in _divergences(a, b, row)]
    count = max(len(prompts), 1)
    return Agreement(len(prompts), equal / count, float(np.mean(divergences[1:] or [0.0])))


def _divergences(exact: Answered, other: Answered, row: int) -> Iterator[float]:
    for step, (token, said) in enumerate(zip(exact.token_ids[row], other.token_ids[row], strict=False)):
        p, q = (_log_softmax(answered.logits[step][row]) for answered in (exact, other))
        yield float((np.exp(p) * (p - q)).sum())
        if token != said:
            return


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64) - logits.max()
    found: NDArray[np.float64] = wide - np.log(np.exp(wide).sum())
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's notes, for which its module sets up the root logger when it is imported."""
    logger = logging.getLogger()
    level, handlers = logger.level, list(logger.handlers)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        logger.setLevel(level)
        logger.handlers[:] = handlers
