"""The gateway, its limit and its peers as a picture, drawn from the very numbers in results.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.contest import PLAIN, SEALED
from harness.figure import STYLE
from harness.verdict import OF_LIMIT

COLOURS = {
    SEALED: "#0072B2",
    PLAIN: "#56B4E9",
    "LitServe": "#D55E00",
    "FastAPI": "#009E73",
    "MLflow": "#CC79A7",
    "BentoML": "#E69F00",
}
"""Okabe & Ito's colours, which colour-blind readers tell apart."""
_BAR = 0.13
Value = Callable[[Mapping[str, Any]], float]


def draw(measured: Mapping[str, Any], path: Path) -> None:
    """Images a second against the limit, processor time beyond the work itself, and latency at half load, as a PNG."""
    parts = {
        model.replace("-", "-\n") + f"\n{label}": part["figures"]["servers"]
        for model, of_model in measured["models"].items()
        for label, part in of_model["pictures"].items()
    }
    contested = {place: servers for place, servers in parts.items() if len(servers) > 3}
    with plt.rc_context(STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 5), width_ratios=(1.25, 1, 1))
        _bars(left, parts, lambda one: one["to_limit"]["value"])
        left.axhline(1, color="#888888", lw=1)
        left.axhline(OF_LIMIT, color="#222222", lw=1, ls=(0, (4, 3)))
        left.annotate(f"goal\n{OF_LIMIT:g}", (1, OF_LIMIT), (3, 0), xycoords=("axes fraction", "data"), va="center",
                      textcoords="offset points", fontsize=8.5, color="#222222")  # fmt: skip
        left.set_title("Images per second, to the limit's")
        _bars(middle, contested, lambda one: one["beyond_decode_and_inference_ms"])
        middle.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ms"))
        middle.set_title("Processor time beyond decode and inference")
        _latency(right, contested)
        handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()]
        figure.legend(handles, list(COLOURS), loc="lower center", ncol=6, frameon=False, fontsize=9.5)
        figure.text(0.008, 0.975, _caption(measured), va="top", color="#444444")
        figure.tight_layout(rect=(0, 0.06, 1, 0.94), w_pad=2.5)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _caption(measured: Mapping[str, Any]) -> str:
    machine = measured["machine"]
    return (
        "Safelight sealed and plain, and what a user would pick instead, unsealed: the same graph and pictures, one core, load "
        f"on another ({machine['processor']}), {measured['measured']}"
    )


def _bars(axes: Axes, parts: Mapping[str, Mapping[str, Any]], value: Value) -> None:
    for at, servers in enumerate(parts.values()):
        for place, (name, one) in _places(at, servers):
            axes.bar(place, value(one), 0.92 * _BAR, color=COLOURS[name])
    axes.set_xticks(range(len(parts)), list(parts))
    axes.tick_params(axis="x", length=0)


def _latency(axes: Axes, parts: Mapping[str, Mapping[str, Any]]) -> None:
    for at, servers in enumerate(parts.values()):
        for place, (name, one) in _places(at, servers):
            p50, p99 = one["half_constant_p50_ms"], one["half_constant_p99_ms"]
            axes.vlines(place, p50, p99, color=COLOURS[name], lw=2)
            axes.plot(place, p50, "o", ms=5.5, color=COLOURS[name])
            axes.plot(place, p99, "_", ms=8, mew=2, color=COLOURS[name])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ms"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(parts)), list(parts))
    axes.set_title("Latency at half load: p50 to p99")


def _places(at: int, servers: Mapping[str, Any]) -> list[tuple[float, tuple[str, Any]]]:
    shown = [(name, one) for name, one in servers.items() if name != "limit"]
    return [(at + _BAR * (index - (len(shown) - 1) / 2), one) for index, one in enumerate(shown)]
