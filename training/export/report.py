"""What export did, in a few lines for a person. Knows nothing but the reports, which hold all of it and more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(name: str, report: Mapping[str, Any], parity: Mapping[str, Any], serving: Mapping[str, Any]) -> Iterator[str]:
    """A table of text: the graph, the drift on tensors, boxes and mAP50, each variant, and what serving is told."""
    graph = report["graph"]
    why = f" because dynamo failed with {graph['reason']}" if graph["reason"] else ""
    versions = ", ".join(f"{package} {version}" for package, version in graph["versions"].items())
    yield f"export: {name} to ONNX, {graph['exporter']}{why}, opset {graph['opset']}, {_megabytes(graph['bytes'])} ({versions})"
    for batch, drift in parity["tensors"].items():
        yield (
            f"  tensors, batch {batch:<3} boxes {drift['boxes_relative']:.1e} of the side, scores {drift['score']:.1e} "
            f"({drift['rule']})"
        )
    boxes = parity["boxes"]
    yield f"  boxes             {boxes['matched']} matched on {boxes['pictures']} pictures, least IoU {boxes['least_iou']:.6f}"
    if parity["map50"] is None:
        yield "  mAP50             not measured: no labelled pictures"
    else:
        yield f"  mAP50             torch {parity['map50']['reference']:.4f}, ONNX {parity['map50']['exported']:.4f}"
    for variant, found in report["variants"].items():
        yield f"  {variant:<17} {said(found)}"
    for graph, golden in serving["golden"].items():
        strongest = ", ".join(f"{sample['answers'][0]['score']:.2f}" for sample in golden["samples"])
        yield f"  golden samples    {graph}: strongest scores {strongest}"
    usual = serving["reference"]
    shown = f"{sum(usual['histograms']['boxes'])} pictures" if usual else "none, there are too few pictures with boxes"
    yield f"  drift reference   {shown}"


def said(found: Mapping[str, Any]) -> str:
    """What became of a variant."""
    if found["outcome"] == "not offered":
        return f"not offered: {found['reason']}"
    if found["outcome"] == "refused":
        return f"refused, fp32 and whole pictures stay: {found['reason']}"
    gate = found["gate"]
    words = [f"accepted: mAP50 {gate['before']:.4f} to {gate['after']:.4f}"]
    if "bytes" in found:
        words.append(f"{_megabytes(found['bytes']['fp32'])} to {_megabytes(found['bytes']['int8'])}")
    words += [f"{name.removesuffix('_ratio')} takes {value:.2f} of the time" for name, value in ratios(found).items()]
    return ", ".join(words)


def ratios(found: Mapping[str, Any]) -> dict[str, float]:
    """The timings that compare a variant with what it stands in for."""
    return {name: value for name, value in found["latency_ms"].items() if name.endswith("_ratio")}


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
