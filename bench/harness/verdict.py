"""From the raw runs of a contest to what is said of them: medians, ratios and their intervals, and whether a goal holds.

Knows nothing of how anything was measured. Every figure follows from the runs beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.contest import PLAIN, SEALED
from harness.starts import EMPTY, GATEWAY
from harness.statistics import quantile, quotient, ratio

OF_LIMIT, OF_LONE, OF_PEER, START_S = 0.85, 3.0, 0.5, 1.0
"""The goals: throughput to the limit's, p99 at half load to a lone request, processor time beyond decode and inference to
the best peer's, seconds to start beyond an empty service."""


def figures(part: Mapping[str, Any]) -> dict[str, Any]:
    """Of one model and picture: by server, and of the gateway against its peers."""
    runs = part["runs"]
    by_server = {name: _server(name, part) for name in runs}
    peers = [name for name in runs if name not in ("limit", SEALED, PLAIN)]
    if not peers:
        return {"servers": by_server}
    return {"servers": by_server, "against_peers": {name: _against(runs, name) for name in peers}} | {
        "quickest_peer": max(peers, key=lambda name: by_server[name]["requests_per_s"]),
        "leanest_peer": min(peers, key=lambda name: by_server[name]["beyond_decode_and_inference_ms"]),
    }


def _server(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    runs, limit = part["runs"][name], part["runs"]["limit"]
    found = {
        "requests_per_s": round(_median(runs, "requests_per_s"), 3),
        "cpu_ms": round(_median(runs, "cpu_ms"), 3),
        "to_limit": asdict(ratio(_all(runs, "requests_per_s"), _all(limit, "requests_per_s"), 0.5)),
        "to_limit_by_cpu": asdict(ratio(_all(limit, "cpu_ms"), _all(runs, "cpu_ms"), 0.5)),
        "beyond_decode_and_inference_ms": round(quantile(_beyond(runs, limit), 0.5), 3),
        "beyond_limit_ms": round(quantile(_beyond_limit(runs, limit), 0.5), 3),
    }
    if name in part["lone_ms"]:
        alone, half = part["lone_ms"][name], part["half_load"][name]
        found["lone_p50_ms"] = round(quantile(alone, 0.5), 3)
        for kind, one in half.items():
            found[f"half_{kind}_p50_ms"], found[f"half_{kind}_p99_ms"] = (
                round(quantile(one["ms"], q), 3) for q in (0.5, 0.99)
            )
            found[f"half_{kind}_p99_to_lone"] = asdict(quotient(one["ms"], 0.99, alone, 0.5))
    return found


def _against(runs: Mapping[str, Any], peer: str) -> dict[str, Any]:
    own, other, limit = runs[SEALED], runs[peer], runs["limit"]
    beyond = {
        "beyond_decode_and_inference": (_beyond(own, limit), _beyond(other, limit)),
        "beyond_limit": (_beyond_limit(own, limit), _beyond_limit(other, limit)),
    }
    return {"requests_per_s": asdict(ratio(_all(own, "requests_per_s"), _all(other, "requests_per_s"), 0.5))} | {
        name: asdict(ratio(mine, theirs, 0.5)) if min(theirs) > 0 else None for name, (mine, theirs) in beyond.items()
    }


def goals(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each line that is to hold, with its figure, its bound and whether it holds, as the issue of it is worded."""
    found = []
    for model, of_model in measured["models"].items():
        for label, part in of_model["pictures"].items():
            said, where = part["figures"], f"{model}, {label}"
            sealed = said["servers"][SEALED]
            if model != TWO_MS:
                found.append(
                    _goal("images per second, to the limit", where, sealed["to_limit"]["value"], OF_LIMIT, least=True)
                )
            if "half_constant_p99_to_lone" in sealed:
                value = sealed["half_constant_p99_to_lone"]["value"]
                found.append(_goal("p99 at half load, to a lone request", where, value, OF_LONE))
            if "quickest_peer" not in said:
                continue
            quickest, leanest = said["quickest_peer"], said["leanest_peer"]
            value = said["against_peers"][quickest]["requests_per_s"]["value"]
            found.append(_goal(f"images per second, to {quickest}'s", where, value, 1.0, least=True))
            lean = said["against_peers"][leanest]["beyond_decode_and_inference"]
            if lean is not None:
                name = f"processor time beyond decode and inference, to {leanest}'s"
                found.append(_goal(name, where, lean["value"], OF_PEER))
    return [*found, _start(measured["start"])]


TWO_MS = "2 ms"


def _start(start: Mapping[str, Any]) -> dict[str, Any]:
    return _goal("seconds to start, beyond an empty BentoML service", start["models"], start["added_s"], START_S)


def start_figures(seconds: Mapping[str, list[float]], models: str) -> dict[str, Any]:
    """Medians of starts, and what the gateway's takes longer than the empty service's beside it."""
    pairs = zip(seconds[GATEWAY], seconds[EMPTY], strict=True)
    added = quantile([own - empty for own, empty in pairs], 0.5)
    medians = {name: round(quantile(values, 0.5), 3) for name, values in seconds.items()}
    return {"models": models, "median_s": medians, "added_s": round(added, 3), "runs_s": dict(seconds)}


def _goal(what: str, where: str, value: float, bound: float, *, least: bool = False) -> dict[str, Any]:
    holds = value >= bound if least else value <= bound
    return {"what": what, "where": where, "value": value, "bound": bound, "at_least": least, "holds": holds}


def _beyond(runs: list[Any], limit: list[Any]) -> list[float]:
    """Processor milliseconds of a request beyond decoding (with Pillow, for all alike) and inference, round by round."""
    stages = [one["stages_ms"] for one in limit]
    return [run["cpu_ms"] - of["pillow"] - of["infer"] for run, of in zip(runs, stages, strict=True)]


def _beyond_limit(runs: list[Any], limit: list[Any]) -> list[float]:
    """Processor milliseconds of a request beyond the whole limit."""
    return [run["cpu_ms"] - whole["cpu_ms"] for run, whole in zip(runs, limit, strict=True)]


def _all(runs: list[Any], key: str) -> list[float]:
    return [run[key] for run in runs]


def _median(runs: list[Any], key: str) -> float:
    return quantile(_all(runs, key), 0.5)
