"""Silence for what would tell of a request: logs of libraries, tracebacks with their messages, warnings.

At debug level Pillow logs EXIF values, uvicorn's access log holds paths with their query strings, and python-multipart
logs the bytes it stumbles over. uvicorn, asyncio and BentoML log an exception with all it says, and so does Python itself
when a thread or a finaliser fails; pydantic's warnings quote values. Called once the server has set up its logging.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from PIL import Image

from safelight.errors import SafelightError
from serving.privacy.logs import place_of

TALKATIVE = (
    "PIL",
    "python_multipart",
    "uvicorn.access",
    "httpx",
    "httpcore",
    "botocore",
    "boto3",
    "urllib3",
    "aws_encryption_sdk",
)
_SAYING_REPRS = "asyncio"
"""Its messages hold tasks and callbacks by their repr, with their exceptions and arguments."""


def silence() -> None:
    """Let nothing below CRITICAL pass from the loggers in `TALKATIVE` and their children, and no warning of large
    pictures: the gateway has limits of its own."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
        for child, logger in logging.Logger.manager.loggerDict.items():
            if child.startswith(f"{name}.") and isinstance(logger, logging.Logger):
                logger.setLevel(logging.NOTSET)


def scrub() -> None:
    """From now on an exception is its class and its place, in every log record of this process, in every warning and where
    Python itself would print it. What a SafelightError says stays: it is public."""
    if not isinstance(logging.getLogRecordFactory(), _Scrubbed):
        logging.setLogRecordFactory(_Scrubbed(logging.getLogRecordFactory()))
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    warnings.showwarning = _warned


class _Scrubbed:
    """A factory of log records around another."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        if record.name == _SAYING_REPRS:
            record.msg, record.args = "the event loop has something to say", ()
        elif isinstance(record.msg, BaseException):
            record.msg = said(record.msg)
        if isinstance(record.args, dict):
            record.args = {key: _argument(value) for key, value in record.args.items()}
        elif record.args:
            record.args = tuple(_argument(value) for value in record.args)
        error = record.exc_info[1] if record.exc_info else None
        record.exc_info = record.exc_text = record.stack_info = None
        if error is not None:
            record.msg = (
                f"{str(record.msg).rstrip()} [{said(error).replace('%', '%%') if record.args else said(error)}]"
            )
        return record


def said(error: BaseException) -> str:
    """What may be said of an exception."""
    place = place_of(error.__traceback__)
    public = f": {error.detail}" if isinstance(error, SafelightError) else ""
    return type(error).__name__ + (f" at {place}" if place else "") + public


def _argument(value: object) -> object:
    return said(value) if isinstance(value, BaseException) else value


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        print(f"uncaught: {said(error)}", file=sys.stderr)


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        print(f"uncaught in a thread: {said(arguments.exc_value)}", file=sys.stderr)


def _unraisable(arguments: Any) -> None:
    if arguments.exc_value is not None:
        print(f"not raised: {said(arguments.exc_value)}", file=sys.stderr)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    print(f"warning: {category.__name__}", file=sys.stderr)
