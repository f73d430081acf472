"""Signatures of folders: OpenSSF Model Signing with a local elliptic-curve key (ECDSA on P-256).

Knows nothing of what a folder holds. A signature covers every file of the folder except the signature itself.
Source: OpenSSF Model Signing (OMS) specification, as implemented by the `model-signing` package.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from safelight.errors import SignatureInvalid

SIGNATURE = "model.sig"
"""File name of the signature inside the signed folder."""


def signing_key(private_path: Path) -> Path:
    """The private key at `private_path`, made on first use (mode 600) together with its public key beside it (.pub).

    Returns the path of the public key.
    """
    public_path = private_path.with_suffix(".pub")
    if not private_path.exists():
        private_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(private_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    if not public_path.exists():
        private = serialization.load_pem_private_key(private_path.read_bytes(), password=None)
        public_path.write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return public_path


def sign(folder: Path, private_key: Path) -> None:
    """Sign every file of `folder` and write the signature into it as `model.sig`."""
    from model_signing import hashing, signing

    signature = folder / SIGNATURE
    hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    config = signing.Config().set_hashing_config(hashed).use_elliptic_key_signer(private_key=private_key)
    config.sign(folder, signature)


def verify(folder: Path, public_keys: Sequence[Path]) -> None:
    """Check that one of `public_keys` signed `folder` as it lies there now.

    Raises SignatureInvalid when there is no signature, no trusted key made it, or a file was changed, added or removed.
    What the caller still owes: to use only the bytes it checked, and to check what the files say.
    """
    from model_signing import hashing, verifying

    signature = folder / SIGNATURE
    if not signature.is_file():
        raise SignatureInvalid("Expected a signature beside the model, found none.")
    if not public_keys:
        raise SignatureInvalid("Expected at least one trusted public key, got none.")
    for public_key in public_keys:
        hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
        config = verifying.Config().set_hashing_config(hashed)
        try:
            config.use_elliptic_key_verifier(public_key=public_key).verify(folder, signature)
            return
        except Exception:  # noqa: S112  no such key, no key at all, another's, a changed file: each means not verified
            continue
    raise SignatureInvalid(
        "Expected a signature by a trusted key over exactly these files; it is by another key, or a file has changed."
    )
