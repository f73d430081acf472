"""HPKE against published vectors and two other implementations: `cryptography`'s own, and pyhpke."""

from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke as theirs
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from safelight.errors import SealBroken
from safelight.sealing import hpke
from tests.vectors.load import published

X25519_VECTORS = published("hpke_x25519")["vectors"]
HYBRID_VECTORS = published("hpke_mlkem768_x25519")["vectors"]
INFO = b"what this is about"


def unhex(value: str) -> bytes:
    return bytes.fromhex(value)


def suite_of(vector) -> hpke.Suite:
    return hpke.Suite(vector["kem_id"], vector["kdf_id"], vector["aead_id"])


def test_the_vectors_are_for_all_our_suites():
    assert {v["aead_id"] for v in X25519_VECTORS} == set(hpke.AEADS)
    assert {v["kem_id"] for v in (*X25519_VECTORS, *HYBRID_VECTORS)} == set(hpke.KEMS)


@pytest.mark.parametrize("vector", X25519_VECTORS, ids=lambda v: f"aead {v['aead_id']}")
def test_rfc_9180_sealing(vector):
    enc, context = hpke.sender(suite_of(vector), unhex(vector["pkRm"]), unhex(vector["info"]), unhex(vector["skEm"]))
    assert enc == unhex(vector["enc"]) == unhex(vector["pkEm"])
    for message in vector["encryptions"]:
        assert context.messages.seal(unhex(message["pt"]), unhex(message["aad"])).hex() == message["ct"]
    check_exports(context, vector)


@pytest.mark.parametrize("vector", [*X25519_VECTORS, *HYBRID_VECTORS], ids=lambda v: f"{v['kem_id']}/{v['aead_id']}")
def test_published_messages_open(vector):
    suite, seed = suite_of(vector), unhex(vector["skRm"])
    assert suite.kem.public_key(seed).hex() == vector["pkRm"]
    assert suite.kem.decapsulate(unhex(vector["enc"]), suite.kem.private(seed)).hex() == vector["shared_secret"]
    context = hpke.recipient(suite, unhex(vector["enc"]), suite.kem.private(seed), unhex(vector["info"]))
    for message in vector["encryptions"]:
        assert context.messages.open(unhex(message["ct"]), unhex(message["aad"])).hex() == message["pt"]
    check_exports(context, vector)


def check_exports(context, vector):
    assert vector["exports"]
    for export in vector["exports"]:
        assert context.export(unhex(export["exporter_context"]), export["L"]).hex() == export["exported_value"]


AEADS = {
    hpke.AES_128_GCM: (theirs.AEAD.AES_128_GCM, AEADId.AES128_GCM),
    hpke.AES_256_GCM: (theirs.AEAD.AES_256_GCM, AEADId.AES256_GCM),
    hpke.CHACHA20_POLY1305: (theirs.AEAD.CHACHA20_POLY1305, AEADId.CHACHA20_POLY1305),
}


def other_key(kem_id, seed):
    """The private key of `seed` as `cryptography`'s HPKE takes it."""
    if kem_id == hpke.X25519:
        return X25519PrivateKey.from_private_bytes(seed)
    expanded = hashlib.shake_256(seed).digest(96)
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), expanded[64:]
    return theirs.MLKEM768X25519PrivateKey(lattice, X25519PrivateKey.from_private_bytes(curve))


@pytest.mark.parametrize("aead_id", AEADS)
@pytest.mark.parametrize("kem_id", hpke.KEMS)
def test_both_ways_with_the_hpke_of_cryptography(kem_id, aead_id):
    kem = {hpke.X25519: theirs.KEM.X25519, hpke.MLKEM768_X25519: theirs.KEM.MLKEM768_X25519}[kem_id]
    other = theirs.Suite(kem, theirs.KDF.HKDF_SHA256, AEADS[aead_id][0])
    suite, seed = hpke.Suite(kem_id, hpke.HKDF_SHA256, aead_id), os.urandom(32)
    private = other_key(kem_id, seed)

    enc, context = hpke.sender(suite, suite.kem.public_key(seed), INFO)
    assert len(enc) == suite.kem.enc_size and len(suite.kem.public_key(seed)) == suite.kem.public_size
    sealed = enc + context.messages.seal(b"to them")
    assert other.decrypt(sealed, private, INFO) == b"to them"
    with pytest.raises(InvalidTag):
        other.decrypt(sealed, private, INFO + b"!")

    sealed = other.encrypt(b"to us", private.public_key(), INFO)
    enc, rest = sealed[: suite.kem.enc_size], sealed[suite.kem.enc_size :]
    assert hpke.recipient(suite, enc, suite.kem.private(seed), INFO).messages.open(rest) == b"to us"


@pytest.mark.parametrize("aead_id", AEADS)
def test_both_ways_with_pyhpke_in_order_and_with_exports(aead_id):
    other = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADS[aead_id][1])
    suite, seed = hpke.Suite(hpke.X25519, hpke.HKDF_SHA256, aead_id), os.urandom(32)
    public = suite.kem.public_key(seed)
    private_key = KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(seed))
    public_key = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(public))

    enc, ours = hpke.sender(suite, public, INFO)
    peer = other.create_recipient_context(enc, private_key, INFO)
    for number in range(300):  # past the first byte of the counter
        aad = b"aad" if number % 2 else b""
        assert peer.open(ours.messages.seal(str(number).encode(), aad), aad=aad) == str(number).encode()
    assert peer.export(b"context", 57) == ours.export(b"context", 57)

    enc, peer = other.create_sender_context(public_key, INFO)
    ours = hpke.recipient(suite, enc, suite.kem.private(seed), INFO)
    for number in range(3):
        assert ours.messages.open(peer.seal(str(number).encode(), aad=b"x"), b"x") == str(number).encode()
    assert peer.export(b"", 16) == ours.export(b"", 16)


SUITES = [hpke.Suite(kem_id, hpke.HKDF_SHA256, hpke.AES_128_GCM) for kem_id in hpke.KEMS]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: hex(suite.kem_id))
def test_what_was_changed_moved_or_meant_for_others_does_not_open(suite):
    seed = os.urandom(32)
    enc, context = hpke.sender(suite, suite.kem.public_key(seed), INFO)
    first, second = context.messages.seal(b"first"), context.messages.seal(b"second", b"aad")
    for wrong in (first[:-1], first + b"\0", first[:15], b"", bytes([first[0] ^ 1]) + first[1:], second):
        with pytest.raises(SealBroken):
            hpke.recipient(suite, enc, suite.kem.private(seed), INFO).messages.open(wrong)
    with pytest.raises(SealBroken):
        hpke.recipient(suite, enc, suite.kem.private(seed), INFO).messages.open(first, b"aad")
    with pytest.raises(SealBroken):
        hpke.recipient(suite, enc, suite.kem.private(seed), b"").messages.open(first)
    with pytest.raises(SealBroken):
        hpke.recipient(suite, enc, suite.kem.private(os.urandom(32)), INFO).messages.open(first)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: hex(suite.kem_id))
def test_every_bit_of_enc_counts(suite):
    """No other `enc` opens the same message, so that one envelope cannot come back under another name (replay). The top
    bit of X25519's coordinates does not enter the exchange, and must enter elsewhere."""
    seed = os.urandom(32)
    enc, context = hpke.sender(suite, suite.kem.public_key(seed), INFO)
    sealed = context.messages.seal(b"once")
    step = 1 if len(enc) == 32 else 61
    for bit in {*range(0, 8 * len(enc), step), 8 * len(enc) - 1}:
        other = bytearray(enc)
        other[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken):
            hpke.recipient(suite, bytes(other), suite.kem.private(seed), INFO).messages.open(sealed)


SMALL_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("ecff" + "ff" * 29 + "7f"),
    bytes.fromhex("edff" + "ff" * 29 + "7f"),
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_points_of_small_order_are_none(point):
    """RFC 9180, section 7.1.4: the exchange must not be all zeros."""
    for suite in SUITES:
        fill = bytes(suite.kem.enc_size - 32)
        with pytest.raises(SealBroken):
            hpke.recipient(suite, fill + point, suite.kem.private(os.urandom(32)), INFO)
    with pytest.raises(SealBroken):
        hpke.sender(SUITES[0], point, INFO)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: hex(suite.kem_id))
@pytest.mark.parametrize("off", [-1, 1, -32])
def test_keys_of_another_size_are_none(suite, off):
    with pytest.raises(SealBroken):
        hpke.sender(suite, os.urandom(suite.kem.public_size + off), INFO)
    with pytest.raises(SealBroken):
        hpke.recipient(suite, os.urandom(suite.kem.enc_size + off), suite.kem.private(os.urandom(32)), INFO)


@pytest.mark.parametrize(
    "ids", [(0x10, 1, 1), (0x20, 2, 1), (0x20, 1, 4), (0x20, 1, 0xFFFF), (0x647A, 3, 1), (0, 0, 0)]
)
def test_other_suites_are_none(ids):
    with pytest.raises(SealBroken):
        hpke.Suite(*ids)


def test_the_hybrid_draws_its_own_randomness():
    suite = SUITES[1]
    public = suite.kem.public_key(bytes(32))
    assert suite.kem.encapsulate(public)[1] != suite.kem.encapsulate(public)[1]
    with pytest.raises(ValueError, match="randomness"):
        suite.kem.encapsulate(public, bytes(64))
