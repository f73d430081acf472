"""What the audit log will say of a request. Each layer that learns something of it fills in its part.

Nothing in it is content: a value that a client chose is taken only if it is on a list, and everything else is a number, a
name of ours, or dropped. Knows nothing of how it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scope = MutableMapping[str, Any]
UNKNOWN = "unknown"
UNOPENED = "unopened"
"""The protocol of what was sealed and did not open."""
Stage = Literal["open", "decode", "preprocess", "wait", "infer", "postprocess", "seal"]
_KEY = "safelight.record"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=+-]{0,127}")


@dataclass
class Record:
    """One request.

    routes: those that may be named; any other is "unknown". protocol: "plain", or how the request was sealed. key_id:
    public name of the key that opened it. status: of the answer that the asker reads, the inner one when sealed. model,
    digest: of the one that answered. refusal: the anchor of a problem's type. batch_size: inputs in the run it was part of.
    caller: who asked; the log keeps a pseudonym. begun: when it came. fallback_from: models that should have answered first.
    stages: where the time went: (stage, begun, ended), seconds of the service's monotonic clock.
    """

    routes: Collection[str] = field(default=(), repr=False)
    request_id: str | None = None
    route: str = UNKNOWN
    method: str = UNKNOWN
    protocol: str = "plain"
    key_id: str | None = None
    status: int | None = None
    model: str | None = None
    digest: str | None = None
    refusal: str | None = None
    batch_size: int | None = None
    caller: str | None = field(default=None, repr=False)
    begun: float | None = field(default=None, repr=False)
    fallback_from: tuple[str, ...] = ()
    stages: list[tuple[Stage, float, float]] = field(default_factory=list, repr=False)

    def spent(self, stage: Stage, begun: float, ended: float) -> None:
        """Note a stage of the work on a request. May be called from any thread, and more than once for a stage."""
        self.stages.append((stage, begun, ended))

    def enter(self, scope: Scope, request_id: str | None = None) -> None:
        """Note where a request goes; an inner one counts more than the outer one before it."""
        self.request_id = request_id
        self.route = scope["path"] if scope["path"] in self.routes else UNKNOWN
        self.method = scope["method"] if scope["method"] in _METHODS else UNKNOWN

    def refused(self, type_: str, status: int, request_id: str) -> None:
        """Note a problem (RFC 9457)."""
        self.refusal, self.status = type_.rpartition("#")[2], status
        self.request_id = request_id or self.request_id

    def answered_by(self, model: str, digest: str) -> None:
        """Note which model answered. digest: SHA-256 of its signed manifest."""
        self.model, self.digest = model, digest

    def fields(self) -> dict[str, str | int | None]:
        """As a sink takes it: a name that is not written like one is left out. The caller is the sink's to hide."""
        return {
            "id": _name(self.request_id),
            "route": self.route,
            "method": self.method,
            "protocol": _name(self.protocol) or UNKNOWN,
            "key_id": _name(self.key_id),
            "status": self.status,
            "model": _name(self.model),
            "digest": _name(self.digest),
            "refusal": _name(self.refusal),
            "caller": self.caller,
        }


def open_record(scope: Scope, routes: Collection[str]) -> Record:
    """Make the record of a request that comes in, and keep it in the scope; the scopes made from that one share it."""
    record = scope[_KEY] = Record(routes)
    record.enter(scope)
    return record


def record_of(scope: Scope) -> Record:
    """The record of a request. Where none was opened, one that is nobody's: what is noted in it is lost."""
    record = scope.get(_KEY)
    return record if isinstance(record, Record) else Record()


def _name(value: str | None) -> str | None:
    return value if value is not None and _NAME.fullmatch(value) else None
