"""Putting the catalogue together, as the settings describe it. Knows nothing of requests, and nothing is read here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from serving import model_settings
from serving.models.catalogue import Catalogue
from serving.models.member import Member
from serving.models.observer import UNOBSERVED, Observer
from serving.models.pool import Pool
from serving.models.reading import pool_of
from serving.models.shelf import Shelf
from serving.models.trial import Trial
from serving.resilience.breaker import Breaker
from serving.settings import Settings


def catalogue_of(
    settings: Settings, observer: Observer = UNOBSERVED, clock: Callable[[], float] = time.perf_counter
) -> Catalogue:
    """The catalogue that the settings describe; nothing is read before its `load`. clock: monotonic seconds."""
    pools = {name: _pool(name, settings, observer, clock) for name in settings.models}
    swap = settings.swap
    return Catalogue(pools, settings.default_model, check_s=swap.check_s, retry_every=swap.retry_every)


def _pool(route: str, settings: Settings, observer: Observer, clock: Callable[[], float]) -> Pool:
    pool = pool_of(route, settings)
    by_priority = sorted(pool.members.items(), key=lambda item: item[1].priority)
    on_trial = pool.challenger
    return Pool(
        route,
        [_member(route, name, member, settings, observer, clock) for name, member in by_priority],
        fused=pool.answer == "fused",
        fusion_iou=pool.fusion_iou,
        challenger=None
        if on_trial is None
        else _member(route, "challenger", on_trial.member, settings, observer, clock),
        share=on_trial.share if on_trial else 0.0,
        shadow=on_trial.shadow if on_trial else 0.0,
        draw=random.SystemRandom().random,
        observer=observer,
    )


def _member(
    route: str,
    name: str,
    member: model_settings.Member,
    settings: Settings,
    observer: Observer,
    clock: Callable[[], float],
) -> Member:
    swap, breaker = settings.swap, settings.breaker
    return Member(
        route,
        name,
        Shelf(route, name, member, settings, observer, clock),
        breaker=lambda: Breaker(breaker.failures, breaker.reset_s, clock, partial(observer.breaker, route, name)),
        trial=lambda: Trial(swap.least_answers, swap.share, swap.trial_s, clock),
        limit_s=member.timeout_s,
        weight=member.weight,
        observer=observer,
    )
