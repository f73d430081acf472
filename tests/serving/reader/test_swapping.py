"""Adapters that change places under load, on one base: no request fails, each answer is of one version, and the base is closed
with the last that uses it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from safelight.errors import ModelUnavailable
from safelight.reader import golden
from safelight.reader.quality import QualityLimits
from serving.models.loading import catalogue_of
from tests.serving.conftest import encoded
from tests.serving.graphs import promote
from tests.serving.reader import bundles, tiny
from tests.serving.reader.test_read import PNG, picture, read

CLIENTS, SWAPS = 3, 3


@pytest.fixture
def own(settings, base, tmp_path, private_key):
    """A folder with a detector, a base and a reader of keys; settings that look often; the base's name."""
    promote(tmp_path, private_key, name="coco")
    pinned = bundles.write_base(tmp_path, private_key, base)
    bundles.write_reader(tmp_path, private_key, base, pinned)
    swift = settings.swap.model_copy(update={"check_s": 0.05, "retry_every": 1, "trial_s": 0.2})
    return bundles.with_readers(settings.model_copy(update={"swap": swift}), tmp_path, "keys"), pinned


@pytest.fixture
def start(own):
    made = []

    def begin(settings=None):
        catalogue = catalogue_of(own[0] if settings is None else settings)
        made.append(catalogue)
        catalogue.load()
        catalogue.load_readers()
        return catalogue

    yield begin
    for catalogue in made:
        catalogue.close()


def bases(catalogue):
    return catalogue.readers["keys"].members[0]._source.bases


def until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_adapters_are_swapped_under_load_without_a_failed_request(own, start, base, private_key, make_client):
    settings, pinned = own
    catalogue = start()
    catalogue.watch()
    client = make_client(settings, catalogue)
    data, stop = encoded(picture()), threading.Event()
    seen, failures = [], []

    def load():
        while not stop.is_set():
            answer = client.post("/v1/read", content=data, headers=PNG)
            if answer.status_code == 200:
                told = answer.json()
                seen.append((told["model"]["version"], told["keyway"], told["bitting"], told["brand"]))
            else:
                failures.append(answer.text)

    with ThreadPoolExecutor(CLIENTS) as threads:
        tasks = [threads.submit(load) for _ in range(CLIENTS)]
        try:
            for number in range(2, 2 + SWAPS):
                version = f"v{number}"
                bundles.write_reader(settings.bundles, private_key, base, pinned, version=version, seed=number)
                until(
                    lambda version=version: failures or (seen and seen[-1][0] == version), f"{version} was not taken up"
                )
        finally:
            stop.set()
        for task in tasks:
            task.result()
    assert failures == []
    assert {version for version, *_ in seen} == {f"v{number}" for number in range(1, 2 + SWAPS)}
    assert len({tuple(one) for one in seen}) == 1 + SWAPS  # one answer a version, whoever was beside it
    assert len(bases(catalogue).open_keys) == 1


def test_adapters_of_one_base_share_it_and_the_last_one_closes_it(own, start, base, private_key):
    settings, pinned = own
    bundles.write_reader(settings.bundles, private_key, base, pinned, name="meters", seed=3, schema=tiny.METERS)
    catalogue = start(bundles.with_readers(settings, settings.bundles, "keys", "meters"))
    keys, meters = (catalogue.readers[name].primary for name in ("keys", "meters"))
    shared = bases(catalogue)
    assert len(shared.open_keys) == 1
    keys.close()
    assert len(shared.open_keys) == 1
    meters.close()
    until(lambda: not shared.open_keys, "the base stayed open")
    with pytest.raises(ModelUnavailable):
        meters.looker.ask(tiny.pictures(1)[0], lambda: 1.0)


def test_a_base_that_changed_under_its_name_is_refused(own, start, base, private_key):
    settings, _pinned = own
    bundles.write_base(settings.bundles, private_key, base, licence="Apache-2.0")
    member = start().readers["keys"].members[0]
    assert member.served is None and "very bundle" in member.failure


def test_without_its_base_a_reader_stays_out_and_detectors_answer(own, base, make_client, start):
    settings, _ = own
    absent = bundles.with_readers(settings, settings.bundles, "keys", "absent")
    client = make_client(absent, start(absent))
    assert read(client).status_code == 200
    response = read(client, query="?model=absent")
    assert response.status_code == 503 and response.json()["type"].endswith("#model-unavailable")
    assert client.post("/v1/detect", content=encoded(picture())).status_code == 200
    cards = {card["name"]: card for card in client.get("/v1/models").json()["models"]}
    assert cards["absent"]["state"] == "failed" and cards["absent"]["failure"]


def test_a_service_without_readers_says_so(settings, make_client):
    response = read(make_client(settings))
    assert response.status_code == 503 and "no readers" in response.json()["detail"]


@pytest.mark.parametrize("right", [True, False])
def test_a_reader_that_does_not_answer_as_at_export_stays_out(own, start, base, private_key, right):
    settings, pinned = own
    engine, adapter = base.engine(), base.adapter(seed=7)

    def ask(pixels):
        found = engine.read(pixels, adapter, left_s=lambda: 60.0)
        return found.text, found.log_probability

    expected = golden.make(ask, tiny.SIDE, 5, tolerance=0.01)
    engine.stop()
    if not right:
        wrong = expected.samples[0].model_copy(update={"text": "{}"})
        expected = expected.model_copy(update={"samples": (wrong,)})
    bundles.write_reader(
        settings.bundles, private_key, base, pinned, version="v7", seed=7, golden={"decoder.onnx": expected}
    )
    member = start().readers["keys"].members[0]
    assert (member.served is not None) is right
    assert right or "golden reading 1" in member.failure


def test_the_limits_of_settings_win_over_the_manifests(own, start, base, private_key):
    settings, pinned = own
    bundles.write_reader(
        settings.bundles, private_key, base, pinned, version="v2", quality={"min_side": 20, "min_sharpness": 1.0}
    )
    changed = bundles.with_readers(settings, settings.bundles, "keys", quality={"min_sharpness": 2.0})
    limits = start(changed).readers["keys"].primary.looker.limits
    assert limits == QualityLimits(min_side=20, min_sharpness=2.0)


def test_answers_are_remembered_where_settings_say_so(own, start, make_client, monkeypatch):
    settings, _ = own
    cache = settings.readers.cache.model_copy(update={"entries": 8})
    cached = bundles.with_readers(settings, settings.bundles, "keys", cache=cache)
    catalogue = start(cached)
    client = make_client(cached, catalogue)
    looker = catalogue.readers["keys"].primary.looker
    asked, ask = [], looker.ask
    monkeypatch.setitem(looker.__dict__, "ask", lambda *given: asked.append(1) or ask(*given))
    first, second = read(client).json(), read(client).json()
    assert len(asked) == 1 and first["bitting"] == second["bitting"] and first["request_id"] != second["request_id"]
    assert read(client, picture(9)).status_code == 200 and len(asked) == 2
