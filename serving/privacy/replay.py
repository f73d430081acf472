"""Which envelopes were accepted before, shared by all workers, so that each is answered once (RFC 9458, section 6.5).

`reserve` is atomic. A token is kept until a time, or, for a request without a date, for as long as its key is in use. When
the store fails the request is refused. Knows nothing of protocols.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safelight.errors import ConfigError, ReplayStoreDown
from serving.resilience.breaker import Breaker, BreakerOpen
from serving.resilience.dependency import Dependency, dependency_breaker

T = TypeVar("T")
_BUSY_S = 2.0
_WAIT_S = 1.0
_SWEEP_S = 60.0
_PREFIX = "safelight:seen:"


class ReplayStore(Protocol):
    """A memory of tokens. All methods raise ReplayStoreDown; they may block, and are called from threads."""

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        """True when the token was not there, and is from now on. until: seconds since the epoch; None: while the key
        is in use."""

    def undated(self) -> frozenset[str]:
        """The keys for which tokens are kept for as long as they are in use."""

    def forget(self, key_ids: Collection[str]) -> None:
        """Forget the undated tokens of keys that are not in use any more."""


class SqliteReplay:
    """In a file that the workers of one machine share. now: seconds since the epoch. Raises ConfigError."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._now, self._lock, self._swept = now, threading.Lock(), 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            with _alone(path.with_name(f"{path.name}-lock")):  # SQLite does not wait for a change of the journal's mode
                self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"The replay store cannot be opened ({type(error).__name__}).") from None

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # survives a killed process; a power cut may lose the last
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS seen (key_id TEXT, token BLOB, until REAL, PRIMARY KEY (key_id, token))"
            " WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS seen_until ON seen (until) WHERE until IS NOT NULL")

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        now = self._now()
        with self._lock:
            try:
                if not 0 <= now - self._swept < _SWEEP_S:
                    self._swept = now
                    self._db.execute("DELETE FROM seen WHERE until < ?", (now,))
                done = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (key_id, token, until))
                return done.rowcount == 1
            except sqlite3.Error:
                raise ReplayStoreDown() from None

    def undated(self) -> frozenset[str]:
        with self._lock:
            try:
                rows = self._db.execute("SELECT DISTINCT key_id FROM seen WHERE until IS NULL").fetchall()
            except sqlite3.Error:
                raise ReplayStoreDown() from None
        return frozenset(key_id for (key_id,) in rows)

    def forget(self, key_ids: Collection[str]) -> None:
        with self._lock:
            try:
                for key_id in key_ids:
                    self._db.execute("DELETE FROM seen WHERE key_id = ? AND until IS NULL", (key_id,))
            except sqlite3.Error:
                raise ReplayStoreDown() from None


class RedisReplay:
    """In a Redis that the workers of several machines share. One that is gone is asked now and then only.

    breaker: tells when. Raises ConfigError when it cannot be reached.
    """

    def __init__(self, url: str, now: Callable[[], float], breaker: Breaker | None = None) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._now = now
        passing = (redis.ConnectionError, redis.TimeoutError)
        self._asked = Dependency(breaker or dependency_breaker("replay store"), (redis.RedisError,), passing)
        self._failures = (redis.RedisError, BreakerOpen)
        waits = {"socket_timeout": _WAIT_S, "socket_connect_timeout": _WAIT_S}
        try:
            # The library's own second tries would not tell that a first one may have been carried out.
            self._redis: Any = redis.Redis.from_url(url, **waits, retry=Retry(NoBackoff(), 0))
            self._redis.ping()
        except (redis.RedisError, ValueError) as error:
            raise ConfigError(f"The replay store in Redis cannot be reached ({type(error).__name__}).") from None

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        def ask(again: bool) -> bool:
            first: bool
            if until is None:
                first = self._redis.sadd(f"{_PREFIX}undated:{key_id}", token) == 1
            else:
                left_ms = max(1, int(1000 * (until - self._now())))
                first = bool(self._redis.set(f"{_PREFIX}{key_id}:".encode() + token, b"", nx=True, px=left_ms))
            if again and not first:  # by another request, or by the attempt before
                raise ReplayStoreDown()
            return first

        return self._ask(ask)

    def undated(self) -> frozenset[str]:
        names = self._ask(lambda _: list(self._redis.scan_iter(match=f"{_PREFIX}undated:*")))
        return frozenset(name.decode().removeprefix(f"{_PREFIX}undated:") for name in names)

    def forget(self, key_ids: Collection[str]) -> None:
        for key_id in key_ids:
            self._ask(lambda _, name=f"{_PREFIX}undated:{key_id}": self._redis.delete(name))  # type: ignore[misc]

    def _ask(self, call: Callable[[bool], T]) -> T:
        try:
            return self._asked.ask(call)
        except self._failures:
            raise ReplayStoreDown() from None


class MemoryReplay:
    """In this process only: for a single worker. now: seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._lock = now, threading.Lock()
        self._seen: dict[tuple[str, bytes], float | None] = {}
        self._swept = 0.0

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        now = self._now()
        with self._lock:
            if not 0 <= now - self._swept < _SWEEP_S:
                self._swept = now
                self._seen = {one: end for one, end in self._seen.items() if end is None or end >= now}
            if (key_id, token) in self._seen:
                return False
            self._seen[key_id, token] = until
            return True

    def undated(self) -> frozenset[str]:
        with self._lock:
            return frozenset(key_id for (key_id, _), end in self._seen.items() if end is None)

    def forget(self, key_ids: Collection[str]) -> None:
        with self._lock:
            self._seen = {one: end for one, end in self._seen.items() if end is not None or one[0] not in key_ids}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One at a time, among all processes that use the same file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_store(where: str, now: Callable[[], float]) -> ReplayStore:
    """The store that a setting names: `memory`, `redis://...` (or rediss, unix), or the path of an SQLite file.

    Raises ConfigError when it cannot be used.
    """
    if where == "memory":
        return MemoryReplay(now)
    if where.startswith(("redis://", "rediss://", "unix://")):
        return RedisReplay(where, now)
    return SqliteReplay(Path(where), now)
