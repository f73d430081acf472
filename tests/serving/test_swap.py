"""A champion that moves while the real service is under sealed load: no request fails, and each answer is of one version."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from safelight.client import Client
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import colour_graph, promote
from tests.serving.real import lay_out, running

CLIENTS, SWAPS = 4, 4
SEEN = {0: {"cat": 1}, 1: {"person": 1}}


def test_four_swaps_under_sealed_load(tmp_path, private_key):
    project = lay_out(tmp_path / "project", private_key)
    person = encoded(squares(person=(48, 8)))
    seen: list[tuple[str, dict[str, int]]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def load(url: str) -> None:
        with Client(url, attempts=1) as client:
            while not stop.is_set():
                try:
                    answer = client.detect(person, model="coco")
                except Exception as error:
                    failures.append(error)
                else:
                    seen.append((answer.model.version, answer.counts))

    def until(version: str) -> None:
        deadline = time.monotonic() + 30
        while not seen or seen[-1][0] != version:
            assert time.monotonic() < deadline, f"{version} was not taken up"
            time.sleep(0.05)

    fast = {"SAFELIGHT_SWAP__CHECK_S": "0.2", "SAFELIGHT_RATES__SEALED_ANONYMOUS": "none"}
    with running(project, tmp_path / "home", "127.0.0.1", **fast) as service, ThreadPoolExecutor(CLIENTS) as pool:
        tasks = [pool.submit(load, service.url) for _ in range(CLIENTS)]
        try:
            until("v1")
            for number in range(2, 2 + SWAPS):
                graph = colour_graph(swapped=number % 2 == 0)
                promote(project / "bundles", private_key, name="coco", version=f"v{number}", graph=graph)
                until(f"v{number}")
        finally:
            stop.set()
        for task in tasks:
            task.result()
    assert failures == []
    assert {version for version, _ in seen} == {f"v{n}" for n in range(1, 2 + SWAPS)}
    assert all(counts == SEEN[int(version[1:]) % 2] for version, counts in seen)
