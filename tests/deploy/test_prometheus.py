"""The dashboard's and the alerts' expressions, asked of a real Prometheus that scrapes a real service.

Beside the service it scrapes a worker to which everything happens that a healthy young service has not met: models that fail
and fall back, drift, refusals, a bound that is passed. So each expression has data somewhere, and each alert a reason.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from safelight.detections import Detections
from safelight.drift import LEAST, Tally
from safelight.sealing.messages import InnerRequest
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from serving.privacy.record import open_record
from serving.settings import Settings
from serving.telemetry.labels import STAGES
from serving.telemetry.telemetry import Telemetry
from tests.deploy.boards import PROMETHEUS, dashboard, panel_queries, panels, rule_queries, rules
from tests.serving.conftest import encoded, squares
from tests.serving.real import Service, lay_out, running
from tests.serving.telemetry.collector import collecting

PROGRAMS = ("prometheus", "promtool")
pytestmark = pytest.mark.prometheus
WINDOW = "10s"
LOAD_S = 12.0
PICTURE = encoded(squares(person=(8, 8)))
QUIET = {"Fallbacks", "Agreement of challengers", "Distance from the reference", "Changed"}
"""Panels that show nothing of a service to which nothing has happened yet."""


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (apt-get install prometheus)")


class Unlucky:
    """A worker to which everything happens, in this process."""

    def __init__(self, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.now = 0.0
        self.telemetry = Telemetry(settings, clock=lambda: self.now, registry=self.registry)
        self.app = self.telemetry.measured(self._answer)
        self.rng = np.random.default_rng(20261121)
        self.server, self.thread = start_http_server(0, "127.0.0.1", registry=self.registry)
        self.target = f"127.0.0.1:{self.server.server_port}"
        observer = self.telemetry.observer
        for member, ready in (("first", True), ("second", False)):
            observer.loaded("coco", member, ready)
        observer.breaker("coco", "first", "open")
        tally = Tally()
        for _ in range(2 * LEAST):
            tally.add(*self._picture(120))
        observer.expects("coco", "first", tally.reference())

    def _picture(self, brightness: float) -> tuple[np.ndarray, Detections]:
        view = np.clip(self.rng.normal(brightness, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
        return view, Detections(np.array([[1, 1, 9, 9]]), np.array([0.5]), np.array([0]), (64, 64))

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Slow answers, and refusals of each kind."""
        record = open_record(scope, {"/v1/detect"})
        begun, self.now = self.now, self.now + 3
        for stage in STAGES:
            record.spent(stage, begun, self.now)
        if scope["refusal"] is None:
            record.status = 200
            record.answered_by("coco", "0" * 64)
        else:
            record.refused(f"#{scope['refusal']}", 503, "0" * 32)

    def step(self) -> None:
        observer = self.telemetry.observer
        for refusal in (None, "audit-unavailable", "replay-store-down", "overloaded"):
            scope = {"type": "http", "path": "/v1/detect", "method": "POST", "headers": [], "refusal": refusal}
            anyio.run(self.app, scope, None, None)
        observer.ran("coco", "first", 3, 0.02)
        observer.queued("coco", "first", 7)
        for _ in range(10):
            observer.fell_back("coco", "first", "too slow")
        observer.swapped("coco", "first", "rolled back")
        observer.compared("coco", "challenger", 0.5)
        for _ in range(LEAST // 4):
            self.now += 1
            observer.seen("coco", "first", *self._picture(20))
        self.telemetry.look_around()
        self.telemetry.metrics.memory_bound.set(self.registry.get_sample_value("safelight_worker_memory_bytes"))
        for outcome in ("made", "sent", "failed"):
            self.telemetry.metrics.spans.labels(outcome).inc()


@dataclass(frozen=True)
class Watched:
    """A Prometheus with something to show. service: where the real one is, as `instance` says it."""

    http: httpx.Client
    service: str

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression now. Whatever Prometheus has to remark is an error."""
        answer = self.http.post("/api/v1/query", data={"query": expr}).json()
        assert answer["status"] == "success" and not answer.get("warnings"), (expr, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, label: str, match: str) -> list[str]:
        """What a variable of the dashboard would offer."""
        answer = self.http.get(f"/api/v1/label/{label}/values", params={"match[]": match}).json()
        assert answer["status"] == "success"
        found: list[str] = answer["data"]
        return found


def load(service: Service) -> None:
    """Every way to ask a little: plain, sealed, refused, unopened."""
    with httpx.Client(base_url=service.url, timeout=30) as http:
        config = decode_keys(http.get("/ohttp-keys").content)[0]
        for target in ("/v1/detect", "/v1/detect?model=tree-crowns", "/v1/detect?threshold=9"):
            plain = http.post(target, content=PICTURE, headers={"content-type": "image/png"})
            assert plain.status_code == (400 if "9" in target else 200)
        inner = InnerRequest("POST", "/v1/detect", ((b"content-type", b"image/png"),), PICTURE)
        outgoing = OhttpWrapper(config).wrap(inner)
        headers = {name.decode(): value.decode() for name, value in outgoing.headers}
        assert http.post("/ohttp", content=b"".join(outgoing.body), headers=headers).status_code == 200
        assert http.post("/ohttp", content=b"junk", headers=headers).status_code == 400


def configure(folder: Path, targets: list[str]) -> Path:
    """The shipped configuration, with these targets, scraped every second."""
    (folder / "metrics_key").write_text("not asked for on loopback")
    shutil.copy(PROMETHEUS / "alerts.yml", folder)
    shipped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    shipped["global"] = dict.fromkeys(shipped["global"], "1s")
    (job,) = shipped["scrape_configs"]
    assert job["job_name"] == "safelight"
    job["authorization"]["credentials_file"] = str(folder / "metrics_key")
    job["static_configs"] = [{"targets": targets}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@pytest.fixture(scope="module")
def watched(_programs, settings, private_key, tmp_path_factory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("prometheus")
    project, home = lay_out(folder / "project", private_key), folder / "home"
    unlucky = Unlucky(settings)
    with socket.socket() as nobody, collecting() as collector:
        nobody.bind(("127.0.0.1", 0))
        environ = {"SAFELIGHT_ALLOW_PLAINTEXT": "1", "SAFELIGHT_TELEMETRY__TRACES": collector.url}
        with running(project, home, **environ) as service:
            target = service.url.removeprefix("http://")
            path = configure(folder, [target, unlucky.target, f"127.0.0.1:{nobody.getsockname()[1]}"])
            with prometheus(path) as http:
                deadline = time.monotonic() + LOAD_S
                while time.monotonic() < deadline:
                    load(service)
                    unlucky.step()
                    time.sleep(0.3)
                yield Watched(http, target)
    unlucky.server.shutdown()
    unlucky.server.server_close()
    unlucky.thread.join()


class prometheus:
    """A server of its own on a free port, gone at the end."""

    def __init__(self, configuration: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        folder = configuration.parent
        self._log = (folder / "prometheus.log").open("wb")
        self._command = [
            "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={self._address}",
        ]  # fmt: skip

    def __enter__(self) -> httpx.Client:
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        self._http = httpx.Client(base_url=f"http://{self._address}", timeout=30)
        deadline = time.monotonic() + 30
        while not self._ready():
            assert self._process.poll() is None and time.monotonic() < deadline, Path(self._log.name).read_text()
            time.sleep(0.1)
        return self._http

    def _ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()


EVERYTHING = {"__rate_interval": WINDOW, "path": ".*", "model": ".*"}


@pytest.mark.parametrize("query", list(panel_queries()), ids=lambda query: query.of)
def test_every_panel_has_something_to_show(watched, query):
    assert watched.ask(query.asked(instance=".*", **EVERYTHING)), query
    own = watched.ask(query.asked(instance=watched.service, **EVERYTHING))
    assert bool(own) is (query.of not in QUIET), query
    assert all(sample["value"][1] != "NaN" for sample in own), own


def test_the_real_service_tells_what_it_did(watched):
    service = f'instance="{watched.service}"'
    (busy,) = watched.ask(f'sum(safelight_requests_total{{{service},route="/v1/detect",status="200"}})')
    assert float(busy["value"][1]) > 10
    protocols = watched.ask(f"sum by (protocol) (safelight_requests_total{{{service}}})")
    assert {sample["metric"]["protocol"] for sample in protocols} == {"plain", "ohttp", "unopened"}
    stages = watched.ask(f"sum by (stage) (safelight_stage_seconds_count{{{service}}})")
    assert {sample["metric"]["stage"] for sample in stages} == {*STAGES}
    ready = watched.ask(f"safelight_model_ready{{{service}}} == 1")
    assert {sample["metric"]["route"] for sample in ready} == {"coco", "tree-crowns"}
    (memory,) = watched.ask(
        f"safelight_worker_memory_bytes{{{service}}} / ignoring(pid) safelight_worker_memory_bound_bytes"
    )
    assert 0 < float(memory["value"][1]) < 1


@pytest.mark.parametrize("query", list(rule_queries()), ids=lambda query: query.of)
def test_every_rule_can_be_asked_and_has_a_reason_here(watched, query):
    assert watched.ask(query.expr), query


def test_prometheus_evaluates_the_rules_itself(watched):
    groups = watched.http.get("/api/v1/rules").json()["data"]["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert set(found) == {rule.get("alert") or rule["record"] for rule in rules()}
    assert {(rule["health"], rule.get("lastError")) for rule in found.values()} == {("ok", None)}
    states = {name: rule["state"] for name, rule in found.items() if rule["type"] == "alerting"}
    assert set(states.values()) <= {"pending", "firing"}, states
    annotation = dashboard()["annotations"]["list"][0]["expr"]
    firing = {sample["metric"]["alertname"] for sample in watched.ask(annotation)}
    assert {"SafelightSwapUndone", "SafelightBreakerOpen"} <= firing


def test_the_variables_offer_what_there_is(watched):
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            assert watched.values(label, metric), variable["name"]
    assert watched.service in watched.values("instance", "safelight_requests_in_flight")


def test_no_panel_goes_unasked():
    assert {query.of for query in panel_queries()} == {panel["title"] for panel in panels()} >= QUIET
    assert json.dumps(dashboard()).count('"expr"') == len(list(panel_queries())) + 1  # and the annotation


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "alerts.test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments):
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
