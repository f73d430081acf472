"""Private keys on disk: one file each, mode 600, made on first use, several in use at a time.

A key is in use from the moment it is made until it retires; then its file is deleted. New requests are sealed to the newest
of a kind, older ones still open what was sealed before. A change in the folder is noticed while the service runs. Knows
nothing of what the keys are for.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from math import isfinite
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from safelight.errors import ConfigError
from safelight.sealing import hpke

KINDS = ("x25519", "mlkem768-x25519", "aes-256", "rsa-3072")
KEM_IDS = {"x25519": hpke.X25519, "mlkem768-x25519": hpke.MLKEM768_X25519}
_SUFFIX = ".key.json"
_LOCK, _COUNTER = ".lock", ".last-number"
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Key:
    """number: 1 to 255, unique among the keys in the folder. secret: a seed of 32 bytes, an AES key of 32, or an RSA key
    in PKCS #8 DER. created, retires: seconds since the epoch; None for not yet decided."""

    kind: str
    number: int
    secret: bytes = field(repr=False)
    created: float
    retires: float | None = None

    @cached_property
    def name(self) -> str:
        """Public and unique: a digest of the public key, or of the secret where there is no public one."""
        return sha256(b"safelight key\0" + self.kind.encode() + b"\0" + self.public).hexdigest()[:16]

    @cached_property
    def public(self) -> bytes:
        """The public key: raw for HPKE's kinds, DER for RSA; for AES a digest that says nothing of the key."""
        if self.kind in KEM_IDS:
            return hpke.KEMS[KEM_IDS[self.kind]].public_key(self.secret)
        if self.kind == "aes-256":
            return sha256(b"safelight aes-256 name\0" + self.secret).digest()
        private = serialization.load_der_private_key(self.secret, password=None)
        return private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class KeyStore:
    """The keys in a folder. now: seconds since the epoch.

    Every method raises ConfigError when the folder or a key in it cannot be read or written, or others may read a key or
    write to the folder.
    """

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self.folder, self._now = folder, now
        self._seen: tuple[int, float] | None = None
        self._keys: tuple[Key, ...] = ()

    def ensure(self, kinds: Sequence[str]) -> None:
        """Make a key of each kind that has none in use which lasts."""
        with self._locked():
            lasting = {key.kind for key in self._read() if key.retires is None}
            for kind in kinds:
                if kind not in lasting:
                    self._make(kind, _secret(kind))

    def in_use(self) -> tuple[Key, ...]:
        """The keys that have not retired, newest first. Looks into the folder at most once a second."""
        now = self._now()
        if self._seen is None or not 0 <= now - self._seen[1] < _LOOK_AGAIN_S:
            changed = self._changed()
            if self._seen is None or self._seen[0] != changed or any(_retired(key, now) for key in self._keys):
                with self._locked():
                    self._delete_retired()
                    changed, self._keys = self._changed(), self._read()
            self._seen = changed, now
        return tuple(key for key in self._keys if not _retired(key, now))

    def rotate(self, kind: str, overlap_s: float) -> Key:
        """Make a new key; the others of its kind retire after `overlap_s`, or sooner where that was decided before."""
        secret = _secret(kind)  # an RSA key takes a while: not while others wait
        with self._locked():
            self._delete_retired()
            older = [key for key in self._read() if key.kind == kind]
            new = self._make(kind, secret)  # first, so that there is one that lasts, whatever happens now
            end = new.created + overlap_s
            for key in older:
                if key.retires is None or key.retires > end:
                    self._write(replace(key, retires=end))
            return new

    def retire(self, name: str) -> Key:
        """Delete a key now, and make another if none of its kind is left that lasts. Raises ConfigError for an unknown name."""
        with self._locked():
            key = next((key for key in self._read() if key.name == name), None)
            if key is None:
                raise ConfigError("Expected the name of a key that `list` shows.")
            if not any(one.kind == key.kind and one != key and one.retires is None for one in self._read()):
                self._make(key.kind, _secret(key.kind))
            self._delete(key)
            return key

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time, among all processes that use the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"The folder of the sealing keys cannot be used ({type(error).__name__}).") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self.folder.stat().st_mode & stat.S_IWOTH:
                raise ConfigError("Everybody may write to the folder of the sealing keys: expected mode 700.")
            yield
        finally:
            os.close(descriptor)

    def _changed(self) -> int:
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            raise ConfigError("The folder of the sealing keys cannot be read.") from None

    def _read(self) -> tuple[Key, ...]:
        try:
            keys = [_load(path) for path in sorted(self.folder.glob(f"*{_SUFFIX}"))]
        except OSError as error:
            raise ConfigError(f"A sealing key cannot be read ({type(error).__name__}).") from None
        return tuple(sorted(keys, key=lambda key: (-key.created, key.number)))

    def _make(self, kind: str, secret: bytes) -> Key:
        key = Key(kind, self._next_number(), secret, self._now())
        self._write(key)
        return key

    def _next_number(self) -> int:
        """The one after the last that was given, so that a retired key's number does not soon mean another key."""
        taken = {key.number for key in self._read()}
        last = self._last_number()
        number: int | None = next((n for n in (*range(last + 1, 256), *range(1, last + 1)) if n not in taken), None)
        if number is None:
            raise ConfigError("Expected fewer than 255 sealing keys in use: retire some.")
        self._put(self.folder / _COUNTER, str(number))
        return number

    def _last_number(self) -> int:
        counter = self.folder / _COUNTER
        try:
            last = int(counter.read_bytes()) if counter.exists() else 0
        except (OSError, ValueError):
            last = -1
        if not 0 <= last <= 255:
            raise ConfigError("The file with the last number of a sealing key is damaged: expected 0 to 255.")
        return last

    def _write(self, key: Key) -> None:
        text = json.dumps(
            {
                "kind": key.kind,
                "number": key.number,
                "secret": base64.b64encode(key.secret).decode(),
                "created": key.created,
                "retires": key.retires,
            }
        )
        self._put(self._path(key), text)

    def _put(self, path: Path, text: str) -> None:
        """Whole or not at all, and never readable by others."""
        scratch = path.with_suffix(".new")
        try:
            scratch.unlink(missing_ok=True)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            raise ConfigError(f"A sealing key cannot be written ({type(error).__name__}).") from None

    def _delete_retired(self) -> None:
        for key in self._read():
            if _retired(key, self._now()):
                self._delete(key)

    def _delete(self, key: Key) -> None:
        try:
            self._path(key).unlink()
        except OSError as error:
            raise ConfigError(f"A sealing key cannot be deleted ({type(error).__name__}).") from None

    def _path(self, key: Key) -> Path:
        return self.folder / f"{key.number:03d}-{key.kind}{_SUFFIX}"


def _retired(key: Key, now: float) -> bool:
    return key.retires is not None and key.retires <= now


def _secret(kind: str) -> bytes:
    if kind == "rsa-3072":
        private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        return private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    if kind in KINDS:
        return os.urandom(32)
    raise ConfigError(f"Expected a kind of key among {', '.join(KINDS)}.")


def _load(path: Path) -> Key:
    """A key from its file. Raises ConfigError when it is not well-formed or others may read it."""
    status = path.stat()
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid != os.geteuid():
        raise ConfigError("A sealing key belongs to somebody else or may be read by others: expected mode 600.")
    try:
        document = json.loads(path.read_bytes())
        key = Key(
            str(document["kind"]),
            int(document["number"]),
            base64.b64decode(document["secret"], validate=True),
            float(document["created"]),
            None if document["retires"] is None else float(document["retires"]),
        )
        expected = 32 if key.kind in ("x25519", "mlkem768-x25519", "aes-256") else len(key.secret)
        if key.kind not in KINDS or not 1 <= key.number <= 255 or len(key.secret) != expected or not key.public:
            raise ValueError
        if not isfinite(key.created) or not isfinite(key.retires or 0):
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise ConfigError("A sealing key is damaged.") from None
    return key
