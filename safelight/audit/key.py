"""The Ed25519 key (RFC 8032) that signs checkpoints: made on first use, mode 600, its public key beside it."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from safelight.audit.lines import to_sign, with_signature
from safelight.errors import ConfigError


class AuditKey:
    """The private key at `path`, made there when there is none. Raises ConfigError when it cannot be used, or when
    others may read it."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                _make(path)
            self._private = _load(path)
            self.public = self._private.public_key()
            _write_once(path.with_suffix(".pub"), _pem(self.public), 0o644)
        except OSError as error:
            raise ConfigError(f"The audit log's key cannot be used ({type(error).__name__}).") from None
        self.name = key_name(self.public)

    def pseudonym(self, text: str) -> str:
        """What stands for a name in the log: the same each time, and nothing to those without this key."""
        secret = sha256(b"safelight audit pseudonyms\0" + self._private.private_bytes_raw()).digest()
        return hmac.digest(secret, text.encode(), "sha256").hex()[:16]

    def sign(self, body: bytes) -> bytes:
        """A line with its signature."""
        return with_signature(body, self._private.sign(to_sign(body)))


def key_name(public: Ed25519PublicKey) -> str:
    """Short and public."""
    return sha256(b"safelight audit key\0" + public.public_bytes_raw()).hexdigest()[:16]


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Raises ConfigError when there is no Ed25519 public key in PEM."""
    try:
        key: object = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"The public key cannot be read ({type(error).__name__}).") from None
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("Expected an Ed25519 public key in PEM.")
    return key


def _load(path: Path) -> Ed25519PrivateKey:
    status = path.stat()
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid != os.geteuid():
        raise ConfigError("The audit log's key belongs to somebody else or may be read by others: expected mode 600.")
    try:
        key: object = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("The audit log's key is damaged: expected an Ed25519 private key in PEM.")
    return key


def _make(path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_once(path, pem, 0o600)


def _write_once(path: Path, data: bytes, mode: int) -> None:
    """Whole, and only if nothing is there: workers that start together end up with the same key."""
    if path.exists():
        return
    scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(scratch, path)
    scratch.unlink()


def _pem(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
