"""Where each field of a sealed message begins and ends, for people who look at bytes (notebook 04).

Names fields and interprets nothing: neither end of the protocol uses it. What does not have the expected form raises
SealBroken, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from safelight.errors import SealBroken
from safelight.sealing import hpke, varint

_A_ROW = 16


@dataclass(frozen=True)
class Field:
    """Bytes `begin` to `end` of a message. says: what they mean, for people."""

    name: str
    begin: int
    end: int
    says: str = field(default="", repr=False)


def of_keys(document: bytes) -> list[Field]:
    """The fields of application/ohttp-keys (RFC 9458, section 3)."""
    walk = _Walk(document)
    while walk.at < len(document):
        walk.number("length", 2, "bytes of the configuration that follows")
        walk.number("key id", 1)
        kem = hpke.KEMS.get(walk.number("KEM", 2, _KEMS))
        if kem is None:
            raise SealBroken()
        walk.take("public key", kem.public_size)
        for _ in range(walk.number("length", 2, "bytes of the suites that follow") // 4):
            walk.number("KDF", 2, _KDFS)
            walk.number("AEAD", 2, _AEADS)
    return walk.fields


def of_request(message: bytes) -> list[Field]:
    """The fields of a binary HTTP request of known length (RFC 9292, section 3)."""
    walk = _Walk(message)
    if walk.integer("framing", "a request of known length") != 0:
        raise SealBroken()
    for name in ("method", "scheme", "authority", "path"):
        walk.text(name)
    for section in ("headers", "trailers"):
        end = walk.integer(f"length of {section}") + walk.at
        while walk.at < end:
            walk.text("name")
            walk.text("value")
        if section == "headers":
            walk.take("content", walk.integer("length of content"))
    walk.take("padding", len(message) - walk.at, "zeros")
    return walk.fields


def of_envelope(envelope: bytes, *, chunked: bool = False) -> list[Field]:
    """The fields of an encapsulated request (RFC 9458, section 4.3), or of one in chunks (draft-ietf-ohai-chunked-ohttp)."""
    walk = _Walk(envelope)
    walk.number("key id", 1)
    kem = hpke.KEMS.get(walk.number("KEM", 2, _KEMS))
    if kem is None:
        raise SealBroken()
    walk.number("KDF", 2, _KDFS)
    walk.number("AEAD", 2, _AEADS)
    walk.take("enc", kem.enc_size, "a fresh public key: new for each request")
    if not chunked:
        walk.sealed("ciphertext", len(envelope) - walk.at)
        return walk.fields
    while size := walk.integer("length of chunk"):
        walk.sealed("chunk", size)
    walk.sealed("final chunk", len(envelope) - walk.at)
    return walk.fields


def hexdump(data: bytes, fields: Sequence[Field], most: int = 48) -> str:
    """The bytes of each field beside its name, at most `most` of them."""
    return "\n".join(line for one in fields for line in _lines(data, one, most))


def _lines(data: bytes, one: Field, most: int) -> Iterator[str]:
    shown = min(one.end, one.begin + most)
    for at in range(one.begin, shown, _A_ROW):
        label = f"{one.name:<18} {one.says}" if at == one.begin else ""
        yield f"{at:08x}  {data[at : min(at + _A_ROW, shown)].hex(' '):<47}  {label}".rstrip()
    if shown < one.end:
        yield f"{'':8}  ... {one.end - shown:,} bytes more"


class _Walk:
    """A message that is walked through once, from its first byte to its last."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0
        self.fields: list[Field] = []

    def take(self, name: str, size: int, says: str = "") -> bytes:
        begin, self.at = self.at, self.at + size
        if size < 0 or self.at > len(self._data):
            raise SealBroken()
        if size:
            self.fields.append(Field(name, begin, self.at, says))
        return self._data[begin : self.at]

    def number(self, name: str, size: int, says: str | dict[int, str] = "") -> int:
        value = int.from_bytes(self._data[self.at : self.at + size], "big")
        meaning = says.get(value, "unknown") if isinstance(says, dict) else f"{value} {says}"
        self.take(name, size, meaning.strip())
        return value

    def integer(self, name: str, says: str = "") -> int:
        value, end = varint.decode(self._data, self.at)
        self.take(name, end - self.at, says or f"{value:,}")
        return value

    def text(self, name: str) -> None:
        size = self.integer(f"length of {name}")
        says = self._data[self.at : self.at + size].decode("latin-1")
        self.take(name, size, says if len(says) <= 60 else f"{says[:57]}...")

    def sealed(self, name: str, size: int) -> None:
        self.take(name, size - hpke.TAG_SIZE)
        self.take("tag", hpke.TAG_SIZE, "proves every byte before it, of this message")


_KEMS = {hpke.X25519: "X25519, HKDF-SHA256", hpke.MLKEM768_X25519: "ML-KEM-768 + X25519"}
_KDFS = {hpke.HKDF_SHA256: "HKDF-SHA256"}
_AEADS = {hpke.AES_128_GCM: "AES-128-GCM", hpke.AES_256_GCM: "AES-256-GCM", hpke.CHACHA20_POLY1305: "ChaCha20-Poly1305"}
