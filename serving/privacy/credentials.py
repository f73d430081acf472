"""Credentials of a request: an API key or a JWT, checked against what is configured.

Whatever is wrong with them gives one and the same answer. Knows nothing of routes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from safelight.credentials import PREFIX, SCOPES, ApiKey, KeyFile, digest_of
from safelight.errors import AccessUndecided, ConfigError, Unauthenticated
from serving.settings import Access, JwtIssuer

MIN_SECRET_BYTES = 32
"""Of an HS256 key (RFC 7518, section 3.2)."""
LEEWAY_S = 30
"""How far the clocks of an issuer and of this machine may be apart."""
_MAX_TOKEN_BYTES = 4096
_OPTIONS: Any = {  # times are checked here, by the clock that was passed in
    "require": ["exp", "aud"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "enforce_minimum_key_length": True,
}


@dataclass(frozen=True)
class Caller:
    """Who asks. identity: unique to the credentials' owner, for counting; of a JWT's subject a digest. scopes: what is
    allowed."""

    identity: str = field(repr=False)
    scopes: frozenset[str]


class Credentials:
    """Every kind of credentials that the settings name. now: seconds since the epoch."""

    def __init__(self, settings: Access, now: Callable[[], float]) -> None:
        self._settings, self._now = settings, now
        self._keys: WatchedKeys | None = None
        self._issuers: tuple[Issuer, ...] = ()

    def load(self) -> None:
        """Read keys and secrets. Raises ConfigError."""
        if self._settings.api_keys is not None:
            self._keys = WatchedKeys(self._settings.api_keys, self._now)
        self._issuers = tuple(Issuer(name, one, self._now) for name, one in sorted(self._settings.jwt.items()))

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """The caller of a request with these headers. Raises Unauthenticated or AccessUndecided."""
        presented = _presented(headers)
        if presented.startswith(PREFIX):
            caller = None if self._keys is None else self._keys.caller(presented)
        else:
            caller = next(filter(None, (issuer.caller(presented) for issuer in self._issuers)), None)
        if caller is None:
            raise Unauthenticated()
        return caller


class WatchedKeys:
    """The API keys of a file, read again when it changes. Raises ConfigError when it cannot be used at first."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path, self._file, self._now = path, KeyFile(path), now
        self._stamp = self._look()
        self._keys = self._read()

    def caller(self, key: str) -> Caller | None:
        """The holder of a key, None for one that is unknown or expired. Raises AccessUndecided.

        Finding the key by its digest takes no constant time, and need not: a digest is as good as random to whoever
        chose the key, so that time tells nothing that leads to another key.
        """
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._keys, self._stamp = self._read(), stamp
        except ConfigError:  # whether the key was revoked cannot be told
            raise AccessUndecided() from None
        known = self._keys.get(digest_of(key))
        if known is None or not known.valid_at(self._now()):
            return None
        return Caller(f"key:{known.id}", known.scopes)

    def _look(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigError(f"The file of API keys cannot be read ({type(error).__name__}).") from None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> Mapping[str, ApiKey]:
        return {key.digest: key for key in self._file.read()}


class Issuer:
    """One whose tokens (RFC 7519) are taken. name: his in the settings. Raises ConfigError when his key cannot be used.

    Algorithm, key, audience and issuer come from the settings; nothing that a token says of itself chooses them (RFC
    8725, section 3.1).
    """

    def __init__(self, name: str, settings: JwtIssuer, now: Callable[[], float]) -> None:
        self._name, self._settings, self._now = name, settings, now
        self._key = _secret(settings.key) if settings.algorithm == "HS256" else _public_key(settings.key)

    def caller(self, token: str) -> Caller | None:
        """The subject of a token, None for one that is not this issuer's, not for this service, or not valid now."""
        if len(token) > _MAX_TOKEN_BYTES:
            return None
        try:
            decoded = jwt.decode_complete(
                token,
                self._key,
                algorithms=[self._settings.algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options=_OPTIONS,
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # the last ones from a header that is no header
            return None
        claims = decoded["payload"]
        if "crit" in decoded["header"] or not self._is_time_for(claims):
            return None
        scope = claims.get("scope", "")
        scopes = frozenset(scope.split(" ") if isinstance(scope, str) else ()) & set(SCOPES)
        subject = sha256(f"{self._name}\0{claims.get('sub', '')}".encode("utf-8", "surrogatepass")).hexdigest()
        return Caller(f"jwt:{subject}", scopes)

    def _is_time_for(self, claims: Mapping[str, Any]) -> bool:
        """Whether now lies between `nbf`, if there is one, and `exp`."""
        begin, end, now = claims.get("nbf", 0), claims["exp"], self._now()
        return _is_time(begin) and _is_time(end) and begin - LEEWAY_S <= now < end + LEEWAY_S


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The one key or token of a request. Raises Unauthenticated when there is none, or more than one."""
    found = []
    for name, value in headers:
        if name == b"x-api-key":
            key = value.decode("latin-1").strip()
            found.append(key if key.startswith(PREFIX) else "")
        elif name == b"authorization":
            scheme, _, token = value.decode("latin-1").strip().partition(" ")
            found.append(token.strip() if scheme.lower() == "bearer" else "")
    if len(found) != 1 or not found[0]:
        raise Unauthenticated()
    return found[0]


def _is_time(value: object) -> bool:
    """A NumericDate of RFC 7519. JSON as Python reads it has NaN, which no comparison would refuse."""
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and (type(value) is int or math.isfinite(value))
    )


def _secret(path: Path) -> bytes:
    """A shared secret; a line end after it does not belong to it."""
    data = _file(path, "HS256", private=True).rstrip(b"\r\n")
    if b"-----BEGIN" in data:  # whoever has the public key of a pair could sign with it
        raise ConfigError("An HS256 key is in PEM: expected a shared secret.")
    if len(data) < MIN_SECRET_BYTES:
        raise ConfigError(f"An HS256 key is too short: expected {MIN_SECRET_BYTES} bytes or more.")
    return data


def _public_key(path: Path) -> Ed25519PublicKey:
    data = _file(path, "EdDSA", private=False)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("An EdDSA key cannot be understood: expected a public key in PEM.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("An EdDSA key is of another kind: expected Ed25519.")
    return key


def _file(path: Path, algorithm: str, *, private: bool) -> bytes:
    try:
        if path.stat().st_mode & (0o077 if private else 0o022):
            raise ConfigError(
                f"An {algorithm} key may be {'read' if private else 'written'} by others: expected mode 600."
            )
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"An {algorithm} key cannot be read ({type(error).__name__}).") from None
