"""What the parts of a sealed request cost by themselves, in this process: processor time and memory, without any network."""

from __future__ import annotations

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from harness.ways import PATH
from safelight.sealing.keys import gateway_keys
from safelight.sealing.keystore import KINDS, Key, KeyStore
from safelight.sealing.messages import InnerRequest
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.protocol import Opened, Opener, OuterRequest, Wrapper
from serving.privacy.replay import MemoryReplay, ReplayStore, SqliteReplay

_PIECE = 64 * 1024  # about what a server hands on at a time
_ANSWER = (b'{"boxes":' + b"[1,2,3,4]," * 400)[:4000]
Ends = tuple[Wrapper, Opener]


def both_ends(folder: Path) -> dict[str, Ends]:
    """A client's and a service's end of each protocol that share a key, by the protocol's name in the results."""
    store = KeyStore(folder / "keys", time.time)
    store.ensure(KINDS)
    keys = {key.kind: key for key in store.in_use()}
    opener = OhttpOpener(lambda: gateway_keys(store.in_use()), chunked=True)
    x25519, hybrid = (key.config for key in gateway_keys((keys["x25519"], keys["mlkem768-x25519"])))
    return {
        "ohttp": (OhttpWrapper(x25519), opener),
        "ohttp-chunked": (OhttpWrapper(x25519, chunk_above=0), opener),
        "ohttp-mlkem768": (OhttpWrapper(hybrid), opener),
    } | _aws_ends(store, keys)


def _aws_ends(store: KeyStore, keys: Mapping[str, Key]) -> dict[str, Ends]:
    """With a shared AES key, and with an RSA key whose public half the client has."""
    from safelight.sealing import aws

    opener = aws.AwsOpener(store.in_use, aws.ContextPolicy(), max_bytes=1 << 30)
    opener.load()
    shared, pair = keys["aes-256"], keys["rsa-3072"]
    return {
        "aws-encryption-sdk": (aws.AwsWrapper(aws.raw_aes_keyring(shared.name, shared.secret)), opener),
        "aws-encryption-sdk-rsa": (aws.AwsWrapper(aws.raw_rsa_keyring(pair.name, public=pair.public)), opener),
    }


def costs(ends: Ends, body: bytes, repeats: int) -> dict[str, float]:
    """Processor time of each end, in milliseconds (medians), and the most memory that opening holds, in bytes."""
    wrapper, opener = ends
    times: dict[str, list[float]] = {name: [] for name in ("seal_ms", "open_ms", "seal_answer_ms", "open_answer_ms")}
    for _ in range(repeats):
        outgoing, seal_ms = _timed(lambda: _sealed(wrapper, body))
        outer, pieces, answer = outgoing
        opened, open_ms = _timed(lambda outer=outer, pieces=pieces: _opened(opener, outer, pieces))
        assert opened.request.body == body
        sealed_answer, seal_answer_ms = _timed(lambda opened=opened: _answered(opened))
        answer.feed(sealed_answer)
        _, open_answer_ms = _timed(answer.finish)
        for name, value in zip(times, (seal_ms, open_ms, seal_answer_ms, open_answer_ms), strict=True):
            times[name].append(value)
    return {name: round(statistics.median(values), 4) for name, values in times.items()} | {
        "open_peak_bytes": _peak(opener, wrapper, body)
    }


def replay_costs(folder: Path, repeats: int) -> dict[str, Mapping[str, float]]:
    """Milliseconds of remembering one envelope, by store; `awaited` is what the request waits for, thread included."""
    stores: dict[str, ReplayStore] = {
        "sqlite": SqliteReplay(folder / "replay.db", time.time),
        "memory": MemoryReplay(time.time),
    }
    return {name: _replay(store, repeats) for name, store in stores.items()}


def audit_costs(folder: Path, repeats: int) -> Mapping[str, float]:
    """Milliseconds of writing one record of the audit log, chained and on its way to the disk."""
    from safelight.audit import AuditKey, AuditLog

    key = AuditKey(folder / "audit.key")
    log = AuditLog(
        folder / "audit", key, {}, checkpoint_every=1 << 30, rotate_bytes=1 << 40, fsync=False, now=time.time
    )
    record = {"request": "0" * 32, "route": "/v1/detect", "status": 200, "bytes": 200_000, "ms": 61.5}
    values = [_wall_ms(lambda: log.append(record)) for _ in range(repeats)]
    log.close()
    return _spread(values)


def _sealed(wrapper: Wrapper, body: bytes) -> tuple[OuterRequest, list[bytes], Any]:
    request = InnerRequest("POST", PATH, ((b"content-type", b"image/jpeg"),), body, "http", "127.0.0.1")
    outgoing = wrapper.wrap(request)
    envelope = b"".join(outgoing.body)
    pieces = [envelope[at : at + _PIECE] for at in range(0, len(envelope), _PIECE)]
    media_type = dict(outgoing.headers)[b"content-type"].decode()
    return OuterRequest("POST", outgoing.target, "", media_type, outgoing.headers), pieces, outgoing.answer


def _opened(opener: Opener, outer: OuterRequest, pieces: list[bytes]) -> Opened:
    opening = opener.begin(outer)
    for piece in pieces:
        opening.feed(piece)
    return opening.finish()


def _answered(opened: Opened) -> bytes:
    sealer = opened.sealer
    return sealer.begin(200, ((b"content-type", b"application/json"),)) + sealer.write(_ANSWER) + sealer.end()


def _peak(opener: Opener, wrapper: Wrapper, body: bytes) -> int:
    outer, pieces, _ = _sealed(wrapper, body)
    envelope = b"".join(pieces)
    opening = opener.begin(outer)
    tracemalloc.start()
    for at in range(0, len(envelope), _PIECE):
        opening.feed(envelope[at : at + _PIECE])
    opening.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _replay(store: ReplayStore, repeats: int) -> Mapping[str, float]:
    tokens = iter([os.urandom(32) for _ in range(2 * repeats)])
    alone = [_wall_ms(lambda: store.reserve("bench", next(tokens), time.time() + 600)) for _ in range(repeats)]

    async def awaited() -> list[float]:
        values = []
        for _ in range(repeats):
            begun = time.perf_counter()
            assert await anyio.to_thread.run_sync(store.reserve, "bench", next(tokens), time.time() + 600)
            values.append(1000 * (time.perf_counter() - begun))
        return values

    waits = _spread(anyio.run(awaited))
    return _spread(alone) | {f"awaited_{name}": value for name, value in waits.items()}


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "p50_ms": round(statistics.median(values), 4),
        "p95_ms": round(statistics.quantiles(values, n=20)[-1], 4),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.thread_time()
    result = work()
    return result, 1000 * (time.thread_time() - begun)


def _wall_ms(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)
