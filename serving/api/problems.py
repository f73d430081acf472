"""Errors on the wire: application/problem+json (RFC 9457), one `type` for each class of error.

Knows nothing of routes. A `type` is the anchor of its explanation in docs/serving.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from safelight.errors import SafelightError
from serving.privacy.record import record_of

MEDIA_TYPE = "application/problem+json"
DOCS = "/docs/serving.md"
RETRY_AFTER_S = 2


class Problem(BaseModel):
    """A refusal. retryable: whether the very same request may succeed later. Some have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=[f"{DOCS}#corrupt-image"])
    title: str = Field(examples=["The image is truncated or corrupt"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The image/jpeg data ends early or does not decode."])
    request_id: str = Field(examples=["5f2d8c6ad5d14a3b9f0e6a1c2b7d4e90"])
    retryable: bool = False


class Refusal(Response):
    """A problem as a response, which notes in the request's record what it is."""

    media_type = MEDIA_TYPE

    def __init__(self, body: str, status: int, headers: Mapping[str, str], problem: Problem) -> None:
        super().__init__(body, status, headers)
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record_of(scope).refused(self._problem.type, self._problem.status, self._problem.request_id)
        await super().__call__(scope, receive, send)


def of_error(error: SafelightError, request_id: str) -> Problem:
    """A Safelight error as a problem; its message is public by contract."""
    return Problem(
        type=f"{DOCS}#{anchor(type(error).__name__)}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        request_id=request_id,
        retryable=error.retryable,
        **error.members,
    )


def of_status(status: int, request_id: str) -> Problem:
    """A plain HTTP status (404, 405, 500) as a problem."""
    phrase = HTTPStatus(status).phrase
    detail = _HELP.get(status, "The request cannot be answered.")
    return Problem(type=f"{DOCS}#{anchor(phrase)}", title=phrase, status=status, detail=detail, request_id=request_id)


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response; retryable ones say when to come back, those of status 401 what is asked for."""
    own = {"retry-after": str(RETRY_AFTER_S)} if problem.retryable else {}
    if problem.status == 401:
        own["www-authenticate"] = "Bearer"
    return Refusal(problem.model_dump_json(), problem.status, {**own, **(headers or {})}, problem)


def refusal(error: SafelightError, request_id: str) -> Response:
    """A Safelight error as a response."""
    known = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    return answer(of_error(error, request_id), known)


_HELP = {
    400: "What came is no HTTP/1.1 request, or its body is not framed as its head says.",
    404: "There is nothing here. The routes are in /openapi.json.",
    405: "This route does not take that method; the Allow header names those it takes.",
    408: "The head of the request did not arrive in time.",
    431: "The head of the request is too long.",
    500: "Something broke in the service, not in the request. The request id finds it in the log.",
}


def anchor(name: str) -> str:
    """`TooLarge` or `Not Found` as `too-large`, `not-found`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|\s+", "-", name).lower()
