"""A graph's bytes as a function: opened by ONNX Runtime, checked against the manifest, run once.

Knows nothing of bundles on disk: the bytes are those that were verified, and no path is ever opened. What the outputs mean
is known to `safelight.heads`, where the graph runs to `serving.models.providers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from safelight.bundle import Manifest, Tensor
from safelight.errors import ManifestInvalid, ModelUnavailable
from safelight.heads import Adapter, Answer, Given, Output, adapter_of
from serving.models.inputs import Feed, feed_of
from serving.models.providers import ELEMENT_TYPES, ProviderName, open_session

Ask = Callable[[NDArray[np.float32], ort.RunOptions], Answer]


class Network:
    """A `Run` (`safelight.postprocess`) that can be ended while it runs. May be called from several threads."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._under_way: set[ort.RunOptions] = set()

    def __call__(self, batch: NDArray[np.float32]) -> Answer:
        """`(B, 3, S, S)` float32 in [0, 1] to boxes `(B, A, 4)` xyxy input pixels and scores `(B, A, C)` in [0, 1].

        Raises ModelUnavailable when `terminate` ended it, and what ONNX Runtime raises.
        """
        options = ort.RunOptions()
        self._under_way.add(options)
        try:
            return self._ask(batch, options)
        except Exception:
            if options.terminate:
                raise ModelUnavailable("The model was stopped before it had answered.") from None
            raise
        finally:
            self._under_way.discard(options)

    def terminate(self) -> None:
        """End every run under way with an error, as soon as the operator that it is at is done; later ones are not touched.

        From any thread. An operator is never cut short, so that a run takes as long as its slowest one to end.
        """
        for options in tuple(self._under_way):
            options.terminate = True


def open_network(
    manifest: Manifest, graph: bytes, *, threads: int, provider: ProviderName, warm_batches: Sequence[int]
) -> Network:
    """The network of a verified bundle, warmed with black pictures at the given batch sizes.

    threads: within one run, 0 for one a core. Raises ConfigError when the provider cannot be had, ManifestInvalid when the
    graph does not load, is not what the manifest says, has a layout that its head does not know, or does not answer
    `(B, A, 4)` finite boxes and `(B, A, classes)` scores in [0, 1].
    """
    session = open_session(graph, threads=threads, provider=provider)
    side, classes = manifest.preprocessing().input_size, len(manifest.labels)
    plain = manifest.head == "boxes-scores"
    (image,) = _agreed("input", (manifest.input,), session.get_inputs(), all_of_them=True)
    outputs = _agreed("output", manifest.outputs, session.get_outputs(), all_of_them=plain)
    feed = feed_of(image, side)
    adapter = adapter_of(manifest.head, outputs, Given(classes, side, manifest.anchors))
    ask = _asking(session, feed, adapter)
    for size in sorted({min(size, 2) if feed.one_by_one else size for size in warm_batches}):
        _check_answer(_asking(session, feed, adapter, bounded=False), size, side, classes)
    return Network(ask)


def _asking(session: ort.InferenceSession, feed: Feed, adapter: Adapter, bounded: bool = True) -> Ask:
    """The way from a batch to its answer that costs least: a graph of ours is asked directly."""
    names, name = list(adapter.names), feed.name
    adapt = adapter if bounded else adapter.unbounded

    def directly(batch: NDArray[np.float32], options: ort.RunOptions) -> Answer:
        boxes, scores = session.run(names, {name: batch}, options)
        return boxes, scores

    def adapted(batch: NDArray[np.float32], options: ort.RunOptions) -> Answer:
        return adapt(session.run(names, {name: feed.cast(batch)}, options), len(batch))

    def one_by_one(batch: NDArray[np.float32], options: ort.RunOptions) -> Answer:
        answers = [run(batch[i : i + 1], options) for i in range(len(batch))]
        boxes, scores = zip(*answers, strict=True)
        return np.concatenate(boxes), np.concatenate(scores)

    run = directly if adapter.plain and feed.plain else adapted
    return one_by_one if feed.one_by_one else run


def _agreed(kind: str, promised: Sequence[Tensor], found: Sequence[ort.NodeArg], *, all_of_them: bool) -> list[Output]:
    """What manifest and graph say together: a dimension is free where it is in both.

    Raises ManifestInvalid unless names, types and fixed dimensions agree.
    """
    have = {node.name: node for node in found}
    names = [tensor.name for tensor in promised]
    if len(set(names)) != len(names) or not set(names) <= set(have) or (all_of_them and set(names) != set(have)):
        raise ManifestInvalid(f"The graph's {kind}s are not those in the manifest: {sorted(names)}.")
    return [_agreement(kind, tensor, have[tensor.name]) for tensor in promised]


def _agreement(kind: str, tensor: Tensor, node: ort.NodeArg) -> Output:
    if ELEMENT_TYPES.get(node.type) != tensor.dtype:
        raise ManifestInvalid(f"The graph's {kind} {tensor.name} is not of the type in the manifest: {tensor.dtype}.")
    pairs = [(_fixed(a), _fixed(b)) for a, b in zip(tensor.shape, node.shape, strict=False)]
    if len(tensor.shape) != len(node.shape) or any(a is not None and b is not None and a != b for a, b in pairs):
        raise ManifestInvalid(f"The graph's {kind} {tensor.name} does not have the shape that the manifest gives.")
    return Output(tensor.name, tensor.dtype, tuple(b if a is None else a for a, b in pairs))


def _fixed(dimension: int | str | None) -> int | None:
    return dimension if isinstance(dimension, int) else None


def _check_answer(ask: Ask, batch: int, side: int, classes: int) -> None:
    try:
        boxes, scores = ask(np.zeros((batch, 3, side, side), np.float32), ort.RunOptions())
    except ManifestInvalid:
        raise
    except Exception:  # ONNX Runtime raises a class of its own for each kind of failure, numpy others
        raise ManifestInvalid(f"The graph does not run on a batch of {batch} black pictures.") from None
    anchors = boxes.shape[1:2]
    if boxes.shape != (batch, *anchors, 4) or scores.shape != (batch, *anchors, classes):
        raise ManifestInvalid(f"Expected boxes ({batch}, A, 4) and scores ({batch}, A, {classes}) from the graph.")
    if not (np.isfinite(boxes).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise ManifestInvalid("Expected finite boxes and scores in [0, 1] from the graph.")
