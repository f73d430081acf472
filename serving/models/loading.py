"""Putting the catalogue together, as the settings describe it. Knows nothing of requests, and nothing is read here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from safelight.fusion import agreement
from serving import model_settings
from serving.models.catalogue import Catalogue
from serving.models.member import Member, Source
from serving.models.observer import UNOBSERVED, Observer
from serving.models.pool import Pool
from serving.models.reader_shelf import ReaderShelf, bases_of
from serving.models.reading import pool_of
from serving.models.served import L, M
from serving.models.shelf import Shelf
from serving.models.trial import Trial
from serving.reader.predictor import alike
from serving.resilience.breaker import Breaker
from serving.settings import Settings

Sources = Callable[[str, str, model_settings.Member], Source[Any, M, L]]
"""What reads and starts the versions of a model: by its route, its name in it, and its settings."""


def catalogue_of(
    settings: Settings, observer: Observer = UNOBSERVED, clock: Callable[[], float] = time.perf_counter
) -> Catalogue:
    """The catalogue that the settings describe; nothing is read before its `load`. clock: monotonic seconds."""
    swap, bases = settings.swap, bases_of(settings, observer, clock)
    build = _Building(settings, observer, clock)
    return Catalogue(
        {
            route: build.pool(
                route, lambda route, name, member: Shelf(route, name, member, settings, observer, clock), agreement
            )
            for route in settings.models
        },
        settings.default_model,
        check_s=swap.check_s,
        retry_every=swap.retry_every,
        readers={
            route: build.pool(
                route,
                lambda route, name, member: ReaderShelf(route, name, member, settings, bases, observer, clock),
                alike,
            )
            for route in settings.readers.routes
        },
        default_reader=settings.readers.default,
    )


def needed_route(settings: Settings) -> str | None:
    """The route that the service is not ready without: the default one of detectors or, where no detector's bundle lies in the
    folder at all, of readers. A detector that lies there and cannot be used stays needed."""
    pools = (pool_of(route, settings) for route in settings.models)
    there = any((settings.bundles / member.bundle).is_dir() for pool in pools for member in pool.members.values())
    return settings.default_model if there or settings.readers.default is None else settings.readers.default


class _Building:
    """Pools and their members, whatever kind they are of."""

    def __init__(self, settings: Settings, observer: Observer, clock: Callable[[], float]) -> None:
        self._settings, self._observer, self._clock = settings, observer, clock

    def pool(self, route: str, sources: Sources[M, L], compare: Callable[[Any, Any], float]) -> Pool[M, L]:
        """The pool behind a route. compare: how far two answers agree."""
        pool = pool_of(route, self._settings)
        by_priority = sorted(pool.members.items(), key=lambda item: item[1].priority)
        on_trial = pool.challenger
        return Pool(
            route,
            [self._member(route, name, member, sources) for name, member in by_priority],
            fused=pool.answer == "fused",
            fusion_iou=pool.fusion_iou,
            challenger=None if on_trial is None else self._member(route, "challenger", on_trial.member, sources),
            share=on_trial.share if on_trial else 0.0,
            shadow=on_trial.shadow if on_trial else 0.0,
            draw=random.SystemRandom().random,
            observer=self._observer,
            compare=compare,
        )

    def _member(self, route: str, name: str, member: model_settings.Member, sources: Sources[M, L]) -> Member[M, L]:
        swap, breaker, clock, observer = self._settings.swap, self._settings.breaker, self._clock, self._observer
        return Member(
            route,
            name,
            sources(route, name, member),
            breaker=lambda: Breaker(breaker.failures, breaker.reset_s, clock, partial(observer.breaker, route, name)),
            trial=lambda: Trial(swap.least_answers, swap.share, swap.trial_s, clock),
            limit_s=member.timeout_s,
            weight=member.weight,
            observer=observer,
        )
