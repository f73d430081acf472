"""The proof that the graphs read as torch does: greedy answers equal token for token, and how far the logits are apart.

torch's side is transformers' own `generate` on the reader's model, with the PEFT adapter where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from safelight.errors import ParityError
from training.vlm.export.running import Answered, Graphs, Matrices
from training.vlm.interface import Reader

BATCHES = (1, 2, 8)
_TOGETHER = 8
_PADDED = 5  # masked places before a prompt, more with each row

Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Question:
    """What is asked of every picture. end_ids: tokens that end an answer."""

    prompt: str
    image_token_id: int
    end_ids: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Difference:
    """Where two answers part first. margin: by how much torch preferred its token to the other, in logits."""

    picture: int
    step: int
    torch_token: int
    graph_token: int
    margin: float


@dataclass(frozen=True)
class Parity:
    """pictures: how many were compared. equal: how many were read token for token alike, in every batch and padded.
    logit_difference: the largest anywhere, on steps up to the first token that differs. runs: what was compared, as (kind,
    pictures, equal)."""

    pictures: int
    tokens: int
    equal: int
    logit_difference: float
    first_difference: Difference | None
    runs: tuple[tuple[str, int, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def parity(reader: Reader, graphs: Graphs, adapter: Matrices | None, pictures: Pictures, asked: Question) -> Parity:
    """Read all pictures in batches of 8 with both, and again some of them with the graphs in batches of 1 and 2, and with
    prompts that are padded to unequal lengths."""
    expected: list[_Torch] = [row for part in _parts(pictures, _TOGETHER) for row in _torch(reader, part, asked)]
    runs = [(f"batch {size}", size, False, len(pictures) if size == _TOGETHER else 2 * _TOGETHER) for size in BATCHES]
    runs.append(("padded", _TOGETHER, True, 2 * _TOGETHER))
    differences: dict[int, Difference] = {}
    told, worst = [], 0.0
    for kind, size, padded, count in runs:
        some = range(min(count, len(pictures)))
        parted = set()
        for numbers in _parts(some, size):
            answered = _graphs(reader, graphs, adapter, [expected[i] for i in numbers], asked, padded)
            for row, i in enumerate(numbers):
                difference, off = _compare(i, expected[i], answered, row)
                worst = max(worst, off)
                if difference is not None:
                    parted.add(i)
                    differences.setdefault(i, difference)
        told.append((kind, len(some), len(some) - len(parted)))
    first = differences[min(differences)] if differences else None
    tokens = sum(len(row.token_ids) for row in expected)
    return Parity(len(pictures), tokens, len(pictures) - len(differences), worst, first, tuple(told))


def require_equal(found: Parity) -> None:
    """Raises ParityError unless all answers were equal."""
    if found.first_difference is not None or not found.pictures:
        parted = found.first_difference
        where = (
            "no picture was compared"
            if parted is None
            else (
                f"picture {parted.picture} parts at token {parted.step}, which torch preferred by {parted.margin:.3g} logits"
            )
        )
        raise ParityError(
            f"Expected answers equal to torch's on {found.pictures} pictures, got {found.equal}: {where}."
        )


T = TypeVar("T")


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@dataclass(frozen=True)
class _Torch:
    """What torch was given, and said: logits `(steps, V)`."""

    pixels: NDArray[np.float32]
    prompt_ids: list[int]
    token_ids: list[int]
    logits: NDArray[np.float32]


@torch.inference_mode()
def _torch(reader: Reader, pictures: Pictures, asked: Question) -> list[_Torch]:
    from transformers import GenerationConfig

    examples = [reader.encode(picture, asked.prompt) for picture in pictures]
    inputs = {name: torch.stack([example.inputs[name] for example in examples]) for name in examples[0].inputs}
    model: Any = reader.model
    device = next(model.parameters()).device
    training, ids = model.training, inputs["input_ids"]
    model.eval()
    try:
        made = model.generate(
            **{name: value.to(device) for name, value in inputs.items()},
            attention_mask=torch.ones_like(ids, device=device),
            generation_config=GenerationConfig(
                max_new_tokens=asked.max_new_tokens,
                do_sample=False,
                eos_token_id=list(asked.end_ids),
                pad_token_id=asked.end_ids[0],
                output_logits=True,
                return_dict_in_generate=True,
            ),
        )
    finally:
        model.train(training)
    logits = torch.stack(made.logits, dim=1).float().cpu().numpy()
    rows = []
    for i, new in enumerate(made.sequences[:, ids.shape[1] :].tolist()):
        token_ids = _until_end(new, asked.end_ids)
        pixels = inputs["pixel_values"][i].reshape(-1, *inputs["pixel_values"].shape[-3:])
        rows.append(_Torch(pixels.numpy(), ids[i].tolist(), token_ids, logits[i, : len(token_ids)]))
    return rows


def _until_end(tokens: list[int], end_ids: Sequence[int]) -> list[int]:
    ends = [i for i, token in enumerate(tokens) if token in end_ids]
    return tokens[: ends[0] + 1] if ends else tokens


def _graphs(
    reader: Reader, graphs: Graphs, adapter: Matrices | None, rows: Sequence[_Torch], asked: Question, padded: bool
) -> Answered:
    prompt_ids = rows[0].prompt_ids
    if any(row.prompt_ids != prompt_ids for row in rows) or reader.prompt_ids(asked.prompt) != prompt_ids:
        raise ParityError("Expected one prompt for all pictures, the reader made several.")
    pixels = np.concatenate([row.pixels for row in rows])
    embeds = graphs.prompts(pixels, prompt_ids, asked.image_token_id, adapter)
    mask = np.ones(embeds.shape[:2], np.int64)
    if padded:
        embeds, mask = _pad(embeds)
    return graphs.greedy(embeds, mask, asked.end_ids, asked.max_new_tokens, adapter)


def _pad(embeds: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Prompts behind masked places, in each row a different number of them; what stands there is of no consequence."""
    rows, length, hidden = embeds.shape
    width = length + _PADDED * rows
    padded, mask = np.ones((rows, width, hidden), np.float32), np.zeros((rows, width), np.int64)
    for row in range(rows):
        # Half of the masked places stand before the prompt, the others after its first token.
        before = (_PADDED * (row + 1)) // 2
        places = np.r_[before, width - length + 1 : width]
        padded[row, places], mask[row, places] = embeds[row], 1
    return padded, mask


def _compare(picture: int, expected: _Torch, answered: Answered, row: int) -> tuple[Difference | None, float]:
    """Where one picture's answers part, and how far the logits were apart until then."""
    found, off = answered.token_ids[row], 0.0
    for step, token in enumerate(expected.token_ids):
        logits = expected.logits[step]
        if step >= len(found):
            return Difference(picture, step, token, -1, 0.0), off
        off = max(off, float(np.abs(logits - answered.logits[step][row]).max()))
        if found[step] != token:
            margin = float(logits[token] - logits[found[step]])
            return Difference(picture, step, token, found[step], margin), off
    return None, off
