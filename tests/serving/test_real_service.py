"""The real thing: `bentoml serve` in a process of its own, with a home of its own, called over TCP."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from safelight.audit import read_public_key, verify
from safelight.client import ApiError, Client
from tests.serving.conftest import encoded, squares
from tests.serving.real import START_S, Service, alive, lay_out, running, start
from tests.serving.test_bad_bodies import assert_problem


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Path:
    return lay_out(tmp_path_factory.mktemp("project"), private_key)


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
        states = {model.name: model.state for model in client.models()}
        assert states.pop("keys") in ("waiting", "failed")  # no bundle of a reader is here
        assert states == {"coco": "ready", "tree-crowns": "ready"}
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
    for path in ("/schema.json", "/docs.json", "/healthz", "/static_content/index.css", "/v1/a-path-of-a-client"):
        assert_problem(httpx.get(service.url + path), 404, "not-found")
    metrics = httpx.get(f"{service.url}/metrics")
    assert "safelight_requests_total{" in metrics.text and 'route="/v1/detect"' in metrics.text
    assert "schema.json" not in metrics.text and "a-path-of-a-client" not in metrics.text


@pytest.mark.parametrize(
    ("host", "environ"),
    [("127.0.0.1", {}), ("0.0.0.0", {"SAFELIGHT_ALLOW_PLAINTEXT": "1"})],
    ids=["not allowed", "all hosts"],
)
def test_plaintext_is_refused(project, tmp_path, noise, host, environ):
    with running(project, tmp_path, host, **environ) as service:
        response = httpx.post(f"{service.url}/v1/detect", content=noise, headers={"host": "127.0.0.1"})
        assert_problem(response, 403, "plaintext-refused")
        local = host == "127.0.0.1"
        assert httpx.get(f"{service.url}/v1/models").status_code == (200 if local else 403)
        assert httpx.get(f"{service.url}/metrics").status_code == (200 if local else 403)


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"SAFELIGHT_BUNDLES": "/absent"}, "No model can be served"),
        ({"SAFELIGHT_ALOW_PLAINTEXT": "1"}, "alow_plaintext"),
        ({"SAFELIGHT_AUDIT__FOLDER": "/dev/null/audit"}, "The audit log cannot be kept"),
    ],
)
def test_it_does_not_start_on_what_it_cannot_decide(project, tmp_path, environ, reason):
    service = start(project, tmp_path, **environ)
    assert service.process.wait(timeout=START_S) != 0
    assert reason in service.log.read_text()


def processes(service: Service) -> list[int]:
    """BentoML's supervisor and its workers."""
    children = Path(f"/proc/{service.supervisor}/task/{service.supervisor}/children").read_text()
    return [service.supervisor, *map(int, children.split())]


def test_workers_keep_audit_logs_that_survive_a_kill(project, tmp_path):
    """Two workers; one is killed. Its file is found to be cut off, and nothing else."""
    audit = {"SAFELIGHT_AUDIT__FOLDER": str(tmp_path / "audit"), "SAFELIGHT_AUDIT__KEY": str(tmp_path / "audit.key")}
    with running(project, tmp_path / "home", SAFELIGHT_WORKERS="2", **audit) as service:
        until(lambda: len(list((tmp_path / "audit").glob("2*.jsonl"))) == 2)
        before = processes(service)
        for pid in before:
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits
        assert len(before) == 3
        for _ in range(10):
            assert httpx.get(f"{service.url}/v1/models").status_code == 200
        os.kill(before[1], signal.SIGKILL)
        until(lambda: len(list((tmp_path / "audit").glob("2*.jsonl"))) == 3)
        until(lambda: alive(service))
    key = read_public_key(tmp_path / "audit.pub")
    report = verify(tmp_path / "audit", key)
    assert (report.files, report.records, report.faults) == (3, 10, [])
    (note,) = report.notes
    assert f"-{before[1]}-" in note and "open, or cut off since the last checkpoint" in note
    assert len(verify(tmp_path / "audit", key, stopped=True).faults) == 1


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
