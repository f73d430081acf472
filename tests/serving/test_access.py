"""Who may ask for what: routes, scopes, and where none are configured the listening sockets."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import anyio
import httpx
import pytest
from starlette.responses import PlainTextResponse

from safelight.credentials import KeyFile
from safelight.errors import AccessUndecided, ConfigError, Unauthenticated
from safelight.sealing.messages import header
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from serving.api.app import PATHS
from serving.api.readiness import Readiness
from serving.front import Front
from serving.models.loading import catalogue_of
from serving.privacy.access import SCOPE_OF, Access, Admission, require_scopes
from serving.privacy.context import open_context
from serving.settings import Access as AccessSettings
from serving.settings import Rates
from tests.serving.conftest import LOOPBACK, encoded, squares
from tests.serving.test_bad_bodies import assert_problem
from tests.serving.test_sealed import call, request

GOOD = encoded(squares(person=(8, 8)))
EVERYWHERE = (ip_address("0.0.0.0"),)


@pytest.fixture
def keys(tmp_path):
    """The file of API keys, and a way to make one that is valid for an hour."""
    file = KeyFile(tmp_path / "api-keys.jsonl")
    file.add(["metrics"], None, lambda n: "first" + "x" * n)

    def make(*scopes, expires=None, name="key"):
        return file.add(scopes, expires, lambda n: name + "x" * n)[0]

    make.file, make.path = file, tmp_path / "api-keys.jsonl"
    return make


@pytest.fixture
def guarded(settings, keys):
    """Settings with API keys."""
    return settings.model_copy(update={"access": AccessSettings(api_keys=keys.path, jwt={})})


def bearer(key):
    return {"authorization": f"Bearer {key}"}


# Nothing configured.


def test_everybody_may_ask_on_loopback(make_client, settings):
    client = make_client(settings)
    assert client.post("/v1/detect", content=GOOD).status_code == 200
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers=bearer("sl_whatever")).status_code == 200
    assert_problem(client.get("/v1/other"), 404, "not-found")


@pytest.mark.parametrize("addresses", [EVERYWHERE, (*LOOPBACK, *EVERYWHERE), ()])
def test_elsewhere_the_models_are_told_to_nobody(make_client, settings, addresses):
    client = make_client(settings, None, addresses)
    for headers in ({}, bearer("sl_whatever"), {"x-forwarded-for": "127.0.0.1", "host": "127.0.0.1"}):
        assert_problem(client.get("/v1/models", headers=headers), 403, "forbidden")
    assert client.get("/openapi.json").status_code == 200


def test_elsewhere_detections_are_sealed_and_models_stay_closed(make_client, settings):
    client = make_client(settings, None, EVERYWHERE)
    wrapper = OhttpWrapper(decode_keys(client.get("/ohttp-keys").content)[0])
    assert call(client, wrapper, request()).status == 200
    assert call(client, wrapper, request("/v1/models", b"")).status == 403


# With API keys.


def test_each_route_needs_its_scope(make_client, guarded, keys):
    client = make_client(guarded)
    some = {scopes: keys(*scopes, name="".join(scopes)) for scopes in (("detect",), ("models",), ("detect", "models"))}
    for scopes, key in some.items():
        for headers in (bearer(key), {"authorization": f"bearer  {key} "}, {"x-api-key": key}):
            detected = client.post("/v1/detect", content=GOOD, headers=headers)
            models = client.get("/v1/models", headers=headers)
            assert detected.status_code == (200 if "detect" in scopes else 403)
            assert models.status_code == (200 if "models" in scopes else 403)
    assert_problem(client.get("/v1/models", headers=bearer(some["detect",])), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "KEY")],
        [("authorization", "Basic KEY")],
        [("authorization", "Bearer sl_")],
        [("authorization", "Bearer KEYx")],
        [("authorization", "Bearer \xff\xfe")],
        [("authorization", "Bearer sl_\xff")],
        [("authorization", "Bearer " + "x" * 60_000)],
        [("x-api-key", "")],
        [("x-api-key", "Bearer KEY")],
        [("x-api-key", "KEYKEY")],
        [("x-api-key", "KEY"), ("authorization", "Bearer KEY")],
        [("authorization", "Bearer KEY"), ("authorization", "Bearer KEY")],
        [("authorization", "Bearer OTHER"), ("x-api-key", "KEY")],
        [("authorization", "Bearer EXPIRED")],
        [("authorization", "Bearer REVOKED")],
        [("cookie", "authorization=Bearer KEY")],
    ],
)
def test_without_valid_credentials_all_is_the_same_refusal(make_client, guarded, keys, headers):
    words = {"KEY": keys("detect"), "EXPIRED": keys("detect", expires=1.0, name="e")}
    words["REVOKED"] = keys("detect", name="r")
    keys.file.revoke(keys.file.read()[-1].id)
    client = make_client(guarded)
    lines = []
    for name, value in headers:
        for word, key in words.items():
            value = value.replace(word, key)
        lines.append((name.encode(), value.encode("latin-1")))
    assert client.post("/v1/detect", content=GOOD, headers=bearer(words["KEY"])).status_code == 200
    response = client.post("/v1/detect", content=GOOD, headers=lines)
    problem = assert_problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert problem["detail"] == "Expected an API key or a token that is valid here."
    assert "sl_" not in response.text


def test_a_route_without_a_scope_is_closed(make_client, guarded, keys, settings):
    client = make_client(guarded)
    assert_problem(client.get("/v1/other"), 401, "unauthenticated")
    assert_problem(client.get("/v1/other", headers=bearer(keys("detect", "models", "metrics"))), 403, "forbidden")
    with pytest.raises(ConfigError, match="/v1/new"):
        require_scopes(["/openapi.json", "/v1/detect", "/v1/new"])
    assert {path for path in PATHS if path.startswith("/v1/")} <= set(SCOPE_OF)


def test_open_routes_need_no_credentials(make_client, guarded):
    client = make_client(guarded)
    for headers in ({}, bearer("sl_unknown")):
        assert client.get("/openapi.json", headers=headers).status_code == 200
        assert client.get("/ohttp-keys", headers=headers).status_code == 200


def test_sealed_requests_are_judged_by_what_is_inside(make_client, guarded, keys):
    client, key = make_client(guarded), keys("detect")
    wrapper = OhttpWrapper(decode_keys(client.get("/ohttp-keys").content)[0])
    assert call(client, wrapper, request(authorization=f"Bearer {key}")).status == 200
    assert call(client, wrapper, request(x_api_key=key)).status == 200
    refused = call(client, wrapper, request())
    assert refused.status == 401 and header(refused.headers, b"www-authenticate") == b"Bearer"
    assert json.loads(refused.body)["type"].endswith("#unauthenticated")
    models = replace(request("/v1/models", b""), headers=((b"x-api-key", key.encode()),))
    assert call(client, wrapper, models).status == 403
    outgoing = wrapper.wrap(request())  # what stands outside of the envelope counts for nothing
    outer = [*((k.decode(), v.decode()) for k, v in outgoing.headers), ("x-api-key", key)]
    answer = client.post(outgoing.target, content=b"".join(outgoing.body), headers=outer)
    outgoing.answer.feed(answer.content)
    assert answer.status_code == 200 and outgoing.answer.finish().status == 401


def test_changes_of_the_file_are_noticed(make_client, guarded, keys):
    client = make_client(guarded)
    key = keys("models")
    assert client.get("/v1/models", headers=bearer(key)).status_code == 200
    keys.file.revoke(keys.file.read()[-1].id)
    assert client.get("/v1/models", headers=bearer(key)).status_code == 401


def test_while_the_file_cannot_be_read_nobody_passes(make_client, guarded, keys):
    client, key = make_client(guarded), keys("models")
    kept = keys.path.read_text()
    for broken in ("{", None):
        if broken is None:
            keys.path.unlink()
        else:
            keys.path.write_text(broken)
        response = client.get("/v1/models", headers=bearer(key))
        assert assert_problem(response, 503, "access-undecided")["retryable"] is True
        assert int(response.headers["retry-after"]) > 0
    keys.path.write_text(kept)
    keys.path.chmod(0o600)
    assert client.get("/v1/models", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(("path", "refusal"), [("/v1/detect", Unauthenticated), ("/v1/models", Unauthenticated)])
def test_it_is_decided_without_the_body(guarded, path, refusal):
    access = Access(guarded, listeners=lambda: LOOPBACK, now=lambda: 0.0)
    access.load()
    scope = {"type": "http", "path": path, "headers": [], "client": ("127.0.0.1", 1)}
    open_context(scope, "0" * 32)
    with pytest.raises(refusal):  # neither the application nor the body is there
        anyio.run(Admission(None, access), scope, None, None)


def test_before_it_is_loaded_nobody_may_ask(settings):
    access = Access(settings, listeners=lambda: LOOPBACK, now=lambda: 0.0)
    with pytest.raises(AccessUndecided):
        access.caller("/v1/detect", [])


def test_it_does_not_start_without_the_file(settings, tmp_path):
    absent = settings.model_copy(update={"access": AccessSettings(api_keys=tmp_path / "absent", jwt={})})
    with pytest.raises(ConfigError):
        Access(absent, listeners=lambda: LOOPBACK, now=lambda: 0.0).load()


# What BentoML answers, behind the front.


async def platform(scope, receive, send):
    """In BentoML's place."""
    await PlainTextResponse("platform")(scope, receive, send)


def through_front(portal, settings, addresses, path, headers=None):
    access = Access(settings, listeners=lambda: addresses, now=lambda: 0.0)
    access.load()
    catalogue = catalogue_of(settings)
    catalogue.load()
    front = Front(platform, platform, access, Readiness(catalogue, {}), lambda: "a" * 32)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://gateway") as client:
            return await client.get(path, headers=headers)

    return portal.call(ask)


@pytest.mark.parametrize(
    ("addresses", "status"), [(LOOPBACK, 200), (EVERYWHERE, 403), ((*LOOPBACK, *EVERYWHERE), 403), ((), 403)]
)
def test_metrics_are_for_loopback(portal, settings, addresses, status):
    response = through_front(portal, settings, addresses, "/metrics")
    assert response.status_code == status
    if status == 403:
        assert_problem(response, 403, "forbidden")
        assert response.headers["x-request-id"] == response.json()["request_id"]
        assert response.headers["x-content-type-options"] == "nosniff"
    ready = through_front(portal, settings, addresses, "/readyz")
    assert ready.status_code == 200 and ("components" in ready.json()) is (status == 200)
    assert through_front(portal, settings, addresses, "/livez").status_code == 200


@pytest.mark.parametrize("addresses", [LOOPBACK, EVERYWHERE])
def test_or_for_those_with_the_scope(portal, guarded, keys, addresses):
    metrics, models = keys("metrics", name="a"), keys("models", name="b")

    def ask(path, headers=None):
        return through_front(portal, guarded, addresses, path, headers)

    assert ask("/metrics", bearer(metrics)).status_code == 200
    assert_problem(ask("/metrics", bearer(models)), 403, "forbidden")
    answer = ask("/metrics")
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    for headers, told in ((bearer(models), True), (bearer(metrics), False), (None, False), (bearer("sl_x"), False)):
        assert ("components" in ask("/readyz", headers).json()) is told
        assert ask("/livez", headers).status_code == 200


def test_rates_hold_in_the_application_for_wrong_credentials_too(make_client, guarded, tmp_path):
    rates = Rates(limit="3/day", sealed_anonymous="none", store="memory", salt=tmp_path / "salt")
    client = make_client(guarded.model_copy(update={"rates": rates}))
    statuses = [client.get("/v1/models", headers=bearer(f"sl_guess{n}")).status_code for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
