"""The service's own log: JSON lines with the fields on a list, and nothing else.

A field that is not on the list is dropped and counted, and so is a value that is no number, word or short sentence; an
exception becomes its class and its place. The lines go to standard error through the standard library's logging, beside
what BentoML writes. Knows nothing of what happens.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from pathlib import PurePath
from types import TracebackType
from typing import Any

import structlog

from safelight.errors import SafelightError

NAME = "safelight"
FIELDS = frozenset({
    "event", "level", "timestamp", "dropped",
    "request_id", "route", "status", "duration_ms",
    "error", "place", "detail", "reason",
    "model", "version", "state",
})  # fmt: skip
"""The only fields of a line. error: an exception goes in, its class comes out, with its place, and with its detail when
that is public (a SafelightError). reason: a sentence of ours."""
MAX_CHARS = 300
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
Event = MutableMapping[str, Any]


def logger() -> Any:
    """A structlog logger; its events are names such as `model_ready`."""
    return structlog.wrap_logger(
        logging.getLogger(NAME),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            _errors,
            _listed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
    )


def open_log() -> None:
    """Send the log to standard error. Called once the server has set up its own logging, which switches others off."""
    own = logging.getLogger(NAME)
    logging.raiseExceptions = False  # what cannot be written must not be printed, with a traceback that quotes
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    own.handlers[:] = [handler]
    own.setLevel(logging.INFO)
    own.propagate, own.disabled = False, False


def report(error: BaseException, request_id: str | None) -> None:
    """Log where an unexpected error was raised and its class, never what it says: that may quote a payload."""
    logger().error("unexpected_error", error=error, request_id=request_id)


def place_of(traceback: TracebackType | None) -> str | None:
    """The file and line where an error was raised."""
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    parts = PurePath(traceback.tb_frame.f_code.co_filename).parts
    return f"{'/'.join(parts[-3:])}:{traceback.tb_lineno}"


def _errors(_: Any, __: str, event: Event) -> Event:
    if event.pop("exc_info", None) and "error" not in event:
        event["error"] = sys.exc_info()[1]
    error = event.get("error")
    for name in ("place", "detail"):
        event.pop(name, None)
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["place"] = place_of(error.__traceback__)
        if isinstance(error, SafelightError):
            event["detail"] = error.detail
    return event


def _listed(_: Any, __: str, event: Event) -> Event:
    kept: Event = {name: value for name, value in event.items() if name in FIELDS and _plain(value)}
    name = kept.get("event")
    if not isinstance(name, str) or _EVENT.fullmatch(name) is None:  # a sentence may have been made with a payload
        kept["event"] = "unnamed"
    dropped = len(event) - len(kept)
    return {**kept, "dropped": dropped} if dropped else kept


def _plain(value: object) -> bool:
    return (
        value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_CHARS)
    )
