"""The service's end: opens messages that are posted to the routes themselves, seals the answers."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Sequence
from urllib.parse import quote, unquote

from safelight.errors import SealBroken
from safelight.sealing import bhttp
from safelight.sealing.aws import answer
from safelight.sealing.aws.context import IMAGE, ContextPolicy, Declared, own
from safelight.sealing.aws.envelope import ENVELOPES, Envelope, agree
from safelight.sealing.aws.keyrings import KEY_BYTES, Keyring, raw_aes_keyring, raw_rsa_keyring, reply_keyring
from safelight.sealing.aws.message import Message, seal, unseal
from safelight.sealing.keystore import Key
from safelight.sealing.messages import Headers, InnerRequest, InnerResponse
from safelight.sealing.protocol import Opened, OuterRequest

REPLY_KEY = b"safelight-reply-key"
PROTOCOL = "aws-encryption-sdk"
_PREFIX = "/v1/"


class AwsOpener:
    """Opens what is posted to a path below /v1/ as application/vnd.aws-encryption-sdk, or in JSON.

    keys: the service's keys that may open now, asked for each request; of kind `aes-256` and `rsa-3072`, others are passed
    over. kms: keyrings of keys in AWS KMS that may open as well. policy: what a context may say. max_bytes: of a body as
    it arrives. `finish` may work for some 50 ms (RSA) or wait for KMS, and so may `end` of the sealer, where the request came
    through KMS without a reply key: call both in a thread.
    """

    blocking = True
    copies = 1.5

    def __init__(
        self,
        keys: Callable[[], Sequence[Key]],
        policy: ContextPolicy,
        *,
        max_bytes: int,
        kms: Sequence[Keyring] = (),
    ) -> None:
        self._keys, self._policy, self._max_bytes, self._kms = keys, policy, max_bytes, tuple(kms)
        self._made: dict[str, Keyring] = {}

    def load(self) -> None:
        """Make what requests will need, without asking KMS. Raises ConfigError for a key that cannot be used."""
        for keyring in self._keyrings():
            _ = keyring.materials

    @property
    def key_ids(self) -> frozenset[str]:
        """The public names of all keys in use: what was seen under them must be remembered."""
        return frozenset(keyring.key_id for keyring in self._keyrings())

    def recognises(self, outer: OuterRequest) -> bool:
        return outer.method == "POST" and outer.path.startswith(_PREFIX) and outer.media_type in ENVELOPES

    def begin(self, outer: OuterRequest) -> _Opening:
        if outer.query:  # neither secret nor authenticated: options belong inside
            raise SealBroken()
        return _Opening(outer, self._policy, self._keyrings(), self._max_bytes)

    def _keyrings(self) -> tuple[Keyring, ...]:
        made = {key.name: self._made.get(key.name) or _keyring(key) for key in self._keys()}
        self._made = {name: keyring for name, keyring in made.items() if keyring is not None}
        return (*self._made.values(), *self._kms)


def _keyring(key: Key) -> Keyring | None:
    if key.kind == "aes-256":
        return raw_aes_keyring(key.name, key.secret)
    return raw_rsa_keyring(key.name, private=key.secret) if key.kind == "rsa-3072" else None


class _Opening:
    """One message on its way in; nothing of it is looked at before all of it is there."""

    def __init__(self, outer: OuterRequest, policy: ContextPolicy, keyrings: Sequence[Keyring], max_bytes: int) -> None:
        self._outer, self._policy, self._keyrings, self._left = outer, policy, keyrings, max_bytes
        self._body = io.BytesIO()

    def feed(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._body = io.BytesIO()
            raise SealBroken()
        self._body.write(data)

    def finish(self) -> Opened:
        envelope = ENVELOPES[self._outer.media_type]
        source, metadata = envelope.unpack(self._body)
        self._body = io.BytesIO()
        message = unseal(source, self._keyrings, self._policy.read)
        agree(metadata, own(message.context))
        request, reply_key = _request(message, self._outer.path)
        if reply_key is None and not message.keyring.replies:
            raise SealBroken()
        keyring = message.keyring if reply_key is None else reply_keyring(reply_key)
        return Opened(
            request,
            _Sealer(envelope, message.declared.content, keyring, message.message_id),
            protocol=PROTOCOL,
            key_id=message.keyring.key_id,
            token=message.message_id,
            sent_at=message.declared.sent_at,
        )


def _request(message: Message[Declared], path: str) -> tuple[InnerRequest, bytes | None]:
    """(the request, the key for its answer if it brought one). Raises SealBroken."""
    if message.declared.content == IMAGE:
        file_type = message.declared.file_type
        headers: Headers = () if file_type is None else ((b"content-type", file_type.encode()),)
        return InnerRequest("POST", quote(path), headers, message.plain), None
    request = bhttp.decode_request(message.plain)
    if unquote(request.path) != path:
        raise SealBroken()
    keys = [value for name, value in request.headers if name == REPLY_KEY]
    if not keys:
        return request, None
    headers = tuple(line for line in request.headers if line[0] != REPLY_KEY)
    inner = InnerRequest(request.method, request.target, headers, request.body, request.scheme, request.authority)
    return inner, _reply_key(keys)


def _reply_key(values: Sequence[bytes]) -> bytes:
    """Raises SealBroken unless there is one, of the right length."""
    try:
        (value,) = values
        key = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise SealBroken() from None
    if len(key) != KEY_BYTES:
        raise SealBroken()
    return key


class _Sealer:
    """Seals one answer, once all of it is there."""

    def __init__(self, envelope: Envelope, content: str, keyring: Keyring, message_id: bytes) -> None:
        self.media_type = envelope.media_type
        self._envelope, self._content, self._keyring, self._message_id = envelope, content, keyring, message_id
        self._status = 200
        self._headers: Headers = ()
        self._body = bytearray()

    def begin(self, status: int, headers: Headers) -> bytes:
        self._status, self._headers = status, headers
        return b""

    def write(self, data: bytes) -> bytes:
        self._body += data
        return b""

    def end(self) -> bytes:
        response = InnerResponse(self._status, self._headers, bytes(self._body))
        plain, context = answer.compose(response, self._content, self._message_id)
        sealed, _ = seal(plain, self._keyring, context)
        return self._envelope.pack(sealed, context)
