"""The audit log of the service: one record for every request, written before the last byte of its answer leaves.

A request that cannot be recorded is refused: while nothing can be written, before any of it is read; when it fails later,
in place of the answer, or by leaving an answer that has begun without its end. Knows nothing of what requests are about.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

import safelight
from safelight.audit import AuditKey, AuditLog, Index
from safelight.errors import AuditUnavailable, ConfigError
from serving.api import problems
from serving.privacy import logs
from serving.privacy.headers import SecurityHeaders
from serving.privacy.record import Record, open_record, record_of
from serving.settings import Settings

__all__ = ["Audit", "Record", "Sink", "Trail", "UNAUDITED", "record_of"]
log = logs.logger()


class Sink(Protocol):
    """Where records go. Both raise AuditUnavailable; `check` says whether records can be kept at all now."""

    def check(self) -> None: ...

    def append(self, fields: Mapping[str, Any]) -> None: ...


class _Nowhere:
    def check(self) -> None: ...

    def append(self, fields: Mapping[str, Any]) -> None: ...


UNAUDITED: Sink = _Nowhere()
"""For tests, and for those who switch the audit log off by name."""


class Audit:
    """ASGI middleware, outside of all others. routes: the paths that a record may name. clock: monotonic seconds. new_id: a
    fresh random id, for refusals of its own."""

    def __init__(
        self,
        app: ASGIApp,
        sink: Sink,
        *,
        routes: Collection[str],
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._app, self._sink, self._routes = app, sink, frozenset(routes)
        self._clock, self._new_id = clock, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self._sink, open_record(scope, self._routes), receive, send, self._clock)
        try:
            self._sink.check()
        except AuditUnavailable as error:
            await self._refuse(scope, receive, exchange, error)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # a mistake in one of the outer layers; the server's own log would quote it
            logs.report(error, exchange.record.request_id)
            await self._break_down(scope, receive, exchange)
        finally:
            exchange.leave()
        if exchange.failure is not None:
            await self._refuse(scope, receive, exchange, exchange.failure)

    async def _refuse(self, scope: Scope, receive: Receive, exchange: _Exchange, error: AuditUnavailable) -> None:
        """Answer 503, unless an answer is on its way: that one stays without its end, and the server cuts it off."""
        log.error("audit_unavailable", reason=error.reason)
        if not exchange.started:
            request_id = self._new_id()
            answer = problems.refusal(error, request_id)
            answer.headers["x-request-id"] = request_id
            await SecurityHeaders(answer)(scope, receive, exchange.send_unrecorded)
        else:
            exchange.record.refused(f"{problems.DOCS}#audit-unavailable", error.status, "")  # for the figures

    async def _break_down(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        if not exchange.started:
            request_id = exchange.record.request_id or self._new_id()
            exchange.record.request_id = request_id
            await SecurityHeaders(problems.answer(problems.of_status(500, request_id)))(scope, receive, exchange.send)


class _Exchange:
    """One request and its answer, measured. The first message of an answer waits for the second, and the last one for the
    record, so that a short answer does not leave before it was recorded.

    started: whether some of an answer has left. failure: why the record could not be kept.
    """

    def __init__(self, sink: Sink, record: Record, receive: Receive, send: Send, clock: Callable[[], float]) -> None:
        self.record, self.started = record, False
        self.failure: AuditUnavailable | None = None
        self._sink, self._receive, self._send, self._clock = sink, receive, send, clock
        self._begun = record.begun = clock()
        self._head: Message | None = None
        self._status: int | None = None
        self._bytes_in = self._bytes_out = 0
        self._recorded = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if self.failure is not None:
            return
        if message["type"] == "http.response.start":
            self._head, self._status = message, message["status"]
            return
        if message["type"] != "http.response.body":
            raise RuntimeError("Expected the start of an answer or a part of its body.")
        self._bytes_out += len(message.get("body", b""))
        if not message.get("more_body", False) and not self._keep(complete=True):
            return
        if self._head is not None:
            head, self._head, self.started = self._head, None, True
            await self._send(head)
        await self._send(message)

    async def send_unrecorded(self, message: Message) -> None:
        """For the answer that says that no record can be kept."""
        self.started = True
        await self._send(message)

    def leave(self) -> None:
        """Once the application is done, however: an answer that it did not finish is recorded as such."""
        if not self._recorded and self.failure is None:
            self._keep(complete=False)

    def _keep(self, *, complete: bool) -> bool:
        self._recorded = True
        record = self.record
        if record.status is None:
            record.status = self._status
        measured = {
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
            "duration_ms": round((self._clock() - self._begun) * 1000, 3),
            "complete": complete,
        }
        try:
            self._sink.append({**record.fields(), **measured})
        except AuditUnavailable as error:
            self.failure = error
        return self.failure is None


class Trail:
    """The audit log that the settings describe, with a thread that seals it. now: seconds since the epoch.

    Nothing is made before `load`, and until then no request is answered.
    """

    def __init__(self, settings: Settings, *, now: Callable[[], float]) -> None:
        self._settings, self._facts, self._now = settings.audit, facts(settings), now
        self._log: AuditLog | None = None
        self._key: AuditKey | None = None
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="audit", daemon=True)

    def rehearse(self) -> None:
        """Enter into the index that the service starts; raises ConfigError when it must not, for want of an audit log."""
        folder = self._settings.folder
        if folder == "none":
            log.warning("audit_off")
            return
        try:
            index = Index(folder, AuditKey(self._settings.key), now=self._now, fsync=self._settings.fsync)
            index.add("started", self._facts)
        except AuditUnavailable as error:
            raise ConfigError(f"The audit log cannot be kept: {error.reason}.") from None

    def load(self) -> None:
        """Begin a file. Raises ConfigError."""
        folder = self._settings.folder
        if folder == "none":
            return
        try:
            self._key = AuditKey(self._settings.key)
            self._log = AuditLog(
                folder,
                self._key,
                self._facts,
                checkpoint_every=self._settings.checkpoint_every,
                rotate_bytes=self._settings.rotate_bytes,
                fsync=self._settings.fsync,
                now=self._now,
            )
        except AuditUnavailable as error:
            raise ConfigError(f"The audit log cannot be kept: {error.reason}.") from None
        self._keeper.start()

    def check(self) -> None:
        """For a request. Raises AuditUnavailable."""
        self._loaded()
        if self._log is not None:
            self._log.check()

    def not_ready(self) -> str | None:
        """Why requests cannot be recorded now, or None."""
        try:
            self._loaded()
            if self._log is not None:
                self._log.mend()
        except AuditUnavailable as error:
            return error.reason
        return None

    def _loaded(self) -> None:
        if self._log is None and self._settings.folder != "none":
            raise AuditUnavailable("it is not loaded")

    def append(self, fields: Mapping[str, Any]) -> None:
        """Raises AuditUnavailable."""
        self.check()
        if self._log is not None and self._key is not None:
            caller = fields.get("caller")
            self._log.append({**fields, "caller": caller and self._key.pseudonym(caller)})
            if self._log.due:
                self._wake.set()

    def close(self) -> None:
        """Seal and close the file; no request is answered afterwards."""
        if self._log is None:
            return
        self._stopping.set()
        self._wake.set()
        self._keeper.join()
        try:
            self._log.close()
        except AuditUnavailable as error:
            log.error("audit_unavailable", reason=error.reason)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._settings.checkpoint_s)
            self._wake.clear()
            try:
                if self._log is not None and not self._stopping.is_set():
                    self._log.mend()
                    self._log.checkpoint()
            except AuditUnavailable as error:
                log.error("audit_unavailable", reason=error.reason)


def facts(settings: Settings) -> dict[str, str | int | float | bool]:
    """What each file of the log says of the service at its beginning: its version and its policy, nothing secret."""
    return {
        "version": safelight.__version__,
        "models": ",".join(settings.models),
        "workers": settings.workers,
        "allow_plaintext": settings.allow_plaintext,
        "max_bytes": settings.limits.max_bytes,
        "max_pixels": settings.limits.max_pixels,
        "kinds": ",".join(settings.sealing.kinds),
        "chunked": settings.sealing.chunked,
        "freshness_s": settings.sealing.freshness_s,
        "credentials": settings.access.configured,
    }
