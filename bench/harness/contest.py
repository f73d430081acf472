"""The limit, the gateway and its peers, in turns on the same core, with the same pictures: raw runs, nothing computed.

All servers of a model run at once and wait while another is asked; each round asks every one of them, in an order that is
drawn anew, and runs the limit on the servers' core, so that noise hits all alike. Knows nothing of what the figures mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from harness import process, wire
from harness.limit import Limit
from harness.peers import PEERS, running_peer
from harness.pictures import Picture
from harness.service import Cores, Network, bundle_of, pinned, running
from harness.ways import Parcel, Way, plain_of, sealed
from safelight.sealing.ohttp import KEYS_PATH
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys

SEALED, PLAIN = "Safelight, sealed", "Safelight, plain"
_WARM_UP, _PROBE = 12, 24  # requests
_OPEN_CONNECTIONS = 32
Boxes = list[tuple[str, float, list[float]]]


@dataclass(frozen=True)
class Effort:
    """How long is measured. rounds: of `block_s` each, at saturation. connections: numbers that are tried. try_s: each of
    them. lone: requests one after the other. half_s: at half load, for the gateway and for a peer."""

    rounds: int
    block_s: float
    connections: tuple[int, ...]
    try_s: float
    lone: int
    half_s: float
    peer_half_s: float


@dataclass(frozen=True)
class Contestant:
    """A server. ways: to ask it. tree: its processes. worker: the one that holds the network. boxes: of an answer."""

    name: str
    url: str
    tree: process.Tree
    ways: Mapping[str, Way]
    boxes: Callable[[Any], Boxes]
    memory: dict[str, int] = field(default_factory=dict)

    def note_memory(self, when: str) -> None:
        """What its worker, and all of its processes, hold now; and at most so far."""
        worker = self.tree.worker()
        self.memory[f"worker_{when}_bytes"] = process.rss_bytes(worker)
        self.memory[f"all_{when}_bytes"] = self.tree.rss_bytes()
        self.memory["worker_peak_bytes"] = process.peak_bytes(worker)


@contextmanager
def contestants(
    network: Network,
    name: str,
    scratch: Path,
    cores: Cores,
    peers: Sequence[str],
    environ: Mapping[str, str] | None = None,
) -> Iterator[tuple[list[Contestant], Path]]:
    """The gateway, asked in two ways, and peers, all with the same model; and the folder of its bundle."""
    with ExitStack() as stack:
        gateway = stack.enter_context(
            running(network, scratch / "gateway", cores, names=(name,), environ=environ, aws=False)
        )
        bundle = bundle_of(gateway.folder, name)
        tree, plain = process.Tree(gateway.root), plain_of(f"/v1/detect?model={name}")
        config = decode_keys(httpx.get(gateway.url + KEYS_PATH, trust_env=False).content)[0]
        ways = {SEALED: sealed(OhttpWrapper(config), f"/v1/detect?model={name}"), PLAIN: plain}
        found = [
            Contestant(one, gateway.url, tree, {"ohttp" if one == SEALED else "raw": way}, own_boxes)
            for one, way in ways.items()
        ]
        for peer in peers:
            url, pid = stack.enter_context(running_peer(peer, bundle, scratch / peer, cores))
            found.append(Contestant(peer, url, process.Tree(pid), PEERS[peer].ways, peer_boxes))
        for one in found:
            one.note_memory("loaded")
        yield found, bundle


def own_boxes(answer: Any) -> Boxes:
    return [
        (one["class_name"], one["confidence"], [one["data"][key] for key in ("x_min", "y_min", "x_max", "y_max")])
        for one in answer["annotations"]
    ]


def peer_boxes(answer: Any) -> Boxes:
    return [(one["class_name"], one["confidence"], one["box"]) for one in answer]


def check_boxes(contestant: Contestant, picture: Picture, wanted: Boxes, tolerance: tuple[float, float]) -> int:
    """The number of boxes. Raises AssertionError unless by every way they are those of the limit, in any order of equal
    scores: within `tolerance` pixels and of score."""
    pixels, score = tolerance
    for name, way in contestant.ways.items():
        parcels = [way(picture.data) for _ in range(_WARM_UP)]
        block = wire.closed(contestant.url, [_wire(parcel) for parcel in parcels], 2)
        for got in _opened(contestant, parcels, block):
            said = f"{contestant.name} by {name}, {picture.label}"
            assert len(got) == len(wanted), f"{said}: {len(got)} boxes, the limit has {len(wanted)}"
            for one in wanted:
                near = [
                    other
                    for other in got
                    if other[0] == one[0]
                    and abs(other[1] - one[1]) <= score
                    and np.abs(np.subtract(other[2], one[2])).max() <= pixels
                ]
                assert near, f"{said}: a box of the limit is missing"
    return len(wanted)


def best_way(contestant: Contestant, picture: Picture, effort: Effort) -> tuple[str, int, list[dict[str, Any]]]:
    """The way and the number of connections by which a server answers most, with what was tried."""
    tried = []
    for name, way in contestant.ways.items():
        rate = rough_rate(contestant, way, picture, effort.connections[len(effort.connections) // 2])
        for connections in effort.connections:
            run = saturate(contestant, way, picture, connections, max(2 * connections, int(rate * effort.try_s)))
            tried.append({"way": name, "connections": connections, "requests_per_s": run["requests_per_s"]})
    best = max(tried, key=lambda one: one["requests_per_s"])
    return best["way"], best["connections"], tried


def saturate(contestant: Contestant, way: Way, picture: Picture, connections: int, count: int) -> dict[str, float]:
    """One block with every connection kept busy. Envelopes are sealed before the clock starts, answers opened after it."""
    parcels = [way(picture.data) for _ in range(count)]
    wires = [_wire(parcel) for parcel in parcels]
    cpu_s = contestant.tree.cpu_s()
    block = wire.closed(contestant.url, wires, connections)
    cpu_s = contestant.tree.cpu_s() - cpu_s
    _opened(contestant, parcels, block)
    return {"requests_per_s": round(block.per_s, 3), "cpu_ms": round(1000 * cpu_s / count, 4), "count": count}


def rounds(
    entrants: Sequence[tuple[Contestant, str, int]],
    limit: Limit,
    picture: Picture,
    effort: Effort,
    cores: Cores,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Blocks at saturation by server, and of the limit as "limit", round by round."""
    order = np.random.default_rng(seed)
    counts = {
        one.name: max(2 * n, int(rough_rate(one, one.ways[way], picture, n) * effort.block_s))
        for one, way, n in entrants
    }
    runs: dict[str, list[dict[str, Any]]] = {"limit": [], **{one.name: [] for one, _, _ in entrants}}
    for _ in range(effort.rounds):
        for turn in order.permutation(len(entrants) + 1):
            if turn == len(entrants):
                with pinned(cores.service):
                    whole = limit.run(picture.data, effort.block_s)
                    repeats = max(3, int(whole["requests_per_s"] * effort.block_s / 3))
                    runs["limit"].append(whole | {"stages_ms": limit.stages(picture.data, repeats)})
                continue
            one, way, connections = entrants[turn]
            runs[one.name].append(saturate(one, one.ways[way], picture, connections, counts[one.name]))
    return runs


def lone(contestant: Contestant, way: Way, picture: Picture, count: int) -> list[float]:
    """Milliseconds of requests one after the other."""
    parcels = [way(picture.data) for _ in range(count)]
    block = wire.closed(contestant.url, [_wire(parcel) for parcel in parcels], 1)
    _opened(contestant, parcels, block)
    return [round(answer.ms, 3) for answer in block.answers]


def at_rate(
    contestant: Contestant, way: Way, picture: Picture, per_s: float, seconds: float, poisson_seed: int | None = None
) -> dict[str, Any]:
    """Milliseconds of requests that are sent at a constant rate, or as a Poisson process, counted from when each was due."""
    count = max(4, int(per_s * seconds))
    gaps = np.full(count, 1 / per_s)
    if poisson_seed is not None:
        gaps = np.random.default_rng(poisson_seed).exponential(1 / per_s, count)
    parcels = [way(picture.data) for _ in range(count)]
    block = wire.opened(
        contestant.url, [_wire(parcel) for parcel in parcels], np.cumsum(gaps).tolist(), _OPEN_CONNECTIONS
    )
    _opened(contestant, parcels, block)
    return {
        "per_s": round(per_s, 3),
        "ms": [round(answer.ms, 3) for answer in block.answers],
        "late_p99_ms": round(float(np.quantile([answer.late_ms for answer in block.answers], 0.99)), 3),
    }


def rough_rate(contestant: Contestant, way: Way, picture: Picture, connections: int) -> float:
    """Requests a second, roughly: after some that do not count."""
    for count in (max(_WARM_UP, connections), max(_PROBE, 2 * connections)):
        block = wire.closed(contestant.url, [_wire(way(picture.data)) for _ in range(count)], connections)
        assert all(answer.status == 200 for answer in block.answers), f"{contestant.name} refuses requests"
    return block.per_s


def _wire(parcel: Parcel) -> bytes:
    return wire.request(parcel.target, parcel.headers, parcel.body)


def _opened(contestant: Contestant, parcels: Sequence[Parcel], block: wire.Block) -> list[Boxes]:
    """The boxes of every answer; raises where one is none."""
    answers = zip(parcels, block.answers, strict=True)
    return [contestant.boxes(parcel.open(answer.status, answer.media_type, answer.body)) for parcel, answer in answers]
