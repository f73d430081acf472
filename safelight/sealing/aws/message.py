"""One message of the AWS Encryption SDK, sealed and opened by its library. Whatever the library objects to is SealBroken.

Only suites that commit to their key, with or without a signature; one wrapped key a message. Knows nothing of what is inside.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy
from aws_encryption_sdk.materials_managers.mpl.cmm import CryptoMaterialsManagerFromMPL

from safelight.errors import SealBroken
from safelight.sealing.aws.keyrings import Keyring

T = TypeVar("T")
FRAME_BYTES = 64 * 1024  # the library's own 4 kB cost two to five times as long
_LEAST_FRAME_BYTES = 1024  # anybody can seal to a public key: frames of a byte each would keep the service busy
_SUITE = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
_SDK = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
    # With several, which of our keys opens a message would depend on the day, and a replay could hide behind that.
    max_encrypted_data_keys=1,
)


@dataclass(frozen=True)
class Message(Generic[T]):
    """A message that was opened and authenticated as a whole. context: as it was sent. declared: what `read` made of it.
    keyring: the one whose key it was. message_id: 32 random bytes of its sender."""

    plain: bytes = field(repr=False)
    context: Mapping[str, str] = field(repr=False)
    declared: T = field(repr=False)
    keyring: Keyring
    message_id: bytes


def seal(plain: bytes, keyring: Keyring, context: Mapping[str, str]) -> tuple[bytes, bytes]:
    """(the message, its id). Raises SealBroken when the keyring's key cannot be had."""
    try:
        sealed, header = _SDK.encrypt(
            source=plain,
            materials_manager=keyring.materials,
            encryption_context=dict(context),
            algorithm=_SUITE,
            frame_length=FRAME_BYTES,
        )
    except Exception:
        raise SealBroken() from None
    return sealed, header.message_id


def unseal(source: io.BytesIO, keyrings: Sequence[Keyring], read: Callable[[Mapping[str, str]], T]) -> Message[T]:
    """Open all of `source`, and close it. read: checks the context, before any key is touched, and makes something of it.

    Raises SealBroken.
    """
    chooser = _Chooser(keyrings, read)
    try:
        decryptor = _SDK.stream(mode="d", source=source, materials_manager=chooser)
        header = decryptor.header
        if 0 < header.frame_length < _LEAST_FRAME_BYTES:
            raise SealBroken()
        at_once = header.frame_length or source.getbuffer().nbytes  # a message without frames is read in one piece
        plain = io.BytesIO()
        while piece := decryptor.read(at_once):
            plain.write(piece)
        decryptor.close()  # fails unless the last frame, and the signature of a suite that signs, were there
    except Exception:
        raise SealBroken() from None
    if source.read(1):  # something follows that nobody authenticated
        raise SealBroken()
    source.close()
    return Message(plain.getvalue(), header.encryption_context, chooser.declared, chooser.keyring, header.message_id)


class _Chooser(CryptoMaterialsManagerFromMPL, Generic[T]):  # type: ignore[misc]  # the library is not typed
    """Finds the keyring that a message is for, once its context is found to be in order."""

    def __init__(self, keyrings: Sequence[Keyring], read: Callable[[Mapping[str, str]], T]) -> None:
        self._keyrings, self._read = keyrings, read
        self.declared: T
        self.keyring: Keyring

    def decrypt_materials(self, request: Any) -> Any:
        """As the library asks it. Raises SealBroken."""
        self.declared = self._read(dict(request.encryption_context))
        (wrapped,) = request.encrypted_data_keys
        described = wrapped.key_provider.provider_id, wrapped.key_provider.key_info
        (self.keyring,) = [keyring for keyring in self._keyrings if keyring.wraps(*described)]
        return self.keyring.materials.decrypt_materials(request)
