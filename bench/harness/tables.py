"""What docs/performance.md says of the figures, as Markdown, each table between its marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.contest import SEALED
from training.evaluation.tables import markdown, put_table


def write_tables(measured: Mapping[str, Any], document: Path) -> None:
    """Put the tables where the document has marks for them."""
    for name, table in tables(measured).items():
        put_table(document, f"serving, {name}: written by make bench", table)


def tables(measured: Mapping[str, Any]) -> dict[str, str]:
    """By the mark that each stands behind."""
    return {
        "goals": _goals(measured),
        "throughput": _throughput(measured),
        "latency": _latency(measured),
        "memory": _memory(measured),
    }


def _goals(measured: Mapping[str, Any]) -> str:
    rows = [("what", "where", "measured", "goal", "holds")]
    for goal in measured["goals"]:
        bound = f"at {'least' if goal['at_least'] else 'most'} {goal['bound']:g}"
        rows.append((goal["what"], goal["where"], f"{goal['value']:.3g}", bound, "yes" if goal["holds"] else "**no**"))
    return markdown(rows)


def _throughput(measured: Mapping[str, Any]) -> str:
    head = "model", "picture", "server", "asked by", "images/s", "to the limit"
    rows = [(*head, "CPU", "to the limit by CPU", "beyond decode + inference", "beyond the limit")]
    for model, label, part, ways in _parts(measured):
        for name, one in part["figures"]["servers"].items():
            beyond = f"{one['cpu_ms']:.2f} ms", f"{one['beyond_decode_and_inference_ms']:.2f} ms"
            said = model, label, name
            if name == "limit":
                rows.append((*said, "", f"{one['requests_per_s']:.1f}", "", beyond[0], "", beyond[1], ""))
                continue
            asked, to = f"{ways[name]['way']}, {ways[name]['connections']}", one["to_limit"]
            compared = f"{to['value']:.2f} ({to['low']:.2f} to {to['high']:.2f})"
            by_cpu = f"{one['to_limit_by_cpu']['value']:.2f}"
            figures = (
                f"{one['requests_per_s']:.1f}",
                compared,
                beyond[0],
                by_cpu,
                beyond[1],
                f"{one['beyond_limit_ms']:.2f} ms",
            )
            rows.append((*said, asked, *figures))
    return markdown(rows)


def _latency(measured: Mapping[str, Any]) -> str:
    rows = [("model", "picture", "server", "lone p50", "half load p50", "half load p99", "p99 to lone", "Poisson p99")]
    for model, label, part, _ in _parts(measured):
        for name, one in part["figures"]["servers"].items():
            if name == "limit":
                continue
            to = one["half_constant_p99_to_lone"]
            poisson = f"{one['half_poisson_p99_ms']:.1f} ms" if name == SEALED else ""
            times = [f"{one[key]:.1f} ms" for key in ("lone_p50_ms", "half_constant_p50_ms", "half_constant_p99_ms")]
            rows.append(
                (model, label, name, *times, f"{to['value']:.2f} ({to['low']:.2f} to {to['high']:.2f})", poisson)
            )
    return markdown(rows)


def _memory(measured: Mapping[str, Any]) -> str:
    rows = [("model", "server", "worker, loaded", "worker, after the load", "worker, at most", "all processes")]
    for model, of_model in measured["models"].items():
        for name, one in of_model["memory"].items():
            keys = (
                "worker_loaded_bytes",
                "worker_loaded_and_used_bytes",
                "worker_peak_bytes",
                "all_loaded_and_used_bytes",
            )
            rows.append((model, name, *(f"{one[key] / 2**20:.0f} MiB" for key in keys)))
    start = measured["start"]
    medians = ", ".join(f"{name} {value:.2f} s" for name, value in start["median_s"].items())
    return f"{markdown(rows)}\n\nFrom exec to the first 200 of /readyz ({start['models']}): {medians}."


def _parts(measured: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
    return [
        (model, label, part, of_model["ways"])
        for model, of_model in measured["models"].items()
        for label, part in of_model["pictures"].items()
    ]
