"""The real thing: `bentoml serve` in a process of its own, with a home of its own, called over TCP.

Each service runs in a copy of what a Bento would hold, so that every path is resolved from there, and whatever it
writes can be searched for canaries; and with all the logging that BentoML can be asked for.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from safelight.client import ApiError, Client
from tests.conftest import ROOT
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import promote
from tests.serving.test_bad_bodies import assert_problem

CANARY = b"CANARY-7f3a91"
START_S = 40.0


@dataclass(frozen=True)
class Service:
    url: str
    home: Path
    log: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Path:
    """What a Bento's source folder holds."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("safelight", "serving", "conf/serving"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".safelight").mkdir()
    shutil.copy(private_key.with_suffix(".pub"), root / ".safelight" / "signing.pub")
    promote(root / "bundles", private_key, name="coco")
    tiles = {"mode": "tiles", "input_size": 64, "tile": 64, "overlap": 16}
    promote(root / "bundles", private_key, name="tree-crowns", preprocess=tiles)
    return root


def start(project: Path, home: Path, host: str = "127.0.0.1", **environ: str) -> Service:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for folder in ("bentoml", "tmp", "cwd"):
        (home / folder).mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAFELIGHT_", "BENTOML_"))}
    own = {"BENTOML_HOME": str(home / "bentoml"), "TMPDIR": str(home / "tmp"), "BENTOML_DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Gateway", "--working-dir", str(project)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--verbose", "--host", host, "--port", str(port)],
            cwd=home / "cwd",
            env=kept | own | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"} | environ,
            stdout=log,
            stderr=log,
        )
    return Service(f"http://127.0.0.1:{port}", home, home / "log", process)


@contextmanager
def running(project: Path, home: Path, host: str = "127.0.0.1", **environ: str) -> Iterator[Service]:
    service = start(project, home, host, **environ)
    try:
        deadline = time.monotonic() + START_S
        while not alive(service):
            assert service.process.poll() is None and time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.1)
        yield service
    finally:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=20) == 0
    assert "Traceback" not in service.log.read_text()


def alive(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def service(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """On loopback, plaintext allowed."""
    with running(project, tmp_path_factory.mktemp("home"), SAFELIGHT_ALLOW_PLAINTEXT="1") as service:
        yield service


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A picture of more than 1 MB."""
    data = encoded(np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8))
    assert len(data) > 1_000_000
    return data


def test_the_client_gets_its_boxes(service, noise):
    with Client(service.url) as client:
        assert client.ready()
        answer = client.detect(squares(person=(16, 16)))
        assert answer.counts == {"person": 1} and answer.annotations[0].box == (16, 16, 24, 24)
        assert {model.name: model.state for model in client.models()} == {"coco": "ready", "tree-crowns": "ready"}
        assert client.render(noise, model="tree-crowns").startswith(b"\x89PNG")
        with pytest.raises(ApiError) as caught:
            client.detect(b"")
        assert caught.value.status == 400


def test_large_pictures_raw_and_in_a_form(service, noise):
    raw = httpx.post(f"{service.url}/v1/detect", content=noise, headers={"content-type": "image/png"})
    form = httpx.post(f"{service.url}/v1/detect", files={"image": ("a.png", noise, "image/png")})
    assert raw.status_code == form.status_code == 200
    assert raw.json()["annotations"] == form.json()["annotations"]


def test_a_body_that_is_too_large_is_answered_not_cut_off(service):
    response = httpx.post(f"{service.url}/v1/detect", content=bytes(25 * 1024 * 1024))
    assert_problem(response, 413, "too-large")


def test_bentoml_answers_health_and_metrics_and_nothing_else(service):
    for path in ("/livez", "/readyz"):
        assert httpx.get(service.url + path).status_code == 200
    assert httpx.get(f"{service.url}/v1/models").json()["default"] == "coco"
    for path in ("/", "/schema.json", "/docs.json", "/healthz", "/static_content/index.css", f"/v1/{CANARY.decode()}"):
        assert_problem(httpx.get(service.url + path), 404, "not-found")
    metrics = httpx.get(f"{service.url}/metrics")
    assert 'endpoint="/v1/detect"' in metrics.text
    assert "schema.json" not in metrics.text and CANARY.decode() not in metrics.text


def test_no_plaintext_of_a_picture_is_left_anywhere(service, project):
    """Success and failure, in every field that a client fills; then whatever the service could write to is searched."""
    text = CANARY.decode()
    exif = Image.Exif()
    exif[0x010F] = text
    buffer = io.BytesIO()
    Image.fromarray(squares(person=(16, 16))).save(buffer, "JPEG", exif=exif, comment=CANARY, quality=95)
    picture, headers = buffer.getvalue() + CANARY * 100_000, {"content-type": "image/jpeg", "x-request-id": text}
    name = f"{text}.jpg"
    with httpx.Client(base_url=service.url, timeout=30) as http:
        answers = [
            http.post("/v1/detect", content=picture, headers=headers),
            http.post("/v1/detect?render=png", files={"image": (name, picture, "image/jpeg")}),
            http.post("/v1/detect", files={"image": (name, picture[:3000] + CANARY, text)}),
            http.post("/v1/detect", files={text: (name, picture, "image/jpeg")}),
            http.post("/v1/detect", content=CANARY * 200_000),
            http.post(f"/v1/detect?model={text}&{text}={text}", content=picture),
            http.post(f"/v1/detect?classes={text}", content=picture, headers={"traceparent": f"00-{text}-01"}),
            http.post("/v1/detect", content=CANARY, headers={"content-type": f"multipart/form-data; boundary={text}"}),
            http.get(f"/{text}?{text}"),
            http.request(text, "/v1/detect"),
        ]
    assert [a.status_code for a in answers] == [200, 200, 415, 400, 415, 400, 400, 400, 404, 405]
    assert not any(CANARY in answer.content for answer in answers)
    assert CANARY not in httpx.get(f"{service.url}/metrics").content
    searched = [path for folder in (service.home, project) for path in folder.rglob("*") if path.is_file()]
    assert service.log in searched and len(searched) > 20
    assert [path for path in searched if CANARY in path.read_bytes() or text in path.name] == []
    assert list((service.home / "cwd").iterdir()) == []


@pytest.mark.parametrize(
    ("host", "environ"),
    [("127.0.0.1", {}), ("0.0.0.0", {"SAFELIGHT_ALLOW_PLAINTEXT": "1"})],
    ids=["not allowed", "all hosts"],
)
def test_plaintext_is_refused(project, tmp_path, noise, host, environ):
    with running(project, tmp_path, host, **environ) as service:
        response = httpx.post(f"{service.url}/v1/detect", content=noise, headers={"host": "127.0.0.1"})
        assert_problem(response, 403, "plaintext-refused")
        assert httpx.get(f"{service.url}/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"SAFELIGHT_BUNDLES": "/absent"}, "No model can be served"),
        ({"SAFELIGHT_ALOW_PLAINTEXT": "1"}, "alow_plaintext"),
    ],
)
def test_it_does_not_start_on_what_it_cannot_decide(project, tmp_path, environ, reason):
    service = start(project, tmp_path, **environ)
    assert service.process.wait(timeout=START_S) != 0
    assert reason in service.log.read_text()
