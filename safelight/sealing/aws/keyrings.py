"""Keyrings: what wraps and unwraps the key of a message. A raw AES key that both ends share, an RSA key, a key in AWS KMS.

A keyring is told by the name that a message carries beside its wrapped key, never by trying. Made when first used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

import aws_cryptographic_material_providers.mpl.models as models
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.references import IKeyring
from aws_encryption_sdk.materials_managers.mpl.cmm import CryptoMaterialsManagerFromMPL
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from safelight.errors import ConfigError

NAMESPACE = "safelight"
REPLY_NAME = "reply"
KEY_BYTES = 32
_KMS_PROVIDER = "aws-kms"
_AES_INFO_BYTES = 20  # after the key's name: lengths of tag and nonce (four bytes each), and the nonce of twelve
_KMS_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/(?!mrk-)[A-Za-z0-9-]+")
_CONNECT_S, _READ_S, _ATTEMPTS = 2, 5, 2


class Keyring:
    """key_id: public name. provider, info: what a message says of a key of this keyring. replies: whether the holder of
    this keyring can seal an answer with it; a public key cannot. prefers_reply_key: whether a client had better send a
    reply key. make: makes the library's keyring."""

    def __init__(
        self,
        key_id: str,
        provider: str,
        info: re.Pattern[bytes],
        make: Callable[[], Any],
        *,
        replies: bool = True,
        prefers_reply_key: bool = False,
    ) -> None:
        self.key_id, self._provider, self._info, self._make = key_id, provider, info, make
        self.replies, self.prefers_reply_key = replies, prefers_reply_key or not replies

    def wraps(self, provider: str, info: bytes) -> bool:
        """Whether a wrapped key that is described like this is of this keyring."""
        return provider == self._provider and self._info.fullmatch(info) is not None

    @cached_property
    def materials(self) -> CryptoMaterialsManagerFromMPL:
        """What the library asks for the keys of messages. Raises ConfigError when the key cannot be used."""
        try:
            manager = _library().create_default_cryptographic_materials_manager(
                models.CreateDefaultCryptographicMaterialsManagerInput(keyring=self._make())
            )
        except Exception as error:  # the library has several trees of errors, and passes on those of others
            raise ConfigError(
                f"A key for AWS Encryption SDK messages cannot be used ({type(error).__name__})."
            ) from None
        return CryptoMaterialsManagerFromMPL(manager)


def raw_aes_keyring(name: str, key: bytes, *, namespace: str = NAMESPACE) -> Keyring:
    """For those who share an AES key of 32 bytes. name: the key's, as `python -m safelight.sealing.keys list` shows it.

    Raises ConfigError for a key of another length.
    """
    if len(key) != KEY_BYTES:
        raise ConfigError(f"Expected an AES key of {KEY_BYTES} bytes.")
    given = models.CreateRawAesKeyringInput(
        key_namespace=namespace,
        key_name=name,
        wrapping_key=key,
        wrapping_alg=models.AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
    )
    info = re.compile(re.escape(name.encode()) + b".{%d}" % _AES_INFO_BYTES, re.DOTALL)
    return Keyring(name, namespace, info, partial(_library().create_raw_aes_keyring, input=given))


def raw_rsa_keyring(
    name: str, *, public: bytes | None = None, private: bytes | None = None, namespace: str = NAMESPACE
) -> Keyring:
    """For clients that know a public key, or for the service with the private one; OAEP with SHA-256 and MGF1.

    name: the key's, as `python -m safelight.sealing.keys list` shows it. public: SubjectPublicKeyInfo, private: PKCS #8,
    in DER or PEM. Raises ConfigError unless there is one of them and it is an RSA key.
    """
    make: Callable[[], Any]
    if private is not None and public is None:
        make = partial(_PrivateRsaKeyring, _private_key(private))
    elif public is not None and private is None:
        given = models.CreateRawRsaKeyringInput(
            key_namespace=namespace,
            key_name=name,
            padding_scheme=models.PaddingScheme.OAEP_SHA256_MGF1,
            public_key=_public_pem(public),
        )
        make = partial(_library().create_raw_rsa_keyring, input=given)
    else:
        raise ConfigError("Expected an RSA key, either public or private.")
    return Keyring(name, namespace, re.compile(re.escape(name.encode())), make, replies=False)


class _PrivateRsaKeyring(IKeyring):  # type: ignore[misc]  # the library is not typed
    """Unwraps as the library's own keyring does, which reads and checks its key anew for every message: 110 ms."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def on_encrypt(self, param: Any) -> Any:
        """A private key seals nothing here."""
        raise ConfigError("Expected a public key to seal with.")

    def on_decrypt(self, param: Any) -> Any:
        """As the library asks it, with the one wrapped key that is for this keyring. Raises ValueError."""
        (wrapped,) = param.encrypted_data_keys
        param.materials.plaintext_data_key = self._key.decrypt(
            wrapped.ciphertext, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        )
        return models.OnDecryptOutput(materials=param.materials)


def kms_keyring(
    arn: str,
    client: Any = None,
    *,
    endpoint_url: str | None = None,
    attend: Callable[[Any], None] = lambda client: None,
) -> Keyring:
    """For those who may use a symmetric key in AWS KMS. arn: the key's, in full, of one region. client: of boto3 for KMS;
    by default one for the region in the ARN, with the credentials of the environment and short time limits. endpoint_url:
    of another service that speaks KMS. attend: is given the client before it is used.

    Raises ConfigError for anything but such an ARN: an alias could be moved to a key of somebody else.
    """
    match = _KMS_ARN.fullmatch(arn)
    if match is None:
        raise ConfigError("Expected the full ARN of a single-region KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID.")
    region = match[1]

    def make() -> Any:
        used = client if client is not None else _kms_client(region, endpoint_url)
        attend(used)
        return _library().create_aws_kms_keyring(input=models.CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=used))

    key_id = sha256(b"safelight kms\0" + arn.encode()).hexdigest()[:16]  # an ARN tells the account
    return Keyring(key_id, _KMS_PROVIDER, re.compile(re.escape(arn.encode())), make, prefers_reply_key=True)


def reply_keyring(key: bytes) -> Keyring:
    """For one answer, under the key that its request carried."""
    return raw_aes_keyring(REPLY_NAME, key)


def _library() -> AwsCryptographicMaterialProviders:
    return AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())


def _kms_client(region: str, endpoint_url: str | None) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"total_max_attempts": _ATTEMPTS})
    return boto3.client("kms", region_name=region, endpoint_url=endpoint_url, config=config)


def _public_pem(key: bytes) -> bytes:
    try:
        load = serialization.load_pem_public_key if _is_pem(key) else serialization.load_der_public_key
        public = load(key)
    except ValueError:
        public = None
    if not isinstance(public, rsa.RSAPublicKey):
        raise ConfigError("Expected an RSA public key, SubjectPublicKeyInfo in DER or PEM.")
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_key(key: bytes) -> rsa.RSAPrivateKey:
    try:
        load = serialization.load_pem_private_key if _is_pem(key) else serialization.load_der_private_key
        private = load(key, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ConfigError("Expected an RSA private key, PKCS #8 in DER or PEM.")
    return private


def _is_pem(key: bytes) -> bool:
    return key.startswith(b"-----")
