"""What can be reached from outside, what it says of itself, and what the process imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anyio
import httpx
import openapi_spec_validator
import pytest

from serving.api.app import OPEN_PATHS, PATHS
from serving.api.readiness import Readiness
from serving.front import PLATFORM_PATHS, READY, Front
from serving.models.loading import catalogue_of, needed_route
from serving.privacy.access import SCOPE_OF
from tests.conftest import ROOT


def test_openapi_is_valid_and_tells_every_route_with_examples(client):
    document = client.get("/openapi.json").json()
    openapi_spec_validator.validate(document)
    assert set(document["paths"]) == {*PATHS, *PLATFORM_PATHS, READY} - {"/openapi.json"}
    detect = document["paths"]["/v1/detect"]["post"]
    bodies = detect["requestBody"]["content"]
    assert set(bodies) == {"image/jpeg", "image/png", "image/webp", "multipart/form-data"}
    assert all(body["examples"] for body in bodies.values())
    assert {p["name"] for p in detect["parameters"]} == {
        "model", "threshold", "classes", "render", "timeout_ms", "latitude", "longitude", "zip",
    }  # fmt: skip
    assert all("example" in parameter for parameter in detect["parameters"])
    assert set(detect["responses"]) >= {
        "200",
        "400",
        "401",
        "403",
        "404",
        "408",
        "413",
        "415",
        "422",
        "429",
        "503",
        "504",
    }
    assert set(detect["responses"]["200"]["content"]) == {"application/json", "image/png"}
    problems = detect["responses"]["415"]["content"]["application/problem+json"]["examples"]
    assert set(problems) == {"NotAnImage", "UnsupportedFormat", "TypeMismatch"}


def test_openapi_says_where_credentials_may_be_needed(client):
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"apiKey", "bearer"}
    guarded = {path for path, item in document["paths"].items() if any("security" in one for one in item.values())}
    assert guarded == set(SCOPE_OF)
    for path in guarded:
        (operation,) = document["paths"][path].values()
        assert set(operation["responses"]) >= {"200", "401", "403"}


def test_documents_are_the_same_each_time(client):
    assert client.get("/openapi.json").json() == client.get("/openapi.json").json()


def test_open_paths_are_few():
    assert set(OPEN_PATHS) < set(PATHS) and "/v1/detect" not in OPEN_PATHS


@pytest.mark.parametrize("path", ["/livez", "/metrics"])
def test_what_is_bentomls_passes_the_front(path):
    assert through_front("http", path) == ["platform"]


@pytest.mark.parametrize(
    "path", ["/v1/detect", "/", "/schema.json", "/healthz", "/v1/detect/", "/v1/detect/photo.jpg", "/livez/x", ""]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_other_paths_never_reach_bentoml(path, kind):
    assert through_front(kind, path) == ["app"]


class Open:
    """Access for everybody, or for nobody to what tells of the service."""

    def __init__(self, telling: bool = True) -> None:
        self.telling = telling

    def check(self, path, headers):
        pass

    def allows(self, path, headers):
        return self.telling


def through_front(kind: str, path: str) -> list[str]:
    seen = []

    def named(name):
        async def app(scope, receive, send):
            seen.append(name)

        return app

    front = Front(named("platform"), named("app"), Open(), Readiness(None, {}), lambda: "0" * 32)
    anyio.run(front, {"type": kind, "path": path, "headers": []}, None, None)
    return seen


def test_a_reader_is_needed_only_where_there_is_no_detector(settings, tmp_path):
    reading = settings.model_copy(
        update={"readers": settings.readers.model_copy(update={"routes": ("keys",), "default": "keys"})}
    )
    assert needed_route(reading) == settings.default_model
    alone = reading.model_copy(update={"bundles": tmp_path})
    assert needed_route(alone) == "keys"
    assert needed_route(settings.model_copy(update={"bundles": tmp_path})) == settings.default_model
    readiness = Readiness(catalogue_of(alone), {}, needed=lambda: needed_route(alone))
    assert [part.name for part in readiness.components() if part.needed] == ["route keys"]
    (tmp_path / "coco").mkdir()  # one that was there, and is broken now
    assert needed_route(alone) == settings.default_model


@pytest.mark.parametrize("telling", [True, False])
def test_readyz_says_of_each_part_why_it_is_not_ready_to_those_who_may_know(settings, telling):
    catalogue = catalogue_of(settings)
    readiness = Readiness(catalogue, {"audit log": lambda: None})
    front = Front(None, None, Open(telling), readiness, lambda: "0" * 32)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://testserver")

    async def ask():
        return await client.get("/readyz")

    answer = anyio.run(ask)
    assert answer.status_code == 503 and answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["retryable"] is True and problem["ready"] is False
    if telling:
        audit, coco, trees = problem["components"]
        assert audit == {"name": "audit log", "ready": True, "needed": True, "reason": None}
        assert coco == {"name": "route coco", "ready": False, "needed": True, "reason": "coco: not loaded yet"}
        assert trees["needed"] is False
    else:
        assert problem["components"] is None and "coco" not in answer.text
    catalogue.load()
    answer = anyio.run(ask)
    assert answer.status_code == 200 and answer.json()["ready"] is True
    assert ("components" in answer.json()) is telling


IMPORT = """
import json, sys
from serving.service import Gateway
heavy = ["torch", "pytorch_lightning", "mlflow", "hydra", "omegaconf", "datasets", "matplotlib", "onnx"]
print(json.dumps([name for name in [*heavy, "fastapi", "onnxruntime"] if name in sys.modules]))
app = Gateway.to_asgi()
print(json.dumps([name for name in [*heavy, "fastapi", "boto3"] if name in sys.modules]))
print(json.dumps(sorted(getattr(route, "path", "?") for route in app._platform.routes)))
"""


def test_serving_imports_nothing_of_training_and_the_supervisor_nothing_of_workers(tmp_path):
    environ = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "true"}
    result = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, cwd=ROOT, env=environ)
    assert result.returncode == 0, result.stderr
    supervisor, worker, routes = map(json.loads, result.stdout.splitlines()[-3:])
    assert supervisor == [] and worker == []
    # Only /livez and /metrics of these are ever asked for.
    assert set(routes) <= {"", "/", "/livez", "/healthz", "/readyz", "/metrics", "/schema.json", "/static_content",
                           "/assets", "/docs.json"}  # fmt: skip


def test_a_failure_inside_is_a_500_that_tells_nothing(settings, make_client, caplog):
    class Broken:
        default = "coco"

        @property
        def pools(self):
            raise RuntimeError("CANARY")

        def pool(self, name):
            raise RuntimeError("CANARY")

    client = make_client(settings, Broken())
    for response in (client.get("/v1/models"), client.post("/v1/detect", content=b"CANARY")):
        assert isinstance(response, httpx.Response) and response.status_code == 500
        assert response.json()["type"].endswith("#internal-server-error")
        assert "CANARY" not in response.text
    assert "CANARY" not in caplog.text
