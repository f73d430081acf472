"""How often a caller may ask: requests are counted in windows, each caller's in windows of his own.

The library `limits` keeps the counters, in this process or in Redis. Neither sees an identity or an address: counters have
keyed digests for names. Knows nothing of routes, and nothing of how a caller is known.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import limits
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.storage.base import Storage
from limits.errors import StorageError

from safelight.errors import AccessUndecided, ConfigError
from serving.resilience.breaker import BreakerOpen
from serving.resilience.dependency import dependency_breaker
from serving.settings import Rates

_SALT_BYTES = 32
_WAIT_S = 1.0
_SWEEP_S = 10.0
_PREFIX = "safelight:rate"
_REDIS = "async+"  # how `limits` spells the URLs of its asynchronous storages


@dataclass(frozen=True)
class Standing:
    """Where a caller stands after one more request. policy: the name of the limit. reset_s: until the window ends."""

    policy: str
    quota: int
    window_s: int
    used: int
    reset_s: int

    @property
    def over(self) -> bool:
        """Whether this request is one too many."""
        return self.used > self.quota

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4: what is allowed, and what is left of it."""
        policy = f'"{self.policy}";q={self.quota};w={self.window_s}'
        left = f'"{self.policy}";r={max(0, self.quota - self.used)};t={self.reset_s}'
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


class RateLimits:
    """Counts requests. now: seconds since the epoch; in Redis all machines count by their own clocks."""

    def __init__(self, settings: Rates, now: Callable[[], float]) -> None:
        self._settings, self._now = settings, now
        quotas = {"key": settings.limit, "address": settings.limit, "relay": settings.sealed_anonymous}
        self._quotas = {name: limits.parse(text) for name, text in quotas.items() if text != "none"}
        self._storage: Storage | None = None
        self._breaker = dependency_breaker("store of the rate limits")
        self._salt = b""

    def load(self, *, reach: bool = True) -> None:
        """Open the store. reach: whether a Redis has to be there now. Raises ConfigError when it cannot be reached, or the salt
        cannot be read or made."""
        if not self._quotas:
            return
        if self._settings.store == "memory":
            self._salt, self._storage = secrets.token_bytes(_SALT_BYTES), Counters(self._now)
        else:
            self._salt, self._storage = _kept_salt(self._settings.salt), _redis(self._settings.store, reach)

    async def count(self, policy: str, identity: str) -> Standing | None:
        """Count one more request of `identity` against `policy`: key, address or relay. None where there is no limit.

        Raises AccessUndecided when the store fails: who may ask cannot be told, so nobody may.
        """
        quota = self._quotas.get(policy)
        if quota is None:
            return None
        if self._storage is None:
            raise AccessUndecided()
        bucket = hmac.digest(self._salt, f"{policy}\0{identity}".encode(), "sha256")
        window_s = quota.get_expiry()
        # Windows begin at a time of each caller's own, so that not all of them come back at once.
        now = self._now() + int.from_bytes(bucket[:4]) / 2**32 * window_s
        window = int(now // window_s)
        counter = quota.key_for(bucket[:16].hex(), str(window))
        try:
            if isinstance(self._storage, Counters):
                used = await self._storage.incr(counter, window_s)
            else:
                with self._breaker.guard(StorageError):  # one that is gone costs some requests their wait, not each
                    used = await self._storage.incr(counter, window_s)
        except (StorageError, BreakerOpen):
            raise AccessUndecided() from None
        return Standing(policy, quota.amount, window_s, used, max(1, int((window + 1) * window_s - now)))

    async def close(self) -> None:
        """Give back the connections to Redis."""
        if isinstance(self._storage, RedisStorage):
            await self._storage.bridge.storage.aclose()  # type: ignore[attr-defined]  # `limits` has no public way


class Counters(MemoryStorage):
    """Counters of this process. now: seconds since the epoch. most: how many at a time; they take some 300 bytes each.

    The library's own looks through all of them at each request: with 65,000 addresses that took 6 ms.
    """

    def __init__(self, now: Callable[[], float], most: int = 1_000_000) -> None:
        super().__init__()
        self._now, self._most, self._swept = now, most, 0.0

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, and forget now and then what has expired. Raises StorageError when there are too many counters."""
        now = self._now()
        if not 0 <= now - self._swept < _SWEEP_S:
            self._swept = now
            for old in [one for one, end in self.expirations.items() if end <= now]:
                del self.expirations[old], self.storage[old]
        if key not in self.expirations:
            if len(self.expirations) >= self._most:
                raise StorageError(MemoryError())
            self.expirations[key] = now + expiry
        self.storage[key] += amount
        return self.storage[key]


def address_of(client: tuple[str, int] | None) -> str:
    """What stands for a client's address: itself, or its network of 64 bits in IPv6, where one host has that many."""
    try:
        address = ip_address((client or ("",))[0].partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Network((address, 64), strict=False).network_address
    return str(address)


def _redis(url: str, reach: bool) -> RedisStorage:
    import redis
    from redis.asyncio.retry import Retry
    from redis.backoff import FullJitterBackoff

    waits = {"socket_timeout": _WAIT_S, "socket_connect_timeout": _WAIT_S}
    # Once more, for an idle connection may have been closed by the server; a request that is counted twice harms nobody.
    once_more: Any = Retry(FullJitterBackoff(cap=0.2, base=0.05), 1)
    try:
        with redis.Redis.from_url(url, **waits) as probe:
            if reach:
                probe.ping()
        return RedisStorage(
            _REDIS + url.replace("unix://", "redis+unix://"),
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=_PREFIX,
            retry=once_more,
            **waits,
        )
    except (redis.RedisError, ValueError) as error:
        raise ConfigError(f"The store of the rate limits cannot be reached ({type(error).__name__}).") from None


def _kept_salt(path: Path) -> bytes:
    """The secret that all workers and machines share which count together; made on first use, mode 600."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if not path.exists():
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_SALT_BYTES))
            try:
                os.link(scratch, path)  # fails when another worker was first: his counts
            except FileExistsError:
                pass
            finally:
                scratch.unlink()
        if path.stat().st_mode & 0o077:
            raise ConfigError("The salt of the rate limits may be read by others: expected mode 600.")
        salt = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"The salt of the rate limits cannot be used ({type(error).__name__}).") from None
    if len(salt) < _SALT_BYTES:
        raise ConfigError(f"The salt of the rate limits is too short: expected {_SALT_BYTES} bytes.")
    return salt
