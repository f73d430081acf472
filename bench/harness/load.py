"""Timed requests: one at a time for latency, several connections for throughput. Knows nothing of sealing."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from harness.service import Service
from harness.ways import Parcel, Way

_TIMEOUT_S = 60.0
_WARM_UP = 4  # rounds: the batcher gets to know the network, threads are started


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one request. seal, open: the client's work. serve: from the first byte sent to the last received."""

    seal: float
    serve: float
    open: float


class Connection:
    """One connection that is kept open, to a service on this machine."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)

    def post(self, parcel: Parcel) -> tuple[int, str, bytes]:
        """(status, media type, body)"""
        self._http.request("POST", parcel.target, body=parcel.body, headers=dict(parcel.headers))
        answer = self._http.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()

    def close(self) -> None:
        self._http.close()


def latencies(
    service: Service, ways: Mapping[str, Way], picture: bytes, rounds: int, seed: int
) -> dict[str, list[Timing]]:
    """Lone requests, `rounds` by each way, all ways in turn and in another order each round, after some that do not count.

    Every answer has to be the same.
    """
    connection = Connection(service.url)
    order = np.random.default_rng(seed)
    times: dict[str, list[Timing]] = {name: [] for name in ways}
    boxes: set[str] = set()
    for number in range(-_WARM_UP, rounds):
        for name in order.permutation(list(ways)):
            timing, answer = _one(connection, ways[name], picture)
            boxes.add(str(answer["annotations"]))
            if number >= 0:
                times[name].append(timing)
    connection.close()
    assert len(boxes) == 1, "the ways do not give the same boxes"
    return times


def throughput(service: Service, way: Way, picture: bytes, requests: int, connections: int) -> dict[str, float]:
    """Requests a second over several connections, each with its next request ready, and the worker's processor time.

    Envelopes are sealed before the clock starts.
    """
    queues = [[way(picture) for _ in range(requests // connections)] for _ in range(connections)]
    lines = [Connection(service.url) for _ in queues]
    with ThreadPoolExecutor(connections) as pool:
        cpu_s, begun = service.cpu_s(), time.perf_counter()
        answers = list(pool.map(_all, lines, queues))
        elapsed, cpu_s = time.perf_counter() - begun, service.cpu_s() - cpu_s
    for queue, received in zip(queues, answers, strict=True):
        for parcel, answer in zip(queue, received, strict=True):
            parcel.open(*answer)
    for line in lines:
        line.close()
    count = sum(map(len, queues))
    return {"requests_per_s": count / elapsed, "service_cpu_ms": 1000 * cpu_s / count}


def _one(connection: Connection, way: Way, picture: bytes) -> tuple[Timing, Any]:
    begun = time.perf_counter()
    parcel = way(picture)
    sealed = time.perf_counter()
    received = connection.post(parcel)
    served = time.perf_counter()
    answer = parcel.open(*received)
    opened = time.perf_counter()
    return Timing(*(round(1000 * span, 3) for span in (sealed - begun, served - sealed, opened - served))), answer


def _all(line: Connection, queue: Sequence[Parcel]) -> list[tuple[int, str, bytes]]:
    return [line.post(parcel) for parcel in queue]
