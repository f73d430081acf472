"""Key configurations: a public key of the gateway and what may be used with it (RFC 9458, section 3)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

from safelight.errors import SealBroken
from safelight.sealing import hpke

_AEADS = (hpke.AES_128_GCM, hpke.AES_256_GCM, hpke.CHACHA20_POLY1305)


@dataclass(frozen=True)
class KeyConfig:
    """A public key and what may be used with it (RFC 9458, section 3.1). suites: (KDF id, AEAD id), best first."""

    number: int
    kem_id: int
    public_key: bytes
    suites: tuple[tuple[int, int], ...] = tuple((hpke.HKDF_SHA256, aead) for aead in _AEADS)

    def encode(self) -> bytes:
        suites = b"".join(kdf.to_bytes(2, "big") + aead.to_bytes(2, "big") for kdf, aead in self.suites)
        head = self.number.to_bytes(1, "big") + self.kem_id.to_bytes(2, "big")
        return head + self.public_key + len(suites).to_bytes(2, "big") + suites

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the encoded configuration, in hexadecimal: what clients pin."""
        return sha256(self.encode()).hexdigest()


@dataclass(frozen=True)
class GatewayKey:
    """A private key of the gateway. name: public. number: its key id on the wire."""

    name: str
    config: KeyConfig
    seed: bytes = field(repr=False)

    @cached_property
    def private(self) -> Any:
        """What `hpke.recipient` takes."""
        return hpke.KEMS[self.config.kem_id].private(self.seed)


def encode_keys(configs: Sequence[KeyConfig]) -> bytes:
    """The body of application/ohttp-keys (section 3.2)."""
    encoded = [config.encode() for config in configs]
    return b"".join(len(one).to_bytes(2, "big") + one for one in encoded)


def decode_keys(data: bytes) -> list[KeyConfig]:
    """The configurations that can be used here, in the order of the service; unknown KEMs and suites are passed over.

    Raises SealBroken when the framing is broken or nothing is left.
    """
    configs, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        one, at = data[at + 2 : at + 2 + size], at + 2 + size
        if at > len(data):
            raise SealBroken()
        if (config := _decode_config(one)) is not None:
            configs.append(config)
    if not configs:
        raise SealBroken()
    return configs


def _decode_config(data: bytes) -> KeyConfig | None:
    kem = hpke.KEMS.get(int.from_bytes(data[1:3], "big"))
    if kem is None:
        return None
    public_key, rest = data[3 : 3 + kem.public_size], data[3 + kem.public_size :]
    if len(rest) < 2 or len(rest) != 2 + int.from_bytes(rest[:2], "big") or (len(rest) - 2) % 4:
        raise SealBroken()
    pairs = struct.iter_unpack(">HH", rest[2:])
    suites = tuple(pair for pair in pairs if pair[0] == hpke.HKDF_SHA256 and pair[1] in hpke.AEADS)
    return KeyConfig(data[0], kem.id, public_key, suites) if suites else None
