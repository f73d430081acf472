"""The words of /readyz. BentoML owns the route and asks `__is_ready__`; this says what it answers when not ready."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.exceptions import HTTPException

from safelight.errors import ModelUnavailable
from serving.api import problems
from serving.models.catalogue import Catalogue


def check(catalogue: Catalogue, new_id: Callable[[], str]) -> bool:
    """True when requests that name no model can be answered.

    Raises HTTPException, which BentoML's route turns into its answer: a 503 problem with the state of every model.
    """
    if catalogue.ready():
        return True
    error = ModelUnavailable(f"The default model, {catalogue.default}, is not ready.")
    states = [{"name": e.name, "state": e.state, "failure": e.failure} for e in catalogue.entries()]
    body = {**problems.of_error(error, new_id()).model_dump(), "models": states}
    headers = {"content-type": problems.MEDIA_TYPE, "cache-control": "no-store"}
    raise HTTPException(error.status, json.dumps(body), headers)
