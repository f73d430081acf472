"""How often a caller may ask: by key, by address, by relay; in memory and in a real Redis."""

from __future__ import annotations

import re

import anyio
import pytest
import redis
from limits.errors import StorageError

from safelight.credentials import KeyFile
from safelight.errors import AccessUndecided, ConfigError, RateLimited
from safelight.sealing.messages import header
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from serving.privacy.access import Access, Admission
from serving.privacy.context import Seal, context_of, open_context, sealed_scope
from serving.privacy.rates import Counters, RateLimits, address_of
from serving.settings import Access as AccessSettings
from serving.settings import Rates
from tests.serving.conftest import LOOPBACK, encoded, squares
from tests.serving.test_bad_bodies import assert_problem
from tests.serving.test_sealed import call, request

GOOD = encoded(squares(person=(8, 8)))
ADDRESS = "203.0.113.77"


class Clock:
    """Seconds since the epoch, as the test says."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rates(tmp_path):
    def make(limit="3/minute", sealed_anonymous="none", store="memory"):
        return Rates(limit=limit, sealed_anonymous=sealed_anonymous, store=store, salt=tmp_path / "keys" / "salt")

    return make


def loaded(settings, clock):
    limits = RateLimits(settings, clock)
    limits.load()
    return limits


def counted(limits, *calls):
    """Where the caller stands after each call, all on one event loop."""

    async def run():
        try:
            return [await limits.count(*one) for one in calls]
        finally:
            await limits.close()

    return anyio.run(run)


def test_callers_are_counted_each_on_their_own(rates, clock):
    limits = loaded(rates(), clock)
    calls = [("key", "a")] * 4 + [("key", "b"), ("address", "a"), ("relay", "a")]
    standings = counted(limits, *calls)
    assert [s.over for s in standings[:4]] == [False, False, False, True]
    assert [s.used for s in standings[4:6]] == [1, 1] and standings[6] is None


def test_headers_say_what_is_allowed_and_what_is_left(rates, clock):
    standings = counted(loaded(rates("2/minute"), clock), *[("key", "a")] * 3)
    lines = [dict(standing.headers) for standing in standings]
    reset = standings[0].reset_s
    assert [line[b"ratelimit-policy"] for line in lines] == [b'"key";q=2;w=60'] * 3
    assert [line[b"ratelimit"] for line in lines] == [f'"key";r={left};t={reset}'.encode() for left in (1, 0, 0)]


@pytest.mark.parametrize(("limit", "window_s"), [("5/second", 1), ("5/minute", 60), ("5/hour", 3600), ("5/day", 86400)])
def test_a_window_ends_when_it_says(rates, clock, limit, window_s):
    limits = loaded(rates(limit), clock)

    async def run():
        first = None
        for _ in range(7):
            first = await limits.count("key", "a")
        assert first.over and first.window_s == window_s and 1 <= first.reset_s <= window_s
        clock.now += first.reset_s + 1  # seconds are told whole
        return await limits.count("key", "a")

    assert anyio.run(run).used == 1


def test_not_all_windows_end_at_once(rates, clock):
    standings = counted(loaded(rates("5/hour"), clock), *[("key", str(n)) for n in range(40)])
    assert len({standing.reset_s for standing in standings}) > 30


def test_counters_are_forgotten_and_bounded(clock):
    counters = Counters(clock, most=3)

    async def run():
        assert [await counters.incr(key, 60) for key in "abcab"] == [1, 1, 1, 2, 2]
        with pytest.raises(StorageError):
            await counters.incr("d", 60)
        clock.now += 61
        assert [await counters.incr(key, 60) for key in "da"] == [1, 1]
        assert set(counters.expirations) == set(counters.storage) == {"d", "a"}

    anyio.run(run)


def test_none_is_no_limit(rates, clock):
    limits = RateLimits(rates("none", "none", "redis://127.0.0.1:1"), clock)
    limits.load()  # nothing is counted, nothing is reached
    assert counted(limits, *[("key", "a"), ("address", "a"), ("relay", "a")]) == [None, None, None]


def test_before_it_is_loaded_nobody_passes(rates, clock):
    with pytest.raises(AccessUndecided):
        counted(RateLimits(rates(), clock), ("key", "a"))


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2:ffff::", 1), "2001:db8:1:2::"),
        (("2001:db8:1:3::1", 1), "2001:db8:1:3::"),
        (("fe80::1%eth0", 1), "fe80::"),
        (("", 0), "unknown"),
        (("/run/socket", 0), "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_stands_for_its_host(client, expected):
    assert address_of(client) == expected


# Through the middleware, whose client has any address.


def admitted(access, portal):
    """A call from an address, sealed or not, with headers → status word and the answer's headers."""

    async def app(scope, receive, send):
        return None

    def ask(address=ADDRESS, sealed=False, path="/v1/detect", **headers):
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "headers": lines, "client": (address, 1)}
        scope = sealed_scope(scope, Seal("test")) if sealed else scope
        open_context(scope, "0" * 32)
        try:
            portal.call(Admission(app, access), scope, None, None)
        except RateLimited as error:
            return error.retry_after_s, dict(context_of(scope).headers)
        return None, dict(context_of(scope).headers)

    return ask


def test_addresses_relays_and_keys_have_limits_of_their_own(settings, rates, portal, clock):
    limited = settings.model_copy(update={"rates": rates("1/hour", "2/hour")})
    access = Access(limited, listeners=lambda: LOOPBACK, now=clock)
    access.load()
    ask = admitted(access, portal)
    assert ask()[0] is None
    retry_after_s, headers = ask()
    assert 1 <= retry_after_s <= 3600 and headers[b"ratelimit"] == f'"address";r=0;t={retry_after_s}'.encode()
    assert ask(address="203.0.113.78")[0] is None
    assert ask(address="2001:db8::1")[0] is None and ask(address="2001:db8::2")[0] is not None
    assert ask(address="2001:db8:0:1::2")[0] is None
    sealed = [ask(sealed=True) for _ in range(3)]
    assert [over is not None for over, _ in sealed] == [False, False, True]
    assert sealed[0][1][b"ratelimit-policy"] == b'"relay";q=2;w=3600'
    assert ask(sealed=True, x_forwarded_for="192.0.2.9")[0] is not None


def test_users_of_one_relay_do_not_share_a_limit(settings, rates, portal, clock, tmp_path):
    file = KeyFile(tmp_path / "keys.jsonl")
    one, another = (file.add(["detect"], None, lambda n, name=name: name * n)[0] for name in "ab")
    limited = settings.model_copy(
        update={"rates": rates("2/hour", "1/hour"), "access": AccessSettings(api_keys=tmp_path / "keys.jsonl", jwt={})}
    )
    access = Access(limited, listeners=lambda: LOOPBACK, now=clock)
    access.load()
    ask = admitted(access, portal)
    answers = [ask(sealed=True, x_api_key=key)[0] is None for key in (one, another, one, another, one, another)]
    assert answers == [True, True, True, True, False, False]
    assert ask(sealed=False, x_api_key=one, address="192.0.2.200")[0] is not None  # wherever it comes from


def test_too_many_is_a_429_that_says_when_to_come_back(make_client, settings, rates):
    client = make_client(settings.model_copy(update={"rates": rates("2/day", "1/day")}))
    answers = [client.post("/v1/detect", content=GOOD) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    problem = assert_problem(answers[2], 429, "rate-limited")
    assert problem["retryable"] is True and ADDRESS not in answers[2].text
    for answer in answers:
        assert answer.headers.get_list("ratelimit-policy") == ['"address";q=2;w=86400']
    left = [re.fullmatch(r'"address";r=(\d);t=(\d+)', answer.headers["ratelimit"]) for answer in answers]
    assert [match[1] for match in left] == ["1", "0", "0"]
    assert left[2][2] == answers[2].headers["retry-after"]
    # What is sealed is counted elsewhere, and tells it inside only.
    wrapper = OhttpWrapper(decode_keys(client.get("/ohttp-keys").content)[0])
    sealed = [call(client, wrapper, request()) for _ in range(2)]
    assert [answer.status for answer in sealed] == [200, 429]
    assert header(sealed[1].headers, b"retry-after") is not None
    assert header(sealed[0].headers, b"ratelimit").startswith(b'"relay";r=0')
    assert "ratelimit" not in client.get("/ohttp-keys").headers


def test_refusals_are_counted_and_carry_the_headers(make_client, settings, rates):
    client = make_client(settings.model_copy(update={"rates": rates("9/day"), "allow_plaintext": False}))
    refused = client.post("/v1/detect", content=b"x")
    assert refused.status_code == 403 and refused.headers["ratelimit"].startswith('"address";r=8')
    assert client.get("/v1/other").headers["ratelimit"].startswith('"address";r=7')


# With Redis.


@pytest.mark.redis
def test_processes_that_share_a_redis_count_together(redis_url, rates, clock):
    settings = rates("3/minute", store=redis_url)
    used = [counted(loaded(settings, clock), ("key", "shared"), ("key", f"own{n}")) for n in range(4)]
    assert [standings[0].used for standings in used] == [1, 2, 3, 4]
    assert [standings[1].used for standings in used] == [1, 1, 1, 1]
    assert used[3][0].over


@pytest.mark.redis
def test_redis_learns_no_address_and_forgets(redis_url, rates, clock, tmp_path):
    settings = rates("5/minute", store=redis_url)
    counted(loaded(settings, clock), ("address", ADDRESS), ("key", "key:public-id"))
    assert settings.salt.stat().st_mode & 0o777 == 0o600 and len(settings.salt.read_bytes()) == 32
    assert [path.name for path in settings.salt.parent.iterdir()] == ["salt"]
    with redis.Redis.from_url(redis_url) as client:
        names = [name for name in client.scan_iter() if b"safelight:rate" in name]
        assert names and all(client.ttl(name) > 0 for name in names)
        everything = b" ".join(names) + b" ".join(client.get(name) for name in names)
    assert ADDRESS.encode() not in everything and b"public-id" not in everything


@pytest.mark.redis
def test_a_redis_that_fails_lets_nobody_pass(mortal_redis, make_client, settings, rates):
    client = make_client(settings.model_copy(update={"rates": rates("9/minute", store=mortal_redis.url)}))
    assert client.post("/v1/detect", content=GOOD).status_code == 200
    mortal_redis.stop()
    response = client.post("/v1/detect", content=GOOD)
    assert assert_problem(response, 503, "access-undecided")["retryable"] is True
    assert int(response.headers["retry-after"]) > 0 and "redis" not in response.text.lower()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///absent/socket", "redis://user:secret@127.0.0.1:1"])
def test_a_redis_that_is_not_there_stops_the_service(rates, clock, url):
    with pytest.raises(ConfigError) as caught:
        loaded(rates(store=url), clock)
    assert "secret" not in str(caught.value) and "127" not in str(caught.value)


@pytest.mark.redis
@pytest.mark.parametrize(("content", "mode"), [(b"s" * 32, 0o644), (b"s" * 31, 0o600)])
def test_a_salt_that_is_none_stops_the_service(redis_url, rates, clock, content, mode):
    settings = rates(store=redis_url)
    settings.salt.parent.mkdir()
    settings.salt.write_bytes(content)
    settings.salt.chmod(mode)
    with pytest.raises(ConfigError):
        loaded(settings, clock)


def test_the_settings_know_quotas_and_stores(rates):
    with pytest.raises(ValueError):
        rates("often")
    for limit in ("0/minute", "3", "3/fortnight", "3 per minute", "3/minute;4/hour", "-1/minute", "3/minute\n"):
        with pytest.raises(ValueError):
            rates(limit)
    for store in ("", "memory2", "http://127.0.0.1", "mongodb://x", "async+memory://"):
        with pytest.raises(ValueError):
            rates(store=store)
