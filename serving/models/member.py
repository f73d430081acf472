"""One model of a route: the version that answers, how it has done lately, and the one before it. Knows nothing of HTTP.

A version that fails again and again is left alone by its breaker; one that has just taken the place of another, and fails
more than it may, gives the place back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeVar

from safelight.errors import BundleError, ModelUnavailable, Overloaded, SafelightError
from serving.models.observer import Failure, Observer
from serving.models.served import L, M, Served
from serving.models.trial import Trial
from serving.privacy import logs
from serving.resilience.breaker import Breaker, Call
from serving.resilience.workers import TooSlow

T = TypeVar("T")
State = Literal["waiting", "ready", "failed"]
log = logs.logger()
_RENEWALS = 3  # sets of threads that may hang in one version before it is given up


class Unanswered(Exception):
    """This model did not answer. reason: why. retry_after_s: when it may, where that is known."""

    def __init__(self, reason: Failure, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_s = reason, retry_after_s


class Verified(Protocol):
    """A bundle that was verified. digest: SHA-256 of its manifest."""

    @property
    def digest(self) -> str: ...


B = TypeVar("B", bound=Verified)


class Source(Protocol[B, M, L]):
    """Where the versions of a model come from. mark: changes when another version may be there; cheap. read: the verified
    bundle that is to be served. start: makes it answer. Both raise BundleError."""

    def mark(self) -> object: ...

    def read(self) -> B: ...

    def start(self, bundle: B) -> Served[M, L]: ...


class Member(Generic[M, L]):
    """route, name: of the route, and of this model in it. source: of its versions. breaker: makes a new one for a version.
    trial: makes one for a version that replaces another. limit_s: for one answer, None for what the request has."""

    def __init__(
        self,
        route: str,
        name: str,
        source: Source[Any, M, L],
        *,
        breaker: Callable[[], Breaker],
        trial: Callable[[], Trial],
        limit_s: float | None,
        weight: float,
        observer: Observer,
    ) -> None:
        self.route, self.name, self.weight = route, name, weight
        self._source, self._new_breaker, self._new_trial = source, breaker, trial
        self._limit_s, self._observer = limit_s, observer
        self.state: State = "waiting"
        self.failure: str | None = None
        self.served: Served[M, L] | None = None
        self.breaker = breaker()
        self._mark: object = None
        self._retry = True
        self._lock = threading.Lock()
        self._previous: Served[M, L] | None = None
        self._trial: Trial | None = None
        self._taken_back: set[str] = set()
        self._renewals = 0

    @property
    def answers(self) -> bool:
        """Whether a request may hope for an answer now. An open breaker needs somebody who asks once its time is over: until
        then no, from then on yes, or whoever sends requests to those that are ready only would never find out."""
        return self.served is not None and self.breaker.may_admit

    def refresh(self, accept: Callable[[Served[M, L]], None], *, retry: bool) -> None:
        """Load the version that is to be served, if it is another one than that which is, or was refused the last time.
        accept: raises BundleError for one that does not fit beside the other models of the route. Blocks; called by one
        thread at a time; raises ConfigError."""
        self._end_trial()
        mark = self._source.mark()
        if mark == self._mark and not (retry and self._retry):
            return
        try:
            bundle = self._source.read()
            if bundle.digest not in self._taken_back:
                if self.served is None or bundle.digest != self.served.digest:
                    self._take(self._accepted(bundle, accept))
                self.failure = None
            self._retry = False
        except BundleError as error:
            self._refuse(error)
            self._retry = True
        self._mark = mark

    async def look(self, work: Callable[[Served[M, L]], T], within_s: float) -> tuple[Served[M, L], T]:
        """The version that answers, and what `work` returns for it, from one of its threads, within as many seconds.

        Raises Unanswered when the model is the reason that there is no answer, and otherwise what `work` raises.
        """
        served, breaker = self.served, self.breaker
        if served is None:
            raise Unanswered("not loaded")
        call = breaker.admit()
        if call is None:
            raise Unanswered("breaker open", breaker.retry_after_s)
        if breaker.state == "half-open" and not served.workers.idle:
            served = self._renewed(served)
        try:
            limit_s = within_s if self._limit_s is None else min(within_s, self._limit_s)
            result = await served.workers.run(partial(work, served), limit_s)
        except Exception as error:
            raise self._reason(error, served, call) from None
        except BaseException:  # cancelled
            call.abandoned()
            raise
        call.succeeded()
        self._tell_trial(served, failed=False)
        return served, result

    def close(self) -> None:
        """Take no more work."""
        for served in (self.served, self._previous):
            if served is not None:
                served.close()

    def _accepted(self, bundle: Verified, accept: Callable[[Served[M, L]], None]) -> Served[M, L]:
        """The version that a bundle makes. What it shares with others is given back when it is not taken."""
        served = self._source.start(bundle)
        try:
            accept(served)
        except BundleError:
            served.close()
            raise
        return served

    def _reason(self, error: Exception, served: Served[M, L], call: Call) -> Exception:
        """What `look` raises in place of an error; whatever is not the request's fault counts against the model."""
        if isinstance(error, TooSlow) and error.begun:
            served.stop()
            call.failed()
            self._tell_trial(served, failed=True)
            return Unanswered("too slow")
        if isinstance(error, TooSlow | Overloaded | ModelUnavailable):
            call.abandoned()
            return Unanswered("busy", getattr(error, "retry_after_s", None))
        if isinstance(error, SafelightError):
            call.abandoned()
            return error
        log.error("model_error", model=self.name, error=error)
        call.failed()
        self._tell_trial(served, failed=True)
        return Unanswered("failed")

    def _take(self, served: Served[M, L]) -> None:
        with self._lock:
            old, self._previous = self._previous, self.served
            self.served, self.breaker, self._renewals = served, self._new_breaker(), 0
            self._trial = None if self._previous is None else self._new_trial()
            self.state = "ready"
        if old is not None:
            old.close()
        log.info("model_ready", model=self.name, version=served.manifest.version)
        self._observer.loaded(self.route, self.name, True)
        self._say_what_answers(served)
        if self._previous is not None:
            self._observer.swapped(self.route, self.name, "swapped")

    def _refuse(self, error: BundleError) -> None:
        before = self.failure
        if self.served is None:
            self.state = "failed"
            self.failure = error.detail
            self._observer.loaded(self.route, self.name, False)
        else:
            self.failure = f"Another version was refused, and {self.served.manifest.version} goes on: {error.detail}"
        if self.failure != before:  # said once, however often it is tried again
            log.error("model_refused", model=self.name, error=error)
            if self.served is not None:
                self._observer.swapped(self.route, self.name, "refused")

    def _tell_trial(self, served: Served[M, L], *, failed: bool) -> None:
        trial = self._trial
        if trial is None or trial.over() or served is not self.served:
            return
        if trial.lost(failed) or self.breaker.state == "open":
            self._take_back()

    def _take_back(self) -> None:
        with self._lock:
            served, previous = self.served, self._previous
            if served is None or previous is None:
                return
            self._taken_back.add(served.digest)
            self.served, self.breaker, self._previous, self._trial = previous, self._new_breaker(), None, None
            self._renewals = 0
            version = served.manifest.version
            self.failure = f"Version {version} failed too often and was taken back for {previous.manifest.version}."
        served.close()
        log.error("model_taken_back", model=self.name, version=version)
        self._say_what_answers(previous)
        self._observer.swapped(self.route, self.name, "rolled back")

    def _say_what_answers(self, served: Served[M, L]) -> None:
        self._observer.breaker(self.route, self.name, "closed")
        self._observer.expects(self.route, self.name, served.reference)

    def _end_trial(self) -> None:
        with self._lock:
            trial, previous = self._trial, self._previous
            if trial is None or not trial.over():
                return
            self._trial = self._previous = None
        if previous is not None:
            previous.close()

    def _renewed(self, stuck: Served[M, L]) -> Served[M, L]:
        """Threads that hang in the network cannot be ended; others take their place, a few times."""
        with self._lock:
            if self.served is not stuck or self._renewals >= _RENEWALS:
                return stuck
            self._renewals += 1
            self.served = stuck.with_fresh_threads()
        stuck.workers.close()
        return self.served
