"""Models that are corrupted on disk, that raise and that hang: the next one answers, and they are used again when they can."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.faults.hostile_graphs import hanging, raising
from tests.faults.load import UNLIMITED, Load, assert_problem, until, workers
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import promote
from tests.serving.real import Service, running

LIMIT_S = 1.0
PICTURE = squares(person=(8, 16))
MARKED = PICTURE.copy()
MARKED[40:48, 40:48, 2] = 255  # blue: no class of any model
POOLS = {
    "coco": {"broken": ("broken", -1), "raises": ("raising", 0), "spare": ("spare", 1)},
    "tree-crowns": {"hangs": ("hanging", 0), "spare": ("spare", 1)},
}


def pools() -> dict[str, str]:
    """The settings of these, as the environment gives them."""
    settings = {}
    for route, members in POOLS.items():
        for name, (bundle, priority) in members.items():
            where = f"SAFELIGHT_POOLS__{route.upper()}__MEMBERS__{name.upper()}"
            settings |= {f"{where}__BUNDLE": bundle, f"{where}__PRIORITY": str(priority)}
    return settings | {"SAFELIGHT_POOLS__TREE-CROWNS__MEMBERS__HANGS__TIMEOUT_S": str(LIMIT_S)}


@pytest.fixture
def corrupted(project: Path, private_key: Path) -> tuple[Path, bytes]:
    """Bundles for the pools; of one, a byte of the graph is another one. Returns its file, and what it should hold."""
    promote(project / "bundles", private_key, graph=raising(), name="raising")
    promote(project / "bundles", private_key, graph=hanging(), name="hanging")
    promote(project / "bundles", private_key, name="spare")
    folder = promote(project / "bundles", private_key, name="broken")
    (file,) = folder.glob("*.onnx")
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    return file, whole


def ask(service: Service, pixels, **query: str) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/detect", params=query, content=encoded(pixels), timeout=30)


def answered(service: Service, pixels, **query: str) -> tuple[str, dict[str, str]]:
    """(who answered, rightly; who was passed over, and why)"""
    answer = ask(service, pixels, **query)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["counts"] == {"person": 1}
    (used,) = found["model_used"]
    return used, {one["model"]: one["reason"] for one in found.get("fallback_from") or ()}


def test_the_next_model_answers_and_the_first_is_used_again(project, corrupted, tmp_path):
    quick = {
        "SAFELIGHT_BREAKER__FAILURES": "3",
        "SAFELIGHT_BREAKER__RESET_S": "2",
        "SAFELIGHT_SWAP__CHECK_S": "0.2",
        "SAFELIGHT_SWAP__RETRY_EVERY": "2",
    }
    plain = {"SAFELIGHT_ALLOW_PLAINTEXT": "1", **UNLIMITED}
    with running(project, tmp_path / "home", **pools(), **quick, **plain) as service:
        before = workers(service)
        one_that_raises_is_passed_over_and_then_left_alone(service)
        with Load(service, threads=2) as load:
            load.more(10)
            one_that_is_corrupted_is_never_used(service)
            one_that_hangs_is_given_up(service)
            file, whole = corrupted
            file.write_bytes(whole)
            until(lambda: answered(service, PICTURE) == ("broken", {}))
            load.more(10)
            file.write_bytes(b"")  # of one that is loaded nothing is read any more
            load.more(10)
        assert load.wrong == [] and not load.refused and load.lost == 0 and workers(service) == before


def one_that_is_corrupted_is_never_used(service: Service) -> None:
    assert answered(service, PICTURE) == ("raises", {"broken": "not loaded"})
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    models = httpx.get(f"{service.url}/v1/models").text
    assert "digest" in models and '"failed"' in models


def one_that_raises_is_passed_over_and_then_left_alone(service: Service) -> None:
    for reason in ("failed", "failed", "failed", "breaker open"):
        assert answered(service, MARKED) == ("spare", {"broken": "not loaded", "raises": reason})
    assert answered(service, PICTURE)[0] == "spare"
    until(lambda: answered(service, PICTURE)[0] == "raises")  # after its rest, somebody tried it


def one_that_hangs_is_given_up(service: Service) -> None:
    assert answered(service, PICTURE, model="tree-crowns") == ("hangs", {})
    begun = time.perf_counter()
    assert answered(service, MARKED, model="tree-crowns") == ("spare", {"hangs": "too slow"})
    assert LIMIT_S <= time.perf_counter() - begun < LIMIT_S + 5
    assert answered(service, PICTURE, model="tree-crowns") == ("hangs", {})  # the run was ended, and holds nothing
    late = ask(service, MARKED, model="tree-crowns", timeout_ms="1")
    begun = late.json()["type"].endswith("#deadline-exceeded")  # or it was over before a thread was free
    assert_problem(late, 504 if begun else 503, "deadline-exceeded" if begun else "overloaded")
