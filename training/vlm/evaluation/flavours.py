"""The flavours that a reader can be had in, beside one another: figures as metrics, and as a table for a document.

Knows nothing of how they are loaded or asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.tables import markdown
from training.vlm.evaluation.figures import figures
from training.vlm.evaluation.reading import Reading
from training.vlm.evaluation.speed import Spent

NAMES = {
    "adapter": "adapter (PEFT on its base, torch)",
    "merged": "merged (safetensors, torch)",
    "onnx": "ONNX, fp32 (engine)",
    "int8": "ONNX, int8 decoder (engine)",
}
_DIGITS = 3


@dataclass(frozen=True)
class Way:
    """How a flavour was asked: `plain` or `constrained`. readings: of all pictures, read together."""

    alone: Spent
    together: Spent
    readings: Sequence[Reading]


@dataclass(frozen=True)
class Flavour:
    """own_bytes: of the files that are this reader's. shared_bytes: of those that it shares with others on its base, None
    where the base does not lie in files here. seconds: libraries imported, files opened. peak_bytes: resident, at most."""

    own_bytes: int
    shared_bytes: int | None
    libraries_s: float
    load_s: float
    peak_bytes: int
    ways: Mapping[str, Way]


def flavour_figures(flavour: Flavour, fields: Sequence[str]) -> dict[str, Any]:
    """As the metrics have them; shares with Wilson's interval."""
    return {
        "bytes": {"own": flavour.own_bytes, "shared": flavour.shared_bytes},
        "libraries_s": round(flavour.libraries_s, _DIGITS),
        "load_s": round(flavour.load_s, _DIGITS),
        "peak_bytes": flavour.peak_bytes,
        **{
            name: {
                "alone": way.alone.figures(),
                "together": way.together.figures(),
                **{key: figures(way.readings, fields, 0, 0)[key] for key in ("exact", "valid")},
            }
            for name, way in flavour.ways.items()
        },
    }


def table(measured: Mapping[str, Any]) -> str:
    """Markdown: a row for each flavour and way that it was asked in. measured: `flavours` of the metrics, where one that
    there is not has its `reason`."""
    together = f"{measured['rows']} together"
    head = ["flavour", "decoding", "files: own + shared", "load (libraries + files)", "peak memory", "alone: s/picture"]
    rows: list[Sequence[str]] = [[*head, "tokens/s", f"{together}: s/picture", "tokens/s", "exact match"]]
    for kind, one in measured["flavours"].items():
        if "reason" in one:
            rows.append((NAMES[kind], one["reason"], *[""] * 8))
            continue
        files, load = _files(one["bytes"]), f"{one['libraries_s']:.1f} + {one['load_s']:.1f} s"
        for way in ("plain", "constrained"):
            if way in one:
                speeds = [text for when in ("alone", "together") for text in _speed(one[way][when])]
                said = (NAMES[kind], way, files, load, f"{one['peak_bytes'] / 2**20:.0f} MiB")
                rows.append((*said, *speeds, _exact(one[way]["exact"])))
    return markdown(rows)


def conditions(measured: Mapping[str, Any]) -> str:
    """What a table was measured on, in a sentence."""
    return (
        f"{measured['pictures']} test pictures, of which {measured['timed']} alone; {measured['threads']} threads on "
        f"{measured['processor']}; each flavour in a process of its own."
    )


def _files(sizes: Mapping[str, Any]) -> str:
    shared = "base elsewhere" if sizes["shared"] is None else f"{sizes['shared'] / 1e6:.1f} MB"
    return f"{sizes['own'] / 1e6:.1f} MB" + ("" if sizes["shared"] == 0 else f" + {shared}")


def _speed(figure: Mapping[str, Any]) -> tuple[str, str]:
    return f"{figure['seconds_per_picture']:.2f}", f"{figure['tokens_per_second']:.0f}"


def _exact(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
