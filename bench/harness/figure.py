"""The results as a picture, drawn from the very numbers in results.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

NAMES = {
    "plain": ("plain", "#888888"),
    "ohttp": ("Oblivious HTTP", "#0072B2"),
    "ohttp-chunked": ("Oblivious HTTP, chunked", "#009E73"),
    "aws-encryption-sdk": ("AWS Encryption SDK", "#D55E00"),
    "aws-encryption-sdk-rsa": ("AWS Encryption SDK, RSA", "#E69F00"),
    "ohttp-mlkem768": ("Oblivious HTTP, ML-KEM-768 + X25519", "#CC79A7"),
}
"""Label and colour of each way; Okabe & Ito's colours, which colour-blind readers tell apart."""
GOAL, GOAL_AT = 1.05, "200 kB"
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelcolor": "#444444",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.edgecolor": "#999999",
    "font.size": 9.5,
}


def draw(measured: Mapping[str, Any], path: Path) -> None:
    """Latency against plain, latency itself, and what opening costs, side by side, as a PNG."""
    network, by_picture = next(iter(measured["networks"].items()))
    with plt.rc_context(STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.6))
        _against_plain(left, by_picture)
        _latency(middle, by_picture)
        _opening(right, measured)
        legends = [axes.get_legend_handles_labels() for axes in (middle, right)]
        handles = {text: handle for legend in legends for handle, text in zip(*legend, strict=True)}
        figure.legend(
            handles.values(), handles.keys(), loc="lower center", ncol=6, frameon=False, fontsize=9, columnspacing=1.4
        )
        machine = measured["machine"]
        figure.text(
            0.008, 0.975,
            f"Sealed against plain requests: {network} on {machine['service_cores']} core, load on "
            f"{machine['load_cores']} other ({machine['processor']}), {measured['measured']}",
            va="top", color="#444444",
        )  # fmt: skip
        figure.tight_layout(rect=(0, 0.07, 1, 0.94), w_pad=3)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _against_plain(axes: Axes, by_picture: Mapping[str, Any]) -> None:
    ways = [way for way in next(iter(by_picture.values())) if way != "plain"]
    for index, way in enumerate(ways):
        ratios = [by_way[way]["to_plain"]["p50"] for by_way in by_picture.values()]
        places = [at + 0.18 * (index - (len(ways) - 1) / 2) for at in range(len(ratios))]
        values = [100 * (one["value"] - 1) for one in ratios]
        spans = [
            [100 * (one["value"] - one["low"]) for one in ratios],
            [100 * (one["high"] - one["value"]) for one in ratios],
        ]
        axes.errorbar(places, values, spans, fmt="o", ms=6, lw=2, capsize=0, color=NAMES[way][1])
    at = list(by_picture).index(GOAL_AT)
    axes.plot([at - 0.45, at + 0.45], [100 * (GOAL - 1)] * 2, color="#222222", lw=1.5)
    axes.annotate("goal", (at + 0.45, 100 * (GOAL - 1)), (3, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.axhline(0, color="#888888", lw=1)
    axes.set_xticks(range(len(by_picture)), list(by_picture))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.0f} %" if value else "0 %"))
    axes.set(title="Latency (p50) beyond plain, 95 % interval", xlabel="picture")


def _latency(axes: Axes, by_picture: Mapping[str, Any]) -> None:
    ways = list(next(iter(by_picture.values())))
    for index, way in enumerate(ways):
        places = [at + 0.15 * (index - (len(ways) - 1) / 2) for at in range(len(by_picture))]
        p50 = [by_way[way]["p50_ms"] for by_way in by_picture.values()]
        p95 = [by_way[way]["p95_ms"] for by_way in by_picture.values()]
        axes.vlines(places, p50, p95, color=NAMES[way][1], lw=2)
        axes.plot(places, p50, "o", ms=6, color=NAMES[way][1], label=NAMES[way][0])
        axes.plot(places, p95, "_", ms=8, mew=2, color=NAMES[way][1])
    axes.set_yscale("log")
    axes.set_xticks(range(len(by_picture)), list(by_picture))
    _milliseconds(axes)
    axes.set(title="Latency of a lone request: p50 to p95", xlabel="picture")


def _opening(axes: Axes, measured: Mapping[str, Any]) -> None:
    sizes = [one["bytes"] for one in measured["pictures"].values()]
    for way, by_picture in measured["parts"]["processor_ms"].items():
        values = [one["open_ms"] for one in by_picture.values()]
        axes.plot(sizes, values, "o-", ms=5, lw=2, color=NAMES[way][1], label=NAMES[way][0])
    axes.set(xscale="log", yscale="log", title="Processor time to open an envelope", xlabel="picture")
    axes.set_xticks(sizes, list(measured["pictures"]))
    axes.xaxis.set_minor_locator(NullLocator())
    _milliseconds(axes)


def _milliseconds(axes: Axes) -> None:
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ms"))
    axes.yaxis.set_minor_formatter(NullFormatter())
