"""Taking in the images of a request: one, raw or in a form, or several in a form; in memory, within limits of size, time and
memory.

Whatever is wrong is refused before more than the limit was held. Knows nothing of what the image will be used for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import Request

from safelight.errors import BodyTooSlow, EmptyBody, MalformedBody, RequestError, TooLarge, UnsupportedFormat
from safelight.images import ImageLimits
from serving.privacy.context import Context, Upload, context_of
from serving.privacy.multipart import FRAMING_BYTES, FormFile, Part
from serving.resilience.memory import Budget, Holding
from serving.resilience.pace import Pace

FIELD = "image"
"""Name of the form field that holds the image."""
_FORM = "multipart/form-data"
_UNSAID = ("", "application/octet-stream")
_ALIASES = {"image/jpg": "image/jpeg", "image/heif": "image/heic"}


class Intake:
    """Reads images out of requests.

    limits: bytes and media types that are accepted. pace: how fast a body has to arrive. budget: of bytes that all requests
    may hold together.
    """

    def __init__(self, limits: ImageLimits, *, pace: Pace, budget: Budget) -> None:
        self._limits, self._pace, self._budget = limits, pace, budget

    @asynccontextmanager
    async def taking(self, request: Request) -> AsyncIterator[Upload]:
        """The image of a request, whose bytes are held for as long as the block lasts.

        Raises EmptyBody, TooLarge, MalformedBody, MissingField, InvalidOption, UnsupportedFormat, BodyTooSlow, or Overloaded
        when there is no room for more bytes.
        """
        with self._budget.holding() as holding:
            yield await self._image(request, holding)

    @asynccontextmanager
    async def taking_several(self, request: Request, most: int) -> AsyncIterator[list[Upload | RequestError]]:
        """The images of a form, in their order, held as `taking` holds one; in the place of one that cannot be taken, why.

        All of them together may have twice as many bytes as one. Raises what `taking` raises of the whole form.
        """
        with self._budget.holding() as holding:
            yield await self._images(request, holding, most)

    async def _images(self, request: Request, holding: Holding, most: int) -> list[Upload | RequestError]:
        content_type, context = request.headers.get("content-type", ""), context_of(request.scope)
        if _essence(content_type) != _FORM:
            raise UnsupportedFormat(
                f"Send the images as multipart/form-data, each in a field '{FIELD}' (curl -F {FIELD}=@A -F {FIELD}=@B)."
            )
        largest = 2 * self._limits.max_bytes + FRAMING_BYTES
        self._refuse_announced(request, largest, largest - FRAMING_BYTES)
        body = _Body(request, largest, self._pace, holding)
        form = FormFile(content_type, FIELD, self._limits.max_bytes, most)
        await body.pour(form.feed)
        if not body.size:
            raise EmptyBody(f"Expected a form with fields '{FIELD}', got no bytes.")
        return [self._of_part(part, context) for part in form.files()]

    def _of_part(self, part: Part, context: Context) -> Upload | RequestError:
        if part.size > self._limits.max_bytes:
            return TooLarge(f"Expected a file of at most {self._limits.max_bytes} bytes, got more.")
        if not part.size:
            return EmptyBody(f"Expected an image ({', '.join(self._limits.media_types)}), got no bytes.")
        try:
            return Upload(context, part.data, self._media_type(part.media_type or ""))
        except UnsupportedFormat as error:
            return error

    def _refuse_announced(self, request: Request, largest: int, told: int) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > largest:
            raise TooLarge(f"Expected at most {told} bytes, the request announces more.")

    async def _image(self, request: Request, holding: Holding) -> Upload:
        content_type = request.headers.get("content-type", "")
        form = _essence(content_type) == _FORM
        if not form:
            self._media_type(content_type)
        largest = self._limits.max_bytes + (FRAMING_BYTES if form else 0)
        self._refuse_announced(request, largest, self._limits.max_bytes)
        context = context_of(request.scope)
        # What was in an envelope is held by whoever opened it; out of a form it is copied.
        body = _Body(request, largest, self._pace, None if context.seal is not None and not form else holding)
        if form:
            data, content_type = await self._from_form(body, content_type)
        else:
            chunks: list[bytes] = []
            await body.pour(chunks.append)
            data = b"".join(chunks)  # a single chunk is not copied
        if not data:
            raise EmptyBody(f"Expected an image ({', '.join(self._limits.media_types)}), got no bytes.")
        return Upload(context, data, self._media_type(content_type))

    async def _from_form(self, body: _Body, content_type: str) -> tuple[bytes, str]:
        form = FormFile(content_type, FIELD, self._limits.max_bytes)
        await body.pour(form.feed)
        if not body.size:
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


class _Body:
    """A request's body on its way in. largest: bytes. holding: where its bytes are counted, None when they already are.
    size: bytes that came."""

    def __init__(self, request: Request, largest: int, pace: Pace, holding: Holding | None) -> None:
        self._receive, self._largest, self._pace, self._holding = request.receive, largest, pace, holding
        self._ended = False
        self.size = 0

    async def pour(self, into: Callable[[bytes], object]) -> None:
        """Give each piece to `into` as it comes. Raises TooLarge, BodyTooSlow, MalformedBody or Overloaded."""
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(self._pace.deadline(begun, 0)) as timer:
                while (chunk := await self._next()) is not None:
                    into(chunk)
                    timer.reschedule(self._pace.deadline(begun, self.size))
        except TimeoutError:
            raise BodyTooSlow(f"Expected at least {self._pace}.") from None

    async def _next(self) -> bytes | None:
        """The next piece that is not empty, None at the end."""
        while not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise MalformedBody("The connection was closed before the body ended.")
            self._ended = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            if chunk:
                self._count(len(chunk))
                return chunk
        return None

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > self._largest:
            raise TooLarge(f"Expected at most {self._largest} bytes, got more.")
        if self._holding is not None:
            self._holding.take(size)
