"""Ten minutes at 80 % of saturation: no error, and memory that stays where it is.

    python bench/soak.py               # SOAK_S=600 seconds, by default; writes `soak` into bench/results.json
    python bench/soak.py --small       # seconds, with a small network: shows that it works

Small and large pictures, mostly sealed, each request with a fresh envelope, sent at a constant rate whatever became of those
before. Ends with status 1 when a line does not hold. How to read it: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from harness import machine, process, wire
from harness.pictures import Picture, picture
from harness.service import Cores, Network, Service, has_champion, running
from harness.statistics import quantile
from harness.ways import Parcel, Way, plain, sealed

from safelight.sealing.ohttp import KEYS_PATH
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys

HERE = Path(__file__).resolve().parent
SHARE_OF_SATURATION, MOST_GROWTH = 0.8, 0.05
_WAYS = (("ohttp", 0.7), ("ohttp-chunked", 0.15), ("plain", 0.15))
_SIZES = ((20_000, 0.6), (200_000, 0.38), (2_000_000, 0.02))
_CONNECTIONS, _OPEN_CONNECTIONS = 8, 32


@dataclass(frozen=True)
class Mix:
    """What is asked: ways and pictures with their shares, drawn from a seed."""

    ways: Mapping[str, Way]
    pictures: Sequence[Picture]
    seed: int

    def parcels(self) -> Iterator[Parcel]:
        """Requests without end, each fresh when it is taken."""
        rng = np.random.default_rng(self.seed)
        names, shares = zip(*_WAYS, strict=True)
        sizes = np.array([share for _, share in _SIZES[: len(self.pictures)]])
        while True:
            way = self.ways[names[rng.choice(len(names), p=shares)]]
            yield way(self.pictures[rng.choice(len(sizes), p=sizes / sizes.sum())].data)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds, and no figures worth quoting")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_S", "600")))
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="where `soak` is put among the results")
    given = parser.parse_args(arguments)
    if sys.platform != "linux":
        sys.exit("This pins processes to cores and reads /proc: it needs Linux.")
    if not given.small:
        machine.raise_priority()
    network: Network = "champion" if has_champion() and not given.small else "2 ms"
    measured = soak(network, given.seconds, [size for size, _ in _SIZES[: 2 if given.small else None]])
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    given.out.write_text(json.dumps(results | {"soak": measured}, indent=1) + "\n")
    print(summary(measured))
    sys.exit(0 if measured["holds"] else 1)


def soak(network: Network, seconds: float, sizes: Sequence[int]) -> dict[str, Any]:
    """Saturate for a while, then load for `seconds` at a share of what was seen."""
    cores = Cores.one_each()
    with tempfile.TemporaryDirectory() as scratch, running(network, Path(scratch), cores, aws=False) as service:
        mix = Mix(_ways(service), [picture(size, 0) for size in sizes], seed=0)
        saturation = _saturation(service, mix, max(1.0, min(20.0, seconds / 10)))
        per_s = SHARE_OF_SATURATION * saturation
        with _sampled(service, every_s=min(5.0, seconds / 40)) as samples:
            outcome = _load(service, mix, per_s, seconds)
    return outcome | _growth(samples, seconds) | _said(network, seconds, saturation, per_s, samples, outcome)


def _said(
    network: Network,
    seconds: float,
    saturation: float,
    per_s: float,
    samples: list[dict[str, float]],
    outcome: Mapping[str, Any],
) -> dict[str, Any]:
    growth = _growth(samples, seconds)["memory_growth"]
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "network": network,
        "seconds": seconds,
        "saturation_per_s": round(saturation, 2),
        "asked_per_s": round(per_s, 2),
        "memory": samples,
        "holds": outcome["errors"] == 0 and growth < MOST_GROWTH,
    }


def _ways(service: Service) -> dict[str, Way]:
    config = decode_keys(httpx.get(service.url + KEYS_PATH, trust_env=False).content)[0]
    return {
        "ohttp": sealed(OhttpWrapper(config)),
        "ohttp-chunked": sealed(OhttpWrapper(config, chunk_above=0)),
        "plain": plain,
    }


def _saturation(service: Service, mix: Mix, seconds: float) -> float:
    """Requests a second with every connection kept busy."""
    per_s, parcels = 0.0, mix.parcels()
    for count in (40, None):
        taken = [next(parcels) for _ in range(count or max(40, int(per_s * seconds)))]
        block = wire.closed(service.url, [_wire(parcel) for parcel in taken], _CONNECTIONS)
        for parcel, answer in zip(taken, block.answers, strict=True):
            parcel.open(answer.status, answer.media_type, answer.body)
        per_s = block.per_s
    return per_s


def _load(service: Service, mix: Mix, per_s: float, seconds: float) -> dict[str, Any]:
    """Answers that are none are counted by what they were instead; every one is opened, as soon as it is there."""
    errors: Counter[str] = Counter()
    under_way: list[Parcel] = []

    def requests() -> Iterator[bytes]:
        for parcel in mix.parcels():
            under_way.append(parcel)
            yield _wire(parcel)

    def check(turn: int, answer: wire.Answer) -> wire.Answer:
        try:
            under_way[turn].open(answer.status, answer.media_type, answer.body)
        except Exception as error:  # whatever is not an answer is an error
            errors[f"{answer.status} {type(error).__name__}"] += 1
        under_way[turn] = _DONE
        return wire.Answer(answer.status, "", b"", answer.ms, answer.late_ms)

    count = int(per_s * seconds)
    due = (turn / per_s for turn in range(count))
    block = wire.opened(service.url, requests(), due, _OPEN_CONNECTIONS, check)
    ms = [answer.ms for answer in block.answers]
    return {
        "requests": len(ms),
        "errors": sum(errors.values()),
        "errors_by_kind": dict(errors),
        "answered_per_s": round(block.per_s, 2),
        "p50_ms": round(quantile(ms, 0.5), 2),
        "p99_ms": round(quantile(ms, 0.99), 2),
        "most_ms": round(max(ms), 2),
    }


_DONE = Parcel("", {}, b"", lambda *_: None)


@contextmanager
def _sampled(service: Service, every_s: float) -> Iterator[list[dict[str, float]]]:
    """What the worker, and all of the service's processes, hold: seconds from the start, and bytes."""
    samples: list[dict[str, float]] = []
    ended, begun = threading.Event(), time.monotonic()

    def sample() -> None:
        while not ended.wait(every_s):
            at = round(time.monotonic() - begun, 1)
            tree = process.Tree(service.root)
            samples.append({"s": at, "worker_bytes": service.rss_bytes(), "all_bytes": tree.rss_bytes()})

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _growth(samples: list[dict[str, float]], seconds: float) -> dict[str, float]:
    """Of the worker, from the second minute, when it has settled, to the last: medians."""
    minute = min(60.0, seconds / 5)
    early = [one["worker_bytes"] for one in samples if minute <= one["s"] < 2 * minute]
    late = [one["worker_bytes"] for one in samples if one["s"] >= seconds - minute]
    return {"memory_growth": round(quantile(late, 0.5) / quantile(early, 0.5) - 1, 4)}


def _wire(parcel: Parcel) -> bytes:
    return wire.request(parcel.target, parcel.headers, parcel.body)


def summary(measured: Mapping[str, Any]) -> str:
    return (
        f"{measured['requests']} requests in {measured['seconds']:g} s, {measured['asked_per_s']:.1f}/s of "
        f"{measured['saturation_per_s']:.1f}/s: {measured['errors']} errors {measured['errors_by_kind'] or ''}, p50 "
        f"{measured['p50_ms']} ms, p99 {measured['p99_ms']} ms, memory {100 * measured['memory_growth']:+.2f} %: "
        f"{'holds' if measured['holds'] else 'DOES NOT HOLD'}"
    )


if __name__ == "__main__":
    main()
