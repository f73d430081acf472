"""AWS Encryption SDK messages, both ends, for those who share a key with the service or use a KMS.

    from safelight.client import Client
    from safelight.sealing.aws import raw_aes_keyring

    Client(url, seal="aws-encryption-sdk", keyring=raw_aes_keyring(name, key))

A message is posted to the route itself, as `application/vnd.aws-encryption-sdk` or within JSON, and answered in the same
form. Its plaintext is a picture (`data_type: image` in the context) or a binary HTTP message (`data_type: http`), in which
options, credentials and a key for the answer travel as well. Importing this takes the library's half a second.
"""

from safelight.sealing.aws.client import AwsWrapper
from safelight.sealing.aws.context import ALLOWED_KEYS, ContextPolicy
from safelight.sealing.aws.gateway import AwsOpener
from safelight.sealing.aws.keyrings import Keyring, kms_keyring, raw_aes_keyring, raw_rsa_keyring

__all__ = [
    "ALLOWED_KEYS",
    "AwsOpener",
    "AwsWrapper",
    "ContextPolicy",
    "Keyring",
    "kms_keyring",
    "raw_aes_keyring",
    "raw_rsa_keyring",
]
