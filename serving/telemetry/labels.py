"""The values that labels and attributes may have: fixed lists of ours, and names that a signed model or the settings give.

Whatever else comes is "other", so that no client can put a word of its own into a figure, or make many of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from safelight.errors import SafelightError
from safelight.sealing.ohttp import DATE_PROBLEM, KEY_PROBLEM
from serving.api.problems import anchor
from serving.models.observer import BreakerState, Failure, Swap
from serving.privacy.record import UNOPENED, Stage

OTHER, NONE = "other", "none"
PROTOCOLS = frozenset({"plain", UNOPENED, "ohttp", "ohttp-chunked", "aws-encryption-sdk"})
STAGES: Final[tuple[Stage, ...]] = ("open", "decode", "preprocess", "wait", "infer", "postprocess", "seal")
BREAKER_STATES: Final[tuple[BreakerState, ...]] = ("closed", "half-open", "open")
FAILURES: Final[tuple[Failure, ...]] = ("failed", "too slow", "breaker open", "busy", "not loaded")
SWAPS: Final[tuple[Swap, ...]] = ("swapped", "refused", "rolled back")
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", NONE)
DEPENDENCIES = {"audit-unavailable": "audit", "replay-store-down": "replay", "access-undecided": "access"}
"""Refusals that tell of something that the service cannot do without, and of what."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}")


def _errors(kind: type[SafelightError]) -> Iterator[type[SafelightError]]:
    for error in kind.__subclasses__():
        yield error
        yield from _errors(error)


REFUSALS = frozenset({
    NONE,
    *(anchor(error.__name__) for error in _errors(SafelightError)),
    *(anchor(status.phrase) for status in HTTPStatus if status >= 400),
    *(problem.rpartition("#")[2] for problem in (DATE_PROBLEM, KEY_PROBLEM)),
})  # fmt: skip
"""The anchors of the problems that the service answers with, and "none" for answers that are none."""


def listed(value: str | None, known: frozenset[str]) -> str:
    """The value if it is on a list, "none" for None."""
    if value is None:
        return NONE
    return value if value in known else OTHER


def status_label(status: int | None) -> str:
    """Three digits; "none" for a request that was never answered."""
    return str(status) if status is not None and 100 <= status <= 599 else NONE


class Names:
    """Names of models and of routes to them, as they come up: from the settings and from signed manifests.

    most: how many are told apart. Those that come later are "other", and so is what is not written like a name.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str | None) -> str:
        """The label for a name, "none" for None."""
        if name is None or name in self._known:
            return NONE if name is None else name
        if len(self._known) >= self._most or _NAME.fullmatch(name) is None:
            return OTHER
        self._known.add(name)
        return name
