"""A graph that was made elsewhere: what a manifest says of it, found by opening it as the service does and running it.

Knows nothing of bundles, names and champions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from safelight.bundle import Tensor
from safelight.errors import ConfigError, ManifestInvalid
from safelight.heads import Anchors, Given, HeadName, Output, adapter_of
from serving.models.inputs import CHANNELS, Feed, feed_of
from serving.models.providers import ELEMENT_TYPES, open_session

BATCH, FREE = "batch", "free"
_LOOKED_AT = 100  # of the strongest boxes
_PARTS = 2  # boxes in parts of the side seldom reach further
_OUTSIDE = 0.5  # how far beyond the input a box may reach, as a part of its side, before its unit is doubted


@dataclass(frozen=True)
class Foreign:
    """input, outputs: as a manifest describes them; of the outputs those that the head needs."""

    input: Tensor
    outputs: tuple[Tensor, ...]


def check_whole(graph: bytes) -> None:
    """Raises ManifestInvalid unless the bytes are a model that needs no other file.

    ONNX's checker is not asked: it refuses what usual converters to half precision write, which ONNX Runtime takes.
    """
    try:
        tensors = onnx.load_from_string(graph).graph.initializer
    except Exception:  # protobuf raises classes of its own
        raise ManifestInvalid("The file is no well-formed ONNX model.") from None
    if any(tensor.external_data for tensor in tensors):
        raise ManifestInvalid("The model keeps its weights in another file: save it as one, without external data.")


def input_of(graph: bytes, side: int, channels: str | None) -> Tensor:
    """The graph's only input, for squares of `side` pixels. channels: `first` or `last` where the graph does not say.

    Raises ManifestInvalid when the graph wants anything but one batch of pictures.
    """
    found = open_session(graph, threads=0, provider="cpu").get_inputs()
    if len(found) != 1:
        raise ManifestInvalid(f"Expected one input, got {len(found)}: {', '.join(node.name for node in found)}.")
    node = found[0]
    if channels not in (None, "first", "last"):
        raise ConfigError(f"channels: expected first or last, got {channels!r}.")
    fixed = tuple(d if isinstance(d, int) else None for d in node.shape)
    if channels is not None and len(fixed) == 4:
        axis = 1 if channels == "first" else 3
        fixed = tuple(CHANNELS if i == axis and d is None else d for i, d in enumerate(fixed))
    output = Output(node.name, ELEMENT_TYPES.get(node.type, node.type), fixed)
    feed_of(output, side)  # of the last three dimensions it leaves none open but the sides
    return Tensor(
        name=node.name,
        dtype=output.dtype,  # type: ignore[arg-type]  # one that can be fed
        shape=(BATCH if fixed[0] is None else 1, *(side if d is None else d for d in fixed[1:])),
    )


def look_at(
    graph: bytes,
    image: Tensor,
    head: HeadName,
    given: Given,
    pictures: NDArray[np.float32],
) -> Foreign:
    """Run the graph on pictures `(B, 3, S, S)` in [0, 1] and on black ones, and read its outputs as `head` says.

    Raises ManifestInvalid when they do not fit, when scores leave [0, 1], or when boxes are clearly no input pixels.
    """
    session = open_session(graph, threads=0, provider="cpu")
    feed = feed_of(_as_output(image), given.input_size)
    batches = _batches(pictures, feed.one_by_one)  # the pictures by themselves come first
    answers = [_run(session, feed, batch) for batch in batches]
    declared = {node.name: node for node in session.get_outputs() if node.type in ELEMENT_TYPES}
    tensors = tuple(
        Tensor(
            name=name,
            dtype=ELEMENT_TYPES[node.type],  # type: ignore[arg-type]  # of the types above
            shape=_shape(node.shape, [answer[name].shape for answer in answers], [len(b) for b in batches]),
        )
        for name, node in declared.items()
    )
    adapter = adapter_of(head, [_as_output(tensor) for tensor in tensors], given)
    for number, (batch, answer) in enumerate(zip(batches, answers, strict=True)):
        outputs = [answer[name].copy() for name in adapter.names]
        boxes, scores = adapter.unbounded(outputs, len(batch))
        _check_numbers(boxes, scores)
        if number < len(pictures):
            _check_places(boxes, scores, given.input_size)
    kept = set(adapter.names)
    return Foreign(image, tuple(tensor for tensor in tensors if tensor.name in kept))


def _as_output(tensor: Tensor) -> Output:
    return Output(tensor.name, tensor.dtype, tuple(d if isinstance(d, int) else None for d in tensor.shape))


def _batches(pictures: NDArray[np.float32], one_by_one: bool) -> list[NDArray[np.float32]]:
    """Batches that tell dimensions apart which follow from the batch, from the picture, or from neither."""
    black = np.zeros_like(pictures[:1])
    alone = [pictures[i : i + 1] for i in range(len(pictures))]
    together = [] if one_by_one else [np.concatenate([pictures, black, black])]
    return [*alone, black, *together]


def _run(session: ort.InferenceSession, feed: Feed, batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    names = [node.name for node in session.get_outputs() if node.type in ELEMENT_TYPES]
    try:
        return dict(zip(names, session.run(names, {feed.name: feed.cast(batch)}), strict=True))
    except Exception:  # ONNX Runtime raises a class of its own for each kind of failure
        raise ManifestInvalid(f"The graph does not run on {len(batch)} pictures of this size.") from None


def _shape(declared: Sequence[Any], found: Sequence[tuple[int, ...]], batches: Sequence[int]) -> tuple[int | str, ...]:
    """Each dimension: as the graph gives it, or the size that it always had, or a name."""
    sizes: list[int | str] = []
    for axis, given in enumerate(declared):
        seen = [shape[axis] for shape in found]
        if isinstance(given, int):
            sizes.append(given)
        elif axis == 0 and seen == list(batches) and len(set(batches)) > 1:
            sizes.append(BATCH)
        else:
            sizes.append(seen[0] if len(set(seen)) == 1 else FREE)
    return tuple(sizes)


def _check_numbers(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ManifestInvalid("Expected finite boxes and scores from the graph.")
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise ManifestInvalid(
            f"Expected scores in [0, 1], got {scores.min():.3g} to {scores.max():.3g}: it is another head, or the graph "
            "lacks its last activation."
        )


def _check_places(boxes: NDArray[np.float32], scores: NDArray[np.float32], side: int) -> None:
    """Whether the strongest boxes of a picture are in pixels of the input, as far as can be told."""
    best = scores[0].max(axis=1, initial=0)
    strongest = np.argsort(-best)[:_LOOKED_AT]
    seen = boxes[0][strongest[best[strongest] > 0]]
    if not len(seen):
        return
    if np.abs(seen).max() <= _PARTS:
        raise ManifestInvalid(
            f"Expected boxes in input pixels, got none beyond {_PARTS}: they look like parts of the side."
        )
    low, high = np.median(seen.min(axis=1)), np.median(seen.max(axis=1))
    if low < -_OUTSIDE * side or high > (1 + _OUTSIDE) * side:
        raise ManifestInvalid(f"Expected boxes in pixels of an input of {side}; most of them lie far outside of it.")


def anchors_of(values: Sequence[Sequence[Sequence[float]]] | None) -> Anchors | None:
    """Anchors as a configuration gives them. Raises ConfigError when they are not pairs in lists."""
    if values is None:
        return None
    try:
        return tuple(tuple((float(w), float(h)) for w, h in group) for group in values)
    except (TypeError, ValueError):
        raise ConfigError(
            "anchors: expected [[[width, height], ...], ...], a list for each map, the finest first."
        ) from None
