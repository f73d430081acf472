"""What an answer's message holds, and the context that binds it to its request. Both ends of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from safelight.errors import SealBroken
from safelight.sealing import bhttp, padding
from safelight.sealing.aws.context import CONTENT_TYPE, DATA_TYPE, HTTP, IN_REPLY_TO, RESPONSE, STAGE, STATUS, own
from safelight.sealing.messages import InnerResponse, header

_LEAST_ANSWER = 4096
_FINAL = re.compile(r"[2-5][0-9]{2}")


def compose(response: InnerResponse, content: str, message_id: bytes) -> tuple[bytes, dict[str, str]]:
    """(plaintext, context) of the answer to a request. content: the request's form, `http` or `image`; to the latter the
    plaintext is the body alone, and the context tells the status and the content type."""
    context = {STAGE: RESPONSE, IN_REPLY_TO: _reference(message_id)}
    if content == HTTP:
        plain = bhttp.encode_response(response)
        return plain + bytes(padding.missing(len(plain), _LEAST_ANSWER)), {**context, DATA_TYPE: HTTP}
    content_type = (header(response.headers, b"content-type") or b"application/octet-stream").decode("latin-1")
    told = {DATA_TYPE: _data_type(content_type), STATUS: str(response.status), CONTENT_TYPE: content_type}
    return response.body, {**context, **told}


def check(context: Mapping[str, str], content: str, message_id: bytes) -> None:
    """Raises SealBroken unless a context is that of the answer to a request."""
    context = own(context)
    expected = {STAGE: RESPONSE, IN_REPLY_TO: _reference(message_id)}
    if content == HTTP:
        if context != {**expected, DATA_TYPE: HTTP}:
            raise SealBroken()
        return
    told = {key: context.get(key, "") for key in (DATA_TYPE, STATUS, CONTENT_TYPE)}
    if context != {**expected, **told} or told[DATA_TYPE] != _data_type(told[CONTENT_TYPE]):
        raise SealBroken()
    if not _FINAL.fullmatch(told[STATUS]):
        raise SealBroken()


def read(plain: bytes, context: Mapping[str, str], content: str) -> InnerResponse:
    """The response, out of a message whose context was checked. Raises SealBroken."""
    if content == HTTP:
        return bhttp.decode_response(plain)
    return InnerResponse(int(context[STATUS]), ((b"content-type", context[CONTENT_TYPE].encode("latin-1")),), plain)


def _reference(message_id: bytes) -> str:
    return base64.b64encode(message_id).decode()


def _data_type(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("image/"):
        return "image"
    return "json" if media_type.endswith(("/json", "+json")) else "data"
