"""API keys: how one is made, what is kept of it, and the command line `python -m safelight.credentials new|list|revoke`.

A key holds 256 random bits, so the plain SHA-256 that is kept of it tells nothing: the slow hashes that passwords need
guard what can be guessed. Knows nothing of requests; the running service notices by itself what changes in the file.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from safelight.errors import ConfigError

FILE = Path(".safelight/api-keys.jsonl")
SCOPES = ("detect", "read", "models", "metrics")
"""What credentials may allow."""
PREFIX = "sl_"
"""How every key begins, so that scanners for leaked secrets, and the service, know one when they see it."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
_DAY_S = 86_400
_MAX_DAYS = 36_500


@dataclass(frozen=True)
class ApiKey:
    """What is kept of a key. id: public. digest: SHA-256 of the key, in hex. expires: seconds since the epoch, or None."""

    id: str
    digest: str = field(repr=False)
    scopes: frozenset[str]
    expires: float | None

    def valid_at(self, now: float) -> bool:
        """Whether it has not expired at `now`, in seconds since the epoch."""
        return self.expires is None or now < self.expires


def digest_of(key: str) -> str:
    """What is kept of a key, and by which a presented one is looked up."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class KeyFile:
    """API keys as JSON lines. path: where. Every method raises ConfigError when the file cannot be read, written or
    understood."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[ApiKey, ...]:
        """All keys, expired ones too, in the order in which they were made."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o022:
                    raise ConfigError("The file of API keys may be written by others: expected mode 600 or 644.")
                lines = file.read().decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The file of API keys cannot be read ({type(error).__name__}).") from None
        keys = tuple(_parsed(number, line) for number, line in enumerate(lines, 1) if line.strip())
        if len({key.id for key in keys}) != len(keys) or len({key.digest for key in keys}) != len(keys):
            raise ConfigError("The file of API keys holds one twice.")
        return keys

    def add(self, scopes: Sequence[str], expires: float | None, token: Callable[[int], str]) -> tuple[str, ApiKey]:
        """Make a key; returned once, and then only its digest is known. token: that many random bytes as text."""
        if not scopes or not set(scopes) <= set(SCOPES):
            raise ConfigError(f"Expected scopes among {', '.join(SCOPES)}.")
        key = PREFIX + token(32)
        with self._locked():
            keys = self.read() if self.path.exists() else ()
            entry = ApiKey(digest_of(key)[:12], digest_of(key), frozenset(scopes), expires)
            self._write((*keys, entry))
        return key, entry

    def revoke(self, key_id: str) -> None:
        """Forget a key. Raises ConfigError for an id that is not there, too."""
        with self._locked():
            keys = self.read()
            kept = tuple(key for key in keys if key.id != key_id)
            if len(kept) == len(keys):
                raise ConfigError("Expected the id of a key that `list` shows.")
            self._write(kept)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time. The lock is a file of its own, since the other is replaced."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"The file of API keys cannot be locked ({type(error).__name__}).") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, keys: Sequence[ApiKey]) -> None:
        """Whole or not at all: a service that reads meanwhile sees the old file or the new one."""
        scratch = self.path.with_name(f"{self.path.name}.new")
        try:
            scratch.unlink(missing_ok=True)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.writelines(_line(key) for key in keys)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.path)
        except OSError as error:
            raise ConfigError(f"The file of API keys cannot be written ({type(error).__name__}).") from None


def _line(key: ApiKey) -> str:
    expires = None if key.expires is None else _written(key.expires)
    entry = {"id": key.id, "sha256": key.digest, "scopes": sorted(key.scopes), "expires": expires}
    return json.dumps(entry) + "\n"


def _parsed(number: int, line: str) -> ApiKey:
    try:
        entry = json.loads(line)
        if set(entry) != {"id", "sha256", "scopes", "expires"} or not isinstance(entry["scopes"], list):
            raise ValueError
        expires = None if entry["expires"] is None else _seconds(entry["expires"])
        key = ApiKey(entry["id"], entry["sha256"], frozenset(entry["scopes"]), expires)
        if not _ID.fullmatch(key.id) or not _DIGEST.fullmatch(key.digest) or not key.scopes <= set(SCOPES):
            raise ValueError
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise ConfigError(f"Line {number} of the file of API keys is no entry that can be understood.") from None
    return key


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> float:
    """A point in time that says its zone, in seconds since the epoch. Raises ValueError or TypeError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment.timestamp()


def main(
    arguments: list[str] | None = None,
    now: Callable[[], float] = time.time,
    token: Callable[[int], str] = secrets.token_urlsafe,
) -> int:
    """Returns the exit status."""
    given = _parser().parse_args(arguments)
    file = KeyFile(given.file)
    try:
        if given.command == "new":
            expires = None if given.expires_days is None else _end(now(), given.expires_days)
            key, entry = file.add([scope.strip() for scope in given.scopes.split(",")], expires, token)
            print(key)
            print(f"{_described(entry, now())}\nThe key is shown this once; only its hash is kept.", file=sys.stderr)
        elif given.command == "revoke":
            file.revoke(given.id)
            print(f"revoked {given.id}")
        else:
            for entry in file.read():
                print(_described(entry, now()))
    except ConfigError as error:
        print(error.detail, file=sys.stderr)
        return 1
    return 0


def _end(now: float, days: float) -> float:
    if not 0 < days <= _MAX_DAYS:  # false for nan, too
        raise ConfigError(f"Expected a number of days above 0 and at most {_MAX_DAYS}.")
    return now + days * _DAY_S


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m safelight.credentials", description="The gateway's API keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key and print it, this once")
    new.add_argument("--scopes", required=True, help=f"separated by commas: {', '.join(SCOPES)}")
    new.add_argument("--expires-days", type=float, help="left out: it does not expire")
    shown = commands.add_parser("list", help="show ids, scopes and ends; never the keys")
    revoke = commands.add_parser("revoke", help="forget a key; the service refuses it from its next request on")
    revoke.add_argument("id")
    for command in (new, shown, revoke):
        command.add_argument("--file", type=Path, default=FILE, help=f"where they are listed (default: {FILE})")
    return parser


def _described(key: ApiKey, now: float) -> str:
    end = "does not expire" if key.expires is None else f"expires {_written(key.expires)}"
    end = end if key.valid_at(now) else f"EXPIRED {end.removeprefix('expires ')}"
    return f"{key.id}  {','.join(sorted(key.scopes)):<22}  {end}"


if __name__ == "__main__":
    sys.exit(main())
