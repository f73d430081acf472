"""Pools of real bundles behind the application: fallback, thresholds, licences, fusion, and a swap under load."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from safelight import golden
from safelight.bundle import MODEL, Champion, read_bundle, write_challenger
from safelight.preprocess import Preprocess
from serving.model_settings import Challenger, Member, Pool, Swap
from serving.models.loading import catalogue_of
from serving.models.network import open_network
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import SIDE, colour_graph, manifest, promote
from tests.serving.test_bad_bodies import assert_problem

PICTURE = encoded(squares(person=(48, 8), cat=(8, 32)))


@pytest.fixture
def own(settings, tmp_path, private_key):
    """Settings with two models of the same labels, coco and spare, behind the route coco."""
    for name in ("coco", "spare"):
        promote(tmp_path, private_key, name=name)
    pool = Pool(members={"first": Member(bundle="coco"), "second": Member(bundle="spare")})
    return settings.model_copy(update={"bundles": tmp_path, "models": ("coco",), "pools": {"coco": pool}})


def with_pool(settings, **changes):
    pool = settings.pools["coco"].model_copy(update=changes)
    return settings.model_copy(update={"pools": {"coco": pool}})


def flip(folder, name=MODEL):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


def cards(client):
    (route,) = client.get("/v1/models").json()["models"]
    return {member["name"]: member for member in route["pool"]}


def test_a_corrupted_primary_leaves_the_route_answering_from_the_next(own, make_client):
    flip(own.bundles / "coco" / "v1")
    client = make_client(own)
    answer = client.post("/v1/detect", content=PICTURE).json()
    assert answer["counts"] == {"person": 1, "cat": 1} and answer["model"]["name"] == "spare"
    assert answer["model_used"] == ["second"]
    assert answer["fallback_from"] == [{"model": "first", "reason": "not loaded"}]
    told = cards(client)
    assert told["first"]["state"] == "failed" and "signature" in told["first"]["failure"].lower()
    assert told["second"]["state"] == "ready" and told["second"]["breaker"] == "closed"


def test_priorities_come_before_the_order_in_the_settings(own, make_client):
    members = {"late": Member(bundle="coco", priority=2), "early": Member(bundle="spare", priority=1)}
    client = make_client(with_pool(own, members=members))
    assert client.post("/v1/detect", content=PICTURE).json()["model_used"] == ["early"]


def test_a_member_has_a_threshold_of_its_own(own, make_client):
    dim = encoded((squares(person=(48, 8)) * 0.5).astype("uint8"))
    for threshold, counts in ((None, {}), (0.4, {"person": 1})):
        member = Member(bundle="coco", threshold=threshold)
        client = make_client(with_pool(own, members={"only": member}))
        assert client.post("/v1/detect", content=dim).json()["counts"] == counts


def test_a_member_with_another_licence_is_left_out(own, make_client):
    members = {"strict": Member(bundle="coco", licence="Apache-2.0"), "any": Member(bundle="spare", licence="MIT")}
    client = make_client(with_pool(own, members=members))
    told = cards(client)
    assert told["strict"]["state"] == "failed" and "Apache-2.0" in told["strict"]["failure"]
    assert client.post("/v1/detect", content=PICTURE).json()["model_used"] == ["any"]


def test_a_version_can_be_pinned(own, make_client, private_key):
    promote(own.bundles, private_key, name="coco", version="v2")
    members = {"pinned": Member(bundle="coco", version="v1"), "newest": Member(bundle="coco")}
    client = make_client(with_pool(own, members=members))
    told = cards(client)
    assert (told["pinned"]["version"], told["newest"]["version"]) == ("v1", "v2")


def test_all_models_answer_together(own, make_client):
    client = make_client(with_pool(own, answer="fused"))
    answer = client.post("/v1/detect", content=PICTURE).json()
    assert answer["model_used"] == ["first", "second"] and answer["counts"] == {"person": 1, "cat": 1}
    assert "fallback_from" not in answer


def test_a_challenger_from_its_file(own, make_client, private_key):
    promote(own.bundles, private_key, name="spare", version="v2", graph=colour_graph(swapped=True))
    promote(own.bundles, private_key, name="spare", version="v1")
    other = read_bundle(own.bundles / "spare" / "v2", own.public_keys)
    challenger = Challenger(member=Member(bundle="spare", version="challenger"), share=1.0)
    settings = with_pool(own, challenger=challenger)
    assert cards(make_client(settings))["challenger"]["state"] == "failed", "there is none yet"
    write_challenger(own.bundles / "spare", Champion(name="spare", version="v2", digest=other.digest))
    client = make_client(settings)
    assert cards(client)["challenger"]["role"] == "challenger"
    one = encoded(squares(person=(48, 8)))
    assert client.post("/v1/detect", content=one).json()["counts"] == {"cat": 1}, "it sees the other colour"


def test_a_network_that_does_not_answer_as_at_export_is_left_out(own, make_client, private_key):
    preprocess = Preprocess("letterbox", SIDE)
    run = open_network(manifest(), colour_graph(), threads=1, provider="cpu", warm_batches=(1,))
    told = {MODEL: golden.make(preprocess, run, seed=7)}
    promote(own.bundles, private_key, name="coco", version="v2", golden=told)
    promote(own.bundles, private_key, name="spare", version="v2", golden=told, graph=colour_graph(swapped=True))
    states = cards(make_client(own))
    assert states["first"]["state"] == "ready" and states["first"]["version"] == "v2"
    assert states["second"]["state"] == "failed" and "as it did at export" in states["second"]["failure"]


def test_a_request_may_want_its_answer_sooner(own, make_client):
    client = make_client(own)
    assert client.post("/v1/detect?timeout_ms=60000", content=PICTURE).status_code == 200
    for wrong in ("0", "-1", "1.5", "abc", "99999999", "1e3"):
        assert_problem(client.post(f"/v1/detect?timeout_ms={wrong}", content=PICTURE), 400, "invalid-option")


def test_a_champion_is_swapped_under_load_without_a_failure(own, make_client, private_key):
    """The versions see different things in the same picture; each answer is wholly of one of them, and says which."""
    swap = Swap(check_s=0.05, retry_every=2, trial_s=300, least_answers=20, share=0.1)
    settings = with_pool(own, members={"only": Member(bundle="coco")}).model_copy(update={"swap": swap})
    catalogue = catalogue_of(settings)
    catalogue.load()
    catalogue.watch()
    client = make_client(settings, catalogue)
    one = encoded(squares(person=(48, 8)))
    stop, seen, failures = threading.Event(), [], []

    def load():
        while not stop.is_set():
            response = client.post("/v1/detect", content=one)
            if response.status_code == 200:
                answer = response.json()
                seen.append((answer["model"]["version"], tuple(answer["counts"])))
            else:
                failures.append(response.text)

    def until(version):
        deadline = time.monotonic() + 20
        while not seen or seen[-1][0] != version:
            assert time.monotonic() < deadline, "the version was not taken up"
            time.sleep(0.02)

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(load) for _ in range(4)]
        try:
            until("v1")
            for number in range(2, 6):
                graph = colour_graph(swapped=number % 2 == 0)
                promote(own.bundles, private_key, name="coco", version=f"v{number}", graph=graph)
                until(f"v{number}")
        finally:
            stop.set()
        for task in tasks:
            task.result()
    catalogue.close()
    assert failures == [] and len(seen) > 20
    expected = {f"v{n}": ("cat",) if n % 2 == 0 else ("person",) for n in range(1, 6)}
    assert set(seen) == set(expected.items())
