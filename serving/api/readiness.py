"""The words of /readyz. BentoML owns the route and asks `__is_ready__`; this says what it answers when not ready.

BentoML passes no request on, so that whether this one may hear of the models is said by `telling`, around the call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.exceptions import HTTPException

from safelight.errors import AuditUnavailable, ModelUnavailable
from serving.api import problems
from serving.models.catalogue import Catalogue

_TELL = ContextVar("safelight.readiness.tell", default=False)


@contextmanager
def telling(allowed: bool) -> Iterator[None]:
    """Within it, in this task and the threads it starts, `check` tells the states of the models or keeps them."""
    token = _TELL.set(allowed)
    try:
        yield
    finally:
        _TELL.reset(token)


def check(catalogue: Catalogue, new_id: Callable[[], str], recordable: Callable[[], bool] = lambda: True) -> bool:
    """True when requests that name no model can be answered. recordable: whether the audit log takes records.

    Raises HTTPException, which BentoML's route turns into its answer: a 503 problem, with the state of every model for
    those who may see it.
    """
    if not recordable():
        problem = problems.of_error(AuditUnavailable("not ready"), new_id())
        raise HTTPException(problem.status, problem.model_dump_json(), {"content-type": problems.MEDIA_TYPE})
    if catalogue.ready():
        return True
    error = ModelUnavailable("The default model is not ready.")
    body = problems.of_error(error, new_id()).model_dump()
    if _TELL.get():
        body["models"] = [{"name": e.name, "state": e.state, "failure": e.failure} for e in catalogue.entries()]
    raise HTTPException(error.status, json.dumps(body), {"content-type": problems.MEDIA_TYPE})
