"""/readyz: whether requests can be answered now, and of each part that this takes, whether it is ready and why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import BaseModel, Field
from starlette.responses import Response

from safelight.errors import ModelUnavailable
from serving.api import problems
from serving.models.catalogue import Catalogue, DetectorPool, ReaderPool

Check = Callable[[], str | None]
"""A sentence that says why a part is not ready, or None. Quick, and raises nothing."""


class Component(BaseModel):
    """needed: whether the service is not ready without it."""

    name: str = Field(examples=["route coco"])
    ready: bool
    needed: bool
    reason: str | None = Field(default=None, examples=["coco: The bundle is not signed by a trusted key."])


class Ready(BaseModel):
    """components: for those who may see the models; others are told only that it is ready."""

    ready: bool = True
    components: list[Component] | None = None


class NotReady(problems.Problem):
    """As a problem (RFC 9457)."""

    ready: bool = False
    components: list[Component] | None = None


class Readiness:
    """catalogue: the models. checks: of everything else that no request can be answered without, by name. needed: names the
    route that none can be answered without, by default the default one of detectors."""

    def __init__(
        self, catalogue: Catalogue, checks: Mapping[str, Check], needed: Callable[[], str | None] | None = None
    ) -> None:
        self._catalogue, self._checks, self._needed = catalogue, dict(checks), needed

    def components(self) -> list[Component]:
        """Every part. Of the routes, only one is needed: whoever asks for another is told."""
        parts = [
            Component(name=name, ready=reason is None, needed=True, reason=reason)
            for name, check in self._checks.items()
            for reason in (check(),)
        ]
        return parts + [self._of_route(pool) for pool in self._catalogue.everything]

    def answer(self, request_id: str, *, tell: bool) -> Response:
        """The answer of /readyz. tell: whether the asker may hear of the parts."""
        parts = self.components()
        told = parts if tell else None
        if all(part.ready or not part.needed for part in parts):
            return Response(Ready(components=told).model_dump_json(exclude_none=True), media_type="application/json")
        error = ModelUnavailable("The service is not ready: a part that it needs is not.")
        problem = problems.of_error(error, request_id)
        body = NotReady(**problem.model_dump(), components=told)
        return problems.answer(body, {"x-request-id": request_id})

    def _of_route(self, pool: DetectorPool | ReaderPool) -> Component:
        reason = (
            None if pool.ready else "; ".join(f"{m.name}: {_why_not(m.failure, m.breaker.state)}" for m in pool.members)
        )
        needed = pool.name == (self._needed() if self._needed else self._catalogue.default)
        return Component(name=f"route {pool.name}", ready=pool.ready, needed=needed, reason=reason)


def _why_not(failure: str | None, breaker: str) -> str:
    return failure or (f"its breaker is {breaker}" if breaker != "closed" else "not loaded yet")
