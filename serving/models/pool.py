"""The models behind one route, and which of them answers: the first that can, or all of them together.

A challenger may be given a share of the requests, or look at what others answered without anybody seeing it. Knows nothing
of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from safelight.errors import LabelsDiffer, ModelUnavailable, Overloaded, SafelightError
from safelight.fusion import agreement, fuse
from serving.models.member import Member, Unanswered
from serving.models.observer import Failure, Observer
from serving.models.served import L, M, Served
from serving.privacy.record import Record
from serving.resilience.deadline import Deadline

T = TypeVar("T")
_SHADOWS = 2  # pictures that a challenger may be looking at beside those that are answered


@dataclass(frozen=True)
class Looked(Generic[T, M, L]):
    """found: on the picture. by: who found it, the first of them by priority first. passed_over: who should have been asked
    first and could not answer, with the reasons."""

    found: T
    by: tuple[tuple[str, Served[M, L]], ...]
    passed_over: tuple[tuple[str, Failure], ...]


class Pool(Generic[M, L]):
    """name: of the route. members: by priority. fused: whether all of them answer together, which only detectors can.
    challenger: a model on trial, with the share of requests that it answers, and that it looks at in secret. draw: a random
    number in [0, 1). compare: how far two answers agree, 0 to 1."""

    def __init__(
        self,
        name: str,
        members: Sequence[Member[M, L]],
        *,
        fused: bool,
        fusion_iou: float,
        challenger: Member[M, L] | None,
        share: float,
        shadow: float,
        draw: Callable[[], float],
        observer: Observer,
        compare: Callable[[Any, Any], float] = agreement,
    ) -> None:
        self.name, self.members, self.challenger = name, tuple(members), challenger
        self.fused = fused
        self._fusion_iou, self._share, self._shadow = fusion_iou, share, shadow
        self._draw, self._observer, self._compare = draw, observer, compare
        self._shadows: set[asyncio.Task[None]] = set()

    @property
    def everyone(self) -> tuple[Member[M, L], ...]:
        """The members, and the challenger if there is one."""
        return self.members if self.challenger is None else (*self.members, self.challenger)

    @property
    def primary(self) -> Served[M, L] | None:
        """The version that answers first: of the first model that loaded."""
        return next((member.served for member in self.members if member.served is not None), None)

    @property
    def manifest(self) -> M:
        """Of the version that answers first. Raises ModelUnavailable while no model is loaded."""
        primary = self.primary
        if primary is None:
            raise ModelUnavailable(f"No model of the route {self.name} is loaded; /v1/models says why.")
        return primary.manifest

    @property
    def ready(self) -> bool:
        """Whether some model can answer now."""
        return any(member.answers for member in self.members)

    def refresh(self, *, retry: bool) -> None:
        """Load what has changed; see `Member.refresh`."""
        for member in self.everyone:
            member.refresh(lambda served, member=member: self._accept(member, served), retry=retry)  # type: ignore[misc]

    async def look(
        self, work: Callable[[Served[M, L], Record], T], record: Record, deadline: Deadline
    ) -> Looked[T, M, L]:
        """What the models find. work: looks at one picture with a version of a model, and tells where its time goes.
        record: of the request, where that is noted.

        Raises ModelUnavailable, Overloaded or DeadlineExceeded when nobody answers, and whatever `work` raises of the picture.
        """
        if self.fused:
            return await self._all(work, record, deadline)
        looked = await self._first(work, record, deadline)
        if looked.by[0][0] != getattr(self.challenger, "name", None):
            self._begin_shadow(work, deadline, looked.found)
        return looked

    def close(self) -> None:
        """Take no more work."""
        for member in self.everyone:
            member.close()

    def _accept(self, member: Member[M, L], served: Served[M, L]) -> None:
        """Raises LabelsDiffer for a version whose labels, or whose schema, are not those of the models beside it."""
        others = [one.served for one in self.everyone if one is not member and one.served is not None]
        if any(other.answers != served.answers for other in others):
            raise LabelsDiffer(f"Expected the labels, or the schema, of the other models of the route {self.name}.")

    async def _first(
        self, work: Callable[[Served[M, L], Record], T], record: Record, deadline: Deadline
    ) -> Looked[T, M, L]:
        passed_over: list[tuple[str, Failure]] = []
        retry_after_s: list[int] = []
        order = self._order()
        for member in order:
            within_s = deadline.left_s() / (1 if member is order[-1] else 2)  # the next one needs time, too
            try:
                served, found = await member.look(lambda served: work(served, record), within_s)
            except Unanswered as error:
                passed_over.append((member.name, error.reason))
                self._observer.fell_back(self.name, member.name, error.reason)
                retry_after_s += [] if error.retry_after_s is None else [error.retry_after_s]
                continue
            return Looked(found, ((member.name, served),), tuple(passed_over))
        raise _nobody(self.name, [reason for _, reason in passed_over], deadline, retry_after_s)

    async def _all(
        self, work: Callable[[Served[M, L], Record], T], record: Record, deadline: Deadline
    ) -> Looked[T, M, L]:
        within_s = deadline.left_s()
        looks = [member.look(lambda served: work(served, record), within_s) for member in self.members]
        answers = await asyncio.gather(*looks, return_exceptions=True)
        found: list[tuple[Member[M, L], Served[M, L], Any]] = []
        passed_over: list[tuple[str, Failure]] = []
        for member, answer in zip(self.members, answers, strict=True):
            if isinstance(answer, Unanswered):
                passed_over.append((member.name, answer.reason))
                self._observer.fell_back(self.name, member.name, answer.reason)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append((member, *answer))
        if not found:
            raise _nobody(self.name, [reason for _, reason in passed_over], deadline, [])
        weights = [member.weight for member, *_ in found]  # many boxes take milliseconds: not while others wait
        fused: Any = await asyncio.to_thread(fuse, [one for *_, one in found], weights, self._fusion_iou)
        return Looked(fused, tuple((member.name, served) for member, served, _ in found), tuple(passed_over))

    def _order(self) -> tuple[Member[M, L], ...]:
        first = self.challenger
        if first is not None and first.answers and self._share and self._draw() < self._share:
            return (first, *self.members)
        return self.members

    def _begin_shadow(self, work: Callable[[Served[M, L], Record], T], deadline: Deadline, found: T) -> None:
        """Let the challenger look, if it has nothing to do; nobody waits for it."""
        challenger = self.challenger
        if challenger is None or not self._shadow or self._draw() >= self._shadow or not challenger.answers:
            return
        if len(self._shadows) < _SHADOWS and challenger.served is not None and challenger.served.workers.idle:
            task = asyncio.create_task(self._look_in_secret(challenger, work, deadline, found))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _look_in_secret(
        self, challenger: Member[M, L], work: Callable[[Served[M, L], Record], T], deadline: Deadline, found: T
    ) -> None:
        try:
            _, other = await challenger.look(lambda served: work(served, Record()), deadline.left_s())
        except (Unanswered, SafelightError):  # its breaker and the figures know
            return
        self._observer.compared(self.name, challenger.name, await asyncio.to_thread(self._compare, found, other))


def _nobody(route: str, reasons: Sequence[Failure], deadline: Deadline, retry_after_s: Sequence[int]) -> Exception:
    """The error that says why nobody answered."""
    if reasons and all(reason == "too slow" for reason in reasons):
        return deadline.exceeded()
    if "busy" in reasons:
        return Overloaded(retry_after_s=min(retry_after_s, default=1))
    error = ModelUnavailable(f"No model of the route {route} can answer now; /v1/models says why.")
    error.retry_after_s = min(retry_after_s, default=None)
    return error
