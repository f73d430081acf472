"""Hybrid Public Key Encryption in base mode (RFC 9180), with the exporter that Oblivious HTTP needs.

Primitives are those of `cryptography`, whose own HPKE is single-shot and has no exporter; what stands here is the key
schedule on top. KEMs: DHKEM(X25519, HKDF-SHA256), and ML-KEM-768 + X25519 (X-Wing, draft-ietf-hpke-pq, id 0x647A).
KDF: HKDF-SHA256. AEADs: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from safelight.errors import SealBroken

X25519 = 0x0020
MLKEM768_X25519 = 0x647A
HKDF_SHA256 = 0x0001
AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305 = 0x0001, 0x0002, 0x0003
_VERSION = b"HPKE-v1"
_MLKEM_PUBLIC, _MLKEM_CIPHERTEXT, _X25519 = 1184, 1088, 32


@dataclass(frozen=True)
class Aead:
    """An AEAD: how a key becomes a cipher, and its sizes in bytes. All of them have nonces of 12 and tags of 16."""

    cipher: Callable[[bytes], AESGCM | ChaCha20Poly1305]
    key_size: int
    nonce_size: int = 12


AEADS: Mapping[int, Aead] = {
    AES_128_GCM: Aead(AESGCM, 16),
    AES_256_GCM: Aead(AESGCM, 32),
    CHACHA20_POLY1305: Aead(ChaCha20Poly1305, 32),
}
TAG_SIZE = 16


class Kem(Protocol):
    """A key encapsulation mechanism; private keys are given by their seed of 32 bytes."""

    id: int
    public_size: int
    enc_size: int

    def public_key(self, seed: bytes) -> bytes:
        """The public key that belongs to a seed."""

    def encapsulate(self, public_key: bytes, ephemeral: bytes | None = None) -> tuple[bytes, bytes]:
        """(shared secret, enc) for a public key. ephemeral: the randomness, for test vectors only.

        Raises SealBroken when the key is none.
        """

    def private(self, seed: bytes) -> Any:
        """The private key of a seed, ready for `decapsulate`: making it ready takes as long as using it."""

    def decapsulate(self, enc: bytes, private: Any) -> bytes:
        """The shared secret. Raises SealBroken."""


class DhkemX25519:
    """DHKEM(X25519, HKDF-SHA256), RFC 9180 section 4.1."""

    id = X25519
    public_size = enc_size = _X25519

    def public_key(self, seed: bytes) -> bytes:
        return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    def encapsulate(self, public_key: bytes, ephemeral: bytes | None = None) -> tuple[bytes, bytes]:
        private = X25519PrivateKey.from_private_bytes(ephemeral or os.urandom(_X25519))
        enc = private.public_key().public_bytes_raw()
        return self._secret(_exchange(private, public_key), enc + public_key), enc

    def private(self, seed: bytes) -> tuple[X25519PrivateKey, bytes]:
        key = X25519PrivateKey.from_private_bytes(seed)
        return key, key.public_key().public_bytes_raw()

    def decapsulate(self, enc: bytes, private: tuple[X25519PrivateKey, bytes]) -> bytes:
        key, public = private
        return self._secret(_exchange(key, enc), enc + public)

    def _secret(self, dh: bytes, context: bytes) -> bytes:
        suite = b"KEM" + self.id.to_bytes(2, "big")
        prk = _labeled_extract(suite, b"", b"eae_prk", dh)
        return _labeled_expand(suite, prk, b"shared_secret", context, 32)


class MlKem768X25519:
    """ML-KEM-768 (FIPS 203) with X25519, combined as X-Wing does: secret as long as one of the two holds."""

    id = MLKEM768_X25519
    public_size = _MLKEM_PUBLIC + _X25519
    enc_size = _MLKEM_CIPHERTEXT + _X25519

    def public_key(self, seed: bytes) -> bytes:
        lattice, _, public = self.private(seed)
        return lattice.public_key().public_bytes_raw() + public

    def encapsulate(self, public_key: bytes, ephemeral: bytes | None = None) -> tuple[bytes, bytes]:
        if ephemeral is not None:
            raise ValueError("ephemeral: this KEM draws its own randomness")
        lattice_key, curve_key = public_key[:_MLKEM_PUBLIC], public_key[_MLKEM_PUBLIC:]
        try:
            lattice_secret, ciphertext = MLKEM768PublicKey.from_public_bytes(lattice_key).encapsulate()
        except ValueError:
            raise SealBroken() from None
        private = X25519PrivateKey.generate()
        share = private.public_key().public_bytes_raw()
        secret = self._combine(lattice_secret, _exchange(private, curve_key), share, curve_key)
        return secret, ciphertext + share

    def private(self, seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey, bytes]:
        expanded = hashlib.shake_256(seed).digest(96)
        curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), curve, curve.public_key().public_bytes_raw()

    def decapsulate(self, enc: bytes, private: tuple[MLKEM768PrivateKey, X25519PrivateKey, bytes]) -> bytes:
        lattice, curve, public = private
        ciphertext, share = enc[:_MLKEM_CIPHERTEXT], enc[_MLKEM_CIPHERTEXT:]
        try:
            lattice_secret = lattice.decapsulate(ciphertext)
        except ValueError:
            raise SealBroken() from None
        return self._combine(lattice_secret, _exchange(curve, share), share, public)

    def _combine(self, lattice: bytes, curve: bytes, share: bytes, public: bytes) -> bytes:
        return hashlib.sha3_256(lattice + curve + share + public + rb"\.//^" + b"\\").digest()


KEMS: Mapping[int, Kem] = {kem.id: kem for kem in (DhkemX25519(), MlKem768X25519())}


@dataclass(frozen=True)
class Suite:
    """A combination of algorithms by their ids in IANA's HPKE registry. Raises SealBroken for one that is not here."""

    kem_id: int
    kdf_id: int
    aead_id: int

    def __post_init__(self) -> None:
        if self.kem_id not in KEMS or self.kdf_id != HKDF_SHA256 or self.aead_id not in AEADS:
            raise SealBroken()

    @property
    def kem(self) -> Kem:
        return KEMS[self.kem_id]

    @property
    def aead(self) -> Aead:
        return AEADS[self.aead_id]

    @property
    def ids(self) -> bytes:
        """The three ids as they stand on the wire."""
        return b"".join(part.to_bytes(2, "big") for part in (self.kem_id, self.kdf_id, self.aead_id))


class Sequence:
    """An AEAD key that seals or opens messages in order: the nonce of each is the base nonce XOR its number."""

    def __init__(self, aead: Aead, key: bytes, base_nonce: bytes) -> None:
        self._cipher, self._base = aead.cipher(key), int.from_bytes(base_nonce, "big")
        self._size, self._number = aead.nonce_size, 0

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """The next message, sealed."""
        return self._cipher.encrypt(self._nonce(), plaintext, aad)

    def open(self, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """The next message, opened. Raises SealBroken."""
        try:
            return self._cipher.decrypt(self._nonce(), ciphertext, aad)
        except (InvalidTag, ValueError):
            raise SealBroken() from None

    def _nonce(self) -> bytes:
        nonce = self._base ^ self._number
        self._number += 1  # 96 bits: nobody lives to see it overflow
        return nonce.to_bytes(self._size, "big")


class Context:
    """One direction of a conversation: `messages` seals or opens them in order, `export` gives shared secrets."""

    def __init__(self, suite: Suite, shared_secret: bytes, info: bytes) -> None:
        """The key schedule of base mode (RFC 9180, section 5.1)."""
        self.suite = suite
        suite_id = self._suite_id = b"HPKE" + suite.ids
        id_hash = _labeled_extract(suite_id, b"", b"psk_id_hash", b"")
        info_hash = _labeled_extract(suite_id, b"", b"info_hash", info)
        context = b"\x00" + id_hash + info_hash
        secret = _labeled_extract(suite_id, shared_secret, b"secret", b"")
        key = _labeled_expand(suite_id, secret, b"key", context, suite.aead.key_size)
        nonce = _labeled_expand(suite_id, secret, b"base_nonce", context, suite.aead.nonce_size)
        self.messages = Sequence(suite.aead, key, nonce)
        self._exporter = _labeled_expand(suite_id, secret, b"exp", context, 32)

    def export(self, context: bytes, length: int) -> bytes:
        """A secret of `length` bytes that both ends share (section 5.3)."""
        return _labeled_expand(self._suite_id, self._exporter, b"sec", context, length)


def sender(suite: Suite, public_key: bytes, info: bytes, ephemeral: bytes | None = None) -> tuple[bytes, Context]:
    """(enc, context) for sealing to a public key. Raises SealBroken when the key is none.

    ephemeral: the KEM's randomness, for test vectors only.
    """
    secret, enc = suite.kem.encapsulate(public_key, ephemeral)
    return enc, Context(suite, secret, info)


def recipient(suite: Suite, enc: bytes, private: Any, info: bytes) -> Context:
    """The context for opening what was sealed to a private key (`Kem.private`). Raises SealBroken."""
    return Context(suite, suite.kem.decapsulate(enc, private), info)


def extract(salt: bytes, key_material: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869)."""
    return HKDF.extract(SHA256(), salt, key_material)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256."""
    return HKDFExpand(SHA256(), length, info).derive(prk)


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # not 32 bytes, or a point of small order
        raise SealBroken() from None


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, key_material: bytes) -> bytes:
    return extract(salt, _VERSION + suite + label + key_material)


def _labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(prk, length.to_bytes(2, "big") + _VERSION + suite + label + info, length)
