"""Access, rates and headers of the real service: BentoML's own routes included, several workers, and refusals to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from safelight.credentials import KeyFile
from serving.privacy.headers import ALWAYS
from tests.serving.conftest import encoded, squares
from tests.serving.real import START_S, lay_out, running, start
from tests.serving.test_bad_bodies import assert_problem

GOOD = encoded(squares(person=(8, 8)))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Path:
    return lay_out(tmp_path_factory.mktemp("project"), private_key)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    return KeyFile(tmp_path_factory.mktemp("keys") / "api-keys.jsonl")


@pytest.fixture(scope="module")
def key_of(keys: KeyFile) -> dict[str, dict[str, str]]:
    """For each scope the headers of a key that has it."""
    made = {scope: keys.add([scope], None, lambda n, s=scope: s * n)[0] for scope in ("detect", "models", "metrics")}
    return {scope: {"authorization": f"Bearer {key}"} for scope, key in made.items()}


@pytest.fixture(scope="module")
def url(project, tmp_path_factory, keys, key_of) -> Iterator[str]:
    """Open to every host, with API keys."""
    home = tmp_path_factory.mktemp("home")
    with running(project, home, "0.0.0.0", SAFELIGHT_ACCESS__API_KEYS=str(keys.path)) as service:
        yield service.url


def test_each_route_needs_its_scope(url, key_of):
    for path, scope in (("/v1/models", "models"), ("/metrics", "metrics")):
        assert_problem(httpx.get(url + path), 401, "unauthenticated")
        assert httpx.get(url + path, headers=key_of[scope]).status_code == 200
        assert_problem(httpx.get(url + path, headers=key_of["detect"]), 403, "forbidden")
    assert_problem(httpx.post(f"{url}/v1/detect", content=GOOD), 401, "unauthenticated")
    assert_problem(httpx.post(f"{url}/v1/detect", content=GOOD, headers=key_of["detect"]), 403, "plaintext-refused")
    for path in ("/livez", "/readyz", "/openapi.json", "/ohttp-keys", "/"):
        assert httpx.get(url + path).status_code == 200


def test_a_large_body_without_credentials_is_answered(url):
    assert_problem(httpx.post(f"{url}/v1/detect", content=bytes(5_000_000)), 401, "unauthenticated")


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/metrics", "/v1/models", "/v1/detect", "/ohttp-keys", "/", "/schema.json", "/nothing"],
)
def test_every_answer_carries_each_header_once(url, path, key_of):
    for response in (httpx.get(url + path), httpx.get(url + path, headers=key_of["metrics"])):
        for name in ALWAYS:
            assert len(response.headers.get_list(name.decode())) == 1, (path, name)
        assert "server" not in response.headers


def test_a_key_is_revoked_without_a_restart(url, keys):
    key, entry = keys.add(["models"], None, lambda n: "short-lived" * n)
    headers = {"x-api-key": key}
    assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200
    keys.revoke(entry.id)
    assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 401


@pytest.mark.redis
def test_workers_count_together_in_redis(project, tmp_path, redis_url):
    environ = {
        "SAFELIGHT_RATES__STORE": redis_url,
        "SAFELIGHT_RATES__LIMIT": "20/day",
        "SAFELIGHT_WORKERS": "2",
    }
    with running(project, tmp_path, **environ) as service:
        statuses = [httpx.get(f"{service.url}/openapi.json").status_code for _ in range(30)]  # a connection each
    assert statuses == [200] * 20 + [429] * 10


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"SAFELIGHT_RATES__STORE": "redis://127.0.0.1:1"}, "store of the rate limits cannot be reached"),
        ({"SAFELIGHT_ACCESS__API_KEYS": "absent.jsonl"}, "file of API keys cannot be read"),
        ({f"SAFELIGHT_ACCESS__JWT__LOGIN__{name}": value for name, value in
          (("ALGORITHM", "HS256"), ("KEY", "short"), ("AUDIENCE", "safelight"))}, "HS256 key is too short"),
        ({"SAFELIGHT_HEADERS__CORS_ORIGINS": "*"}, "headers.cors_origins"),
    ],
)  # fmt: skip
def test_it_does_not_start_on_what_it_cannot_decide(project, tmp_path, environ, reason):
    (project / "short").write_bytes(b"x" * 31)
    (project / "short").chmod(0o600)
    service = start(project, tmp_path, **environ)
    assert service.process.wait(timeout=START_S) != 0
    assert reason in service.log.read_text()
