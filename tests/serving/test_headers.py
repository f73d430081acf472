"""What every answer carries, and whose pages may ask."""

from __future__ import annotations

import anyio
import httpx
import pytest
from starlette.responses import Response

from serving.page.page import CONTENT_SECURITY_POLICY, PAGE_PATHS
from serving.privacy.headers import ALWAYS, OVER_TLS, SecurityHeaders
from serving.settings import Headers
from tests.serving.conftest import encoded, squares

GOOD = encoded(squares(person=(8, 8)))
APP = "https://app.example.org"


def assert_secure(response, **own):
    """Each header once, with the common value or the answer's own."""
    for name, value in ALWAYS.items():
        expected = own.get(name.decode().replace("-", "_"), value.decode())
        assert response.headers.get_list(name.decode()) == [expected], (response.url, name)


class Broken:
    default = "coco"

    def entries(self):
        raise RuntimeError

    def served(self, name):
        raise RuntimeError


@pytest.mark.parametrize(
    ("method", "path", "status", "own"),
    [
        ("POST", "/v1/detect", 200, {}),
        ("GET", "/v1/models", 200, {}),
        ("GET", "/openapi.json", 200, {}),
        ("GET", "/ohttp-keys", 200, {"cache_control": "public, max-age=300"}),
        ("POST", "/ohttp", 400, {}),
        ("POST", "/v1/detect?threshold=2", 400, {}),
        ("GET", "/nothing", 404, {}),
        ("GET", "/v1/nothing", 404, {}),
        ("DELETE", "/v1/detect", 405, {}),
        ("PUT", "/ohttp-keys", 405, {}),
    ],
)
def test_every_answer_carries_them(client, method, path, status, own):
    response = client.request(method, path, content=GOOD if method == "POST" else None)
    assert response.status_code == status
    assert_secure(response, **own)
    assert "strict-transport-security" not in response.headers


@pytest.mark.parametrize("path", PAGE_PATHS)
def test_the_page_keeps_its_own_policy(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert_secure(response, content_security_policy=CONTENT_SECURITY_POLICY)


def test_refusals_and_mistakes_carry_them(make_client, settings):
    refusing = make_client(settings.model_copy(update={"allow_plaintext": False}))
    for client, body, status in (
        (make_client(settings), bytes(3_000_000), 413),
        (make_client(settings, Broken()), GOOD, 500),
        (refusing, GOOD, 403),
    ):
        response = client.post("/v1/detect", content=body)
        assert response.status_code == status
        assert_secure(response)


def answered(app, url="http://gateway/"):
    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url) as client:
            return await client.get("/")

    return anyio.run(ask)


def test_over_tls_there_is_one_more():
    app = SecurityHeaders(Response())
    name = OVER_TLS[0].decode()
    assert answered(app, "https://gateway/").headers[name] == OVER_TLS[1].decode()
    assert name not in answered(app).headers


def test_twice_in_a_row_sets_each_once():
    own = Response(headers={"Cache-Control": "public", "X-Frame-Options": "SAMEORIGIN"})
    response = answered(SecurityHeaders(SecurityHeaders(own)), "https://gateway/")
    assert_secure(response, cache_control="public", x_frame_options="SAMEORIGIN")
    assert response.headers.get_list("strict-transport-security") == [OVER_TLS[1].decode()]


# Pages of other origins.


@pytest.fixture(scope="module")
def shared(make_client, settings):
    return make_client(settings.model_copy(update={"headers": Headers(cors_origins=(APP, "http://[::1]:8080"))}))


def preflight(client, path="/v1/detect", origin=APP, method="POST", headers="content-type,x-api-key"):
    lines = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": headers}
    return client.options(path, headers=lines)


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/models", "/ohttp", "/ohttp-keys"])
@pytest.mark.parametrize("origin", [APP, "http://[::1]:8080"])
def test_an_allowed_page_may_ask(shared, path, origin):
    answer = preflight(shared, path, origin, headers="Content-Type, Authorization, X-API-Key, Incremental")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert "access-control-allow-credentials" not in answer.headers
    assert_secure(answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://app.example.org.evil.example"},
        {"origin": "http://app.example.org"},
        {"origin": "https://app.example.org:8443"},
        {"origin": "https://APP.example.org"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "*"},
        {"method": "DELETE"},
        {"headers": "content-type, x-other"},
    ],
    ids=str,
)
def test_others_may_not(shared, changes):
    answer = preflight(shared, **changes)
    assert answer.status_code == 400
    assert answer.headers.get("access-control-allow-origin") in (None, APP if "origin" not in changes else None)
    assert_secure(answer)


def test_answers_are_marked_for_allowed_pages_only(shared):
    good = shared.post("/v1/detect", content=GOOD, headers={"origin": APP})
    assert good.status_code == 200 and good.headers["access-control-allow-origin"] == APP
    assert "origin" in good.headers["vary"].lower()
    exposed = {name.strip() for name in good.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"x-request-id", "ratelimit", "ratelimit-policy", "retry-after"}
    refused = shared.post("/v1/detect?threshold=2", headers={"origin": APP})
    assert refused.status_code == 400 and refused.headers["access-control-allow-origin"] == APP
    sealed = shared.post("/ohttp", content=b"junk", headers={"origin": APP, "content-type": "message/ohttp-req"})
    assert sealed.headers["access-control-allow-origin"] == APP
    for origin in ("https://elsewhere.example", "null"):
        other = shared.post("/v1/detect", content=GOOD, headers={"origin": origin})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/metrics", "/v1", "/ohttp/x"])
def test_nothing_else_is_shared(shared, path):
    assert "access-control-allow-origin" not in shared.get(path, headers={"origin": APP}).headers
    assert preflight(shared, path, method="GET").status_code in (403, 404, 405)


def test_by_default_nobody_is_allowed(client):
    answer = preflight(client)
    assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers
    response = client.post("/v1/detect", content=GOOD, headers={"origin": APP})
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "origin",
    ["*", "https://*", "https://*.example.org", "app.example.org", "https://app.example.org/", "https://a.example/x",
     "null", "", "HTTPS://app.example.org", "https://u@a.example", "ftp://a.example", "https://a.example\n"],
)  # fmt: skip
def test_an_origin_that_is_none_is_refused_by_the_settings(origin):
    with pytest.raises(ValueError):
        Headers(cors_origins=(origin,))
