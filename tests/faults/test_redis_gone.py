"""Redis gone, hung and back, as the memory of what was seen and as the counter of requests."""

from __future__ import annotations

import time

import httpx
import pytest

from safelight.client import ApiError, Client
from tests.faults.load import PICTURES, Load, assert_problem, kill, until, workers
from tests.serving.real import running

pytestmark = pytest.mark.redis
PICTURE = PICTURES["cat", (0, 0)]


def test_without_redis_all_are_refused_at_once_and_with_it_all_is_well(project, mortal_redis, tmp_path):
    stores = {"SAFELIGHT_SEALING__REPLAY": mortal_redis.url, "SAFELIGHT_RATES__STORE": mortal_redis.url}
    limits = {"SAFELIGHT_RATES__LIMIT": "100000/minute", "SAFELIGHT_RATES__SEALED_ANONYMOUS": "100000/minute"}
    with running(project, tmp_path / "home", SAFELIGHT_ALLOW_PLAINTEXT="1", **stores, **limits) as service:
        before = workers(service)
        with Load(service) as load:
            load.more(30)
            for break_it, mend_it in (
                (mortal_redis.stop, mortal_redis.start),
                (mortal_redis.freeze, mortal_redis.thaw),
            ):
                break_it()
                until(lambda: refused(service))
                begun = time.perf_counter()
                plain = httpx.post(f"{service.url}/v1/detect", content=PICTURE)
                assert_problem(plain, 503, "access-undecided")
                assert plain.headers["retry-after"].isdecimal() and plain.json()["retryable"] is True
                assert time.perf_counter() - begun < 5
                assert httpx.get(f"{service.url}/livez").status_code == 200
                mend_it()
                load.more(30)
            assert load.wrong == [] and load.lost == 0 and workers(service) == before
            mortal_redis.stop()
            kill(before[0])  # the one that takes its place finds no Redis
            until(lambda: workers(service) != before)
            time.sleep(5)
            mortal_redis.start()
            load.more(30)
        assert load.wrong == []
        assert load.refused.keys() <= {(503, "replay-store-down"), (503, "access-undecided")} and load.refused


def refused(service) -> bool:
    with Client(service.url, attempts=1) as client:
        try:
            client.detect(PICTURE)
        except ApiError as error:
            return error.status == 503 and error.retryable
    return False
