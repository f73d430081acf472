"""Figures of several workers: real processes, real mapped files, and BentoML's own way of showing them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.telemetry import memory, workers
from tests.conftest import ROOT

WORKER = """
import os, sys, time
from serving.settings import load_settings
from serving.telemetry.telemetry import Telemetry
from pathlib import Path
telemetry = Telemetry(load_settings(Path(sys.argv[1]), {}), clock=time.perf_counter)
telemetry.start()
seen = telemetry.observer
seen.ran("coco", "coco", 4, 0.01)
seen.queued("coco", "coco", 3)
seen.breaker("coco", "coco", "open")
seen.loaded("coco", "coco", True)
print(os.getpid(), flush=True)
for line in sys.stdin:
    telemetry.look_around()
    print("looked around", flush=True)
"""
SHOW = """
from bentoml._internal.server.metrics.prometheus import PrometheusClient
from prometheus_client.parser import text_string_to_metric_families as families
import json, os
client = PrometheusClient()
text = client.generate_latest().decode()
print(json.dumps([[s.name, s.labels, s.value] for family in families(text) for s in family.samples]))
client._pid = os.getpid()
"""


@pytest.fixture
def environ(tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT)}


class Worker:
    def __init__(self, environ):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(ROOT)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = int(self.process.stdout.readline())

    def look_around(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "looked around\n"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def shown(environ) -> dict[tuple[str, str], float]:
    """As BentoML's /metrics would show it: (name, the labels that tell) to value."""
    text = subprocess.run([sys.executable, "-c", SHOW], env=environ, capture_output=True, check=True, text=True).stdout
    told = ("state", "pid")
    return {(name, "".join(labels.get(one, "") for one in told)): value for name, labels, value in json.loads(text)}


def test_workers_count_together_and_the_dead_leave_no_gauges(environ):
    """Two at work; one is killed and replaced, as BentoML's supervisor does it."""
    folder = Path(environ["PROMETHEUS_MULTIPROC_DIR"])
    first, second = Worker(environ), Worker(environ)
    try:
        both = shown(environ)
        assert both["safelight_batch_size_count", ""] == 2 and both["safelight_queue_depth", ""] == 6
        assert both["safelight_breaker_state", "open"] == 2 and both["safelight_breaker_state", "closed"] == 0
        assert both["safelight_model_ready", ""] == 1
        for worker in (first, second):
            assert both["safelight_worker_memory_bytes", str(worker.pid)] > 20_000_000
        first.end()
        assert shown(environ)["safelight_queue_depth", ""] == 6  # nobody has noticed yet
        second.look_around()
        left = shown(environ)
        assert left["safelight_batch_size_count", ""] == 2  # what was counted stays counted
        assert left["safelight_queue_depth", ""] == 3 and left["safelight_breaker_state", "open"] == 1
        assert ("safelight_worker_memory_bytes", str(first.pid)) not in left
        remains = [*folder.glob(f"*_{first.pid}.db")]
        assert remains and sum(path.stat().st_blocks * 512 for path in remains) < 64 * 1024
    finally:
        first.end()
        second.end()


def test_files_have_their_blocks_before_they_are_used(environ):
    worker = Worker(environ)
    try:
        folder = Path(environ["PROMETHEUS_MULTIPROC_DIR"])
        files = {path.name.removesuffix(f"_{worker.pid}.db"): path.stat() for path in folder.iterdir()}
    finally:
        worker.end()
    assert set(workers.ROOM) == set(files)  # and no kind of file is made that was not foreseen
    assert all(files[kind].st_size == size <= files[kind].st_blocks * 512 for kind, size in workers.ROOM.items())


def test_a_full_disk_is_told_and_not_met(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "no space left on device")

    assert workers.make_room(tmp_path, os.getpid())
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not workers.make_room(tmp_path, os.getpid())


def test_a_container_s_memory_is_shared_by_its_workers(tmp_path, settings):
    limit = tmp_path / "memory.max"
    assert memory.allowed_bytes(2, limit) is None
    limit.write_text("max\n")
    assert memory.allowed_bytes(2, limit) is None
    limit.write_text("2147483648\n")
    assert memory.allowed_bytes(2, limit) == 1024**3
    more = settings.limits.model_copy(update={"pictures": settings.limits.pictures + 1})
    assert memory.working_bytes(more, 2) - memory.working_bytes(settings.limits, 2) == 2 * 22 * more.max_pixels


FULL = """
import sys, time
from pathlib import Path
from prometheus_client import CollectorRegistry
from serving.settings import load_settings
from serving.telemetry.labels import Names
from serving.telemetry.metrics import Metrics
from serving.telemetry.observer import Figures
from serving.telemetry.telemetry import Telemetry

folder, root, roomy = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "roomy"
if roomy:
    observer = Telemetry(load_settings(root, {}), clock=time.perf_counter).observer
else:
    observer = Figures(Metrics(CollectorRegistry()), Names(), None)
observer.loaded("coco", "coco", True)
try:
    with (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
for number in range(30):
    observer.loaded("coco", f"m{number}", True)
    observer.ran("coco", f"m{number}", 1, 0.01)
"""


@pytest.mark.parametrize(("room", "code"), [("roomy", 0), ("none", -signal.SIGBUS)])
def test_a_disk_that_fills_up_kills_nobody(environ, room, code):
    """On a file system of 900 KiB; without room made beforehand the kernel would end the process."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs to mount a file system (root, in Linux)")
    folder = environ["PROMETHEUS_MULTIPROC_DIR"]
    script = 'mount -t tmpfs -o size=900k tmpfs "$1" && exec "$2" -c "$3" "$1" "$4" "$5"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", folder, sys.executable, FULL, str(ROOT), room]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
