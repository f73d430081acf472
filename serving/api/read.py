"""POST /v1/read and /v1/read:batch: pictures in, what stands on them out. Its requests are opened: it knows no sealing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from safelight.errors import RequestError, SafelightError
from safelight.images import ImageLimits, decode
from safelight.reader.manifest import ReaderManifest
from serving.api import problems
from serving.api.options import ReadOptions
from serving.models.catalogue import Catalogue, ReaderPool
from serving.models.served import Served
from serving.privacy.context import Upload, context_of
from serving.privacy.intake import Intake
from serving.privacy.logs import report
from serving.privacy.record import Record, record_of
from serving.reader.cache import ResultCache
from serving.reader.catalogue import KeyCatalogue
from serving.reader.predictor import LeftS, Reader, Reading
from serving.reader.wire import API_VERSION, answer_of, timestamp
from serving.reader_settings import Readers
from serving.resilience.deadline import Deadline

_MARGIN, _MOST_MARGIN_S = 0.1, 0.25
"""How much earlier than its time is over a base is told so: it alone knows whether it is busy or hangs."""


class ReadRoute:
    """catalogue: the models. intake: takes images in. limits: what is decoded. readers: settings. known: of what is read.
    timeout_s: from a request's arrival to its answer. pictures: how many are decoded at a time. clock: seconds, monotonic.
    now: seconds since the epoch."""

    def __init__(
        self,
        catalogue: Catalogue,
        intake: Intake,
        limits: ImageLimits,
        readers: Readers,
        known: KeyCatalogue,
        *,
        timeout_s: float,
        pictures: int,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._catalogue, self._intake, self._limits, self._known = catalogue, intake, limits, known
        self._timeout_s, self._most = timeout_s, readers.batch
        self._decoding = threading.Semaphore(pictures)
        self._clock, self._now = clock, now
        self._sealed_too = readers.cache.sealed
        kept = readers.cache
        self._cache = ResultCache[Reading](kept.entries, kept.seconds, clock) if kept.entries else None

    async def read(self, request: Request) -> Response:
        """Read one image, sent raw or in the form field `image`, into the fields of a task.

        The image is held in memory only, no longer than the answer takes; of a ZIP code its first three digits are.
        """
        asked = _Asked(self, request)
        async with self._intake.taking(request) as upload:
            answer = await asked.answer(upload)
        return Response(orjson.dumps(answer), media_type="application/json")

    async def read_several(self, request: Request) -> Response:
        """Read several images of one form, each in a field `image`: each gets its answer or its problem, in their order."""
        asked = _Asked(self, request)
        async with self._intake.taking_several(request, self._most) as uploads:
            found = await asyncio.gather(*(asked.answer(upload) for upload in uploads), return_exceptions=True)
        results = [_result(index, one, asked.request_id) for index, one in enumerate(found)]
        read = sum(result["success"] for result in results)
        answer = {
            "success": read == len(results),
            "request_id": asked.request_id,
            "results": results,
            "read": read,
            "refused": len(results) - read,
            "timestamp": timestamp(self._now()),
            "api_version": API_VERSION,
        }
        return Response(orjson.dumps(answer), media_type="application/json")


class _Asked:
    """One request, of one or several pictures. Raises InvalidOption, UnknownModel or ModelUnavailable."""

    def __init__(self, route: ReadRoute, request: Request) -> None:
        self._route, self._record = route, record_of(request.scope)
        self._options = ReadOptions.parse(request.query_params.multi_items())
        self._pool: ReaderPool = route._catalogue.reader(self._options.model)
        _ = self._pool.manifest  # before any of the body is read
        context, asked_s = context_of(request.scope), self._options.timeout_s
        self.request_id = context.request_id
        timeout_s = route._timeout_s if asked_s is None else min(route._timeout_s, asked_s)
        begun = route._clock() if self._record.begun is None else self._record.begun
        self._deadline = Deadline(begun, timeout_s, route._clock)
        self._cache = route._cache if context.seal is None or route._sealed_too else None

    async def answer(self, upload: Upload | RequestError) -> dict[str, Any]:
        """On the wire. Raises what is wrong with the picture, and whatever `Pool.look` raises."""
        if isinstance(upload, RequestError):
            raise upload
        looked = await self._pool.look(
            lambda served, record: self._read(upload, served, record), self._record, self._deadline
        )
        (_, served), *_ = looked.by
        self._record.answered_by(served.manifest.name, served.digest)
        self._record.fallback_from = tuple(name for name, _ in looked.passed_over)
        return answer_of(self.request_id, looked, self._route._known, self._options.location, self._route._now())

    def _read(self, upload: Upload, served: Served[ReaderManifest, Reader], record: Record) -> Reading:
        """What one version of a reader reads. Blocks. The pixels are let go before the model is asked."""
        with self._turn():
            begun = self._route._clock()
            pixels = decode(upload.data, self._route._limits, upload.media_type)
            record.spent("decode", begun, self._route._clock())
            key = None if self._cache is None else self._cache.key(pixels, served.digest)
            if self._cache is not None and key is not None and (known := self._cache.get(key)) is not None:
                return known
            prepared = served.looker.prepare(pixels, record)
            del pixels
        reading = served.looker.read(prepared, self._left_s, record)
        if self._cache is not None and key is not None:
            self._cache.put(key, reading)
        return reading

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One of the few that decode at a time. Raises DeadlineExceeded."""
        if not self._route._decoding.acquire(timeout=self._deadline.left_s()):
            raise self._deadline.exceeded()
        try:
            yield
        finally:
            self._route._decoding.release()

    @property
    def _left_s(self) -> LeftS:
        margin_s = min(_MOST_MARGIN_S, _MARGIN * self._deadline.seconds)

        def left_s() -> float:
            left = self._deadline.remaining_s - margin_s
            if left <= 0:
                raise self._deadline.exceeded()
            return left

        return left_s


def _result(index: int, found: dict[str, Any] | BaseException, request_id: str) -> dict[str, Any]:
    """A `ReadResult`. Raises what is no failure of a picture: the request was given up."""
    if isinstance(found, dict):
        return {"index": index, "success": True, "answer": found}
    if isinstance(found, SafelightError):
        problem = problems.of_error(found, request_id)
    elif isinstance(found, Exception):
        report(found, request_id)
        problem = problems.of_status(500, request_id)
    else:
        raise found
    return {"index": index, "success": False, "problem": problem.model_dump()}
