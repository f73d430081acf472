"""The refusals of sealed requests: each the same bytes for everybody, without a request id."""

from __future__ import annotations

from starlette.responses import Response

from safelight.errors import SealBroken, UnknownKey
from safelight.sealing.ohttp import KEY_PROBLEM
from serving.api import problems


def _fixed(status: int, type_: str, title: str, detail: str) -> Response:
    problem = problems.Problem(type=type_, title=title, status=status, detail=detail, request_id="")
    body = problem.model_dump_json(exclude={"request_id"})
    return problems.Refusal(body, status, {"cache-control": "no-store"}, problem)


BROKEN = _fixed(400, f"{problems.DOCS}#seal-broken", SealBroken.title, SealBroken().detail)
UNKNOWN_KEY = _fixed(400, KEY_PROBLEM, UnknownKey.title, UnknownKey().detail)
BROKEN_DOWN = _fixed(500, f"{problems.DOCS}#internal-server-error", "Internal Server Error", "The answer broke off.")
