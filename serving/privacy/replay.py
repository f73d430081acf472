"""Which envelopes were accepted before, shared by all workers, so that each is answered once (RFC 9458, section 6.5).

`reserve` is atomic. A token is kept until a time, or, for a request without a date, for as long as its key is in use. When
the store fails the request is refused. Knows nothing of protocols.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safelight.errors import ConfigError, ReplayStoreDown
from serving.resilience.breaker import Breaker, BreakerOpen
from serving.resilience.dependency import Dependency, dependency_breaker
from serving.resilience.steady import SteadyClock

T = TypeVar("T")
_BUSY_S = 2.0
_WAIT_S = 1.0
_SWEEP_S = 60.0
_PREFIX = "safelight:seen:"
_CHECKPOINT_EVERY = 500  # some megabytes of SQLite's log
_REMEMBER = "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)"


class ReplayStore(Protocol):
    """A memory of tokens. All methods raise ReplayStoreDown; but for `reserve_at_once` they may block, and are called from
    threads."""

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        """True when the token was not there, and is from now on. until: seconds since the epoch; None: while the key
        is in use."""

    def reserve_at_once(self, key_id: str, token: bytes, until: float | None) -> bool | None:
        """As `reserve` where that takes no waiting for anybody; else None, and nothing was done."""

    def undated(self) -> frozenset[str]:
        """The keys for which tokens are kept for as long as they are in use."""

    def forget(self, key_ids: Collection[str]) -> None:
        """Forget the undated tokens of keys that are not in use any more."""


class SqliteReplay:
    """In a file that the workers of one machine share. now: seconds since the epoch; monotonic: such as pass. Raises
    ConfigError."""

    def __init__(self, path: Path, now: Callable[[], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._steady, self._monotonic = SteadyClock(now, monotonic), monotonic
        self._lock, self._sweep_at = threading.Lock(), 0.0
        self._quick = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            with _alone(path.with_name(f"{path.name}-lock")):  # SQLite does not wait for a change of the journal's mode
                self._prepare()
            # For those that must not wait: not for another process that writes, and not for the disk at a checkpoint.
            self._at_once = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            self._at_once.execute("PRAGMA synchronous = NORMAL")
            self._at_once.execute("PRAGMA wal_autocheckpoint = 0")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"The replay store cannot be opened ({type(error).__name__}).") from None

    def close(self) -> None:
        """Let the file go."""
        self._at_once.close()
        self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # survives a killed process; a power cut may lose the last
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS seen (key_id TEXT, token BLOB, until REAL, PRIMARY KEY (key_id, token))"
            " WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS seen_until ON seen (until) WHERE until IS NOT NULL")

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        with self._lock:
            try:
                if self._monotonic() >= self._sweep_at:
                    self._sweep_at = self._monotonic() + _SWEEP_S
                    self._db.execute("DELETE FROM seen WHERE until < ?", (self._steady(),))
                return self._db.execute(_REMEMBER, (key_id, token, until)).rowcount == 1
            except sqlite3.Error:
                raise ReplayStoreDown() from None

    def reserve_at_once(self, key_id: str, token: bytes, until: float | None) -> bool | None:
        if self._monotonic() >= self._sweep_at or not self._lock.acquire(blocking=False):
            return None
        try:
            self._quick += 1
            if self._quick % _CHECKPOINT_EVERY == 0:
                return None  # `reserve` moves what was written from the log to the file
            return self._at_once.execute(_REMEMBER, (key_id, token, until)).rowcount == 1
        except sqlite3.Error:  # somebody else writes; or the disk fails, which `reserve` will find out, too
            return None
        finally:
            self._lock.release()

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

    breaker: tells when. reach: whether it has to be there now. Raises ConfigError when it cannot be reached.
    """

    def __init__(
        self, url: str, now: Callable[[], float], breaker: Breaker | None = None, *, reach: bool = True
    ) -> None:
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
            if reach:
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

    def reserve_at_once(self, key_id: str, token: bytes, until: float | None) -> bool | None:
        return None  # it is asked over a network

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
    """In this process only: for a single worker. now: seconds since the epoch. monotonic: seconds that pass, by which tokens
    are kept, whatever becomes of the time of day."""

    def __init__(self, now: Callable[[], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now, self._monotonic, self._lock = now, monotonic, threading.Lock()
        self._seen: dict[tuple[str, bytes], float | None] = {}
        self._sweep_at = 0.0

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        passed = self._monotonic()
        with self._lock:
            if passed >= self._sweep_at:
                self._sweep_at = passed + _SWEEP_S
                self._seen = {one: end for one, end in self._seen.items() if end is None or end >= passed}
            if (key_id, token) in self._seen:
                return False
            self._seen[key_id, token] = None if until is None else passed + until - self._now()
            return True

    def reserve_at_once(self, key_id: str, token: bytes, until: float | None) -> bool | None:
        return self.reserve(key_id, token, until)

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


def open_store(
    where: str, now: Callable[[], float], monotonic: Callable[[], float] = time.monotonic, *, reach: bool = True
) -> ReplayStore:
    """The store that a setting names: `memory`, `redis://...` (or rediss, unix), or the path of an SQLite file. now: seconds
    since the epoch. monotonic: seconds that pass. reach: whether a Redis has to be there now.

    Raises ConfigError when it cannot be used.
    """
    if where == "memory":
        return MemoryReplay(now, monotonic)
    if where.startswith(("redis://", "rediss://", "unix://")):
        return RedisReplay(where, now, reach=reach)
    return SqliteReplay(Path(where), now, monotonic)
