"""Taking in the one image of a request: raw or in a form, in memory, within limits of size and time.

Whatever is wrong is refused before more than the limit was held. Knows nothing of what the image will be used for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from starlette.requests import ClientDisconnect, Request

from safelight.errors import BodyTooSlow, EmptyBody, MalformedBody, TooLarge, UnsupportedFormat
from safelight.images import ImageLimits
from serving.privacy.context import Upload, context_of
from serving.privacy.multipart import FRAMING_BYTES, FormFile

FIELD = "image"
"""Name of the form field that holds the image."""
_FORM = "multipart/form-data"
_UNSAID = ("", "application/octet-stream")
_ALIASES = {"image/jpg": "image/jpeg", "image/heif": "image/heic"}


class Intake:
    """Reads images out of requests.

    limits: bytes and media types that are accepted. timeout_s: for a body to arrive. at_once: bodies held at a time;
    further requests wait with their bodies unread.
    """

    def __init__(self, limits: ImageLimits, *, timeout_s: float, at_once: int) -> None:
        self._limits, self._timeout_s = limits, timeout_s
        self.turns = anyio.CapacityLimiter(at_once)

    async def image(self, request: Request) -> Upload:
        """The image of a request; call it with one of `turns` in hand.

        Raises EmptyBody, TooLarge, MalformedBody, MissingField, InvalidOption, UnsupportedFormat or BodyTooSlow.
        """
        content_type = request.headers.get("content-type", "")
        form = _essence(content_type) == _FORM
        if not form:
            self._media_type(content_type)
        largest = self._limits.max_bytes + (FRAMING_BYTES if form else 0)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > largest:
            raise TooLarge(f"Expected at most {self._limits.max_bytes} bytes, the request announces more.")
        try:
            with anyio.fail_after(self._timeout_s):
                if form:
                    data, content_type = await self._from_form(request, content_type, largest)
                else:
                    data = b"".join([chunk async for chunk in _bounded(request, largest)])
        except TimeoutError:
            raise BodyTooSlow(f"Expected the whole body within {self._timeout_s:g} s.") from None
        except ClientDisconnect:
            raise MalformedBody("The connection was closed before the body ended.") from None
        if not data:
            raise EmptyBody(f"Expected an image ({', '.join(self._limits.media_types)}), got no bytes.")
        return Upload(context_of(request.scope), data, self._media_type(content_type))

    async def _from_form(self, request: Request, content_type: str, largest: int) -> tuple[bytes, str]:
        form, empty = FormFile(content_type, FIELD, self._limits.max_bytes), True
        async for chunk in _bounded(request, largest):
            empty = False
            form.feed(chunk)
        if empty:
            raise EmptyBody(f"Expected a form with the field '{FIELD}', got no bytes.")
        data, media_type = form.file()
        return data, media_type or ""

    def _media_type(self, content_type: str) -> str | None:
        """The claimed media type, None when the sender leaves it open. Raises UnsupportedFormat."""
        essence = _essence(content_type)
        if essence in _UNSAID:
            return None
        if essence not in self._limits.media_types:
            raise UnsupportedFormat(
                f"Send the image as {', '.join(self._limits.media_types)} or as multipart/form-data, and say so in the "
                "Content-Type (curl -H 'Content-Type: image/jpeg' --data-binary @FILE, or curl -F image=@FILE)."
            )
        return essence


def _essence(content_type: str) -> str:
    """A media type without parameters, in lower case, under its registered name."""
    essence = content_type.partition(";")[0].strip().lower()
    return _ALIASES.get(essence, essence)


async def _bounded(request: Request, largest: int) -> AsyncIterator[bytes]:
    """The body's chunks, until they are more than `largest` bytes: then TooLarge."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > largest:
            raise TooLarge(f"Expected at most {largest} bytes, got more.")
        if chunk:
            yield chunk
