"""The memory of envelopes: each token once, among threads, processes and machines; expiry; stores that are no stores."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sqlite3
import stat
import threading
from pathlib import Path

import anyio
import pytest

from safelight.errors import ConfigError, ReplayStoreDown, UnknownKey
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerRequest
from safelight.sealing.protocol import Opened
from serving.privacy.gate import Gate
from serving.privacy.replay import MemoryReplay, RedisReplay, SqliteReplay, open_store
from serving.privacy.sealed import Sealed
from serving.resilience.memory import Budget
from serving.resilience.pace import Pace

NOW = 1_800_000_000.0
numbers = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


STORES = ["memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=STORES)
def where(request, tmp_path) -> str:
    """A setting that names a store."""
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return {"memory": "memory", "sqlite": str(tmp_path / "replay.db")}[request.param]


@pytest.fixture
def store(where, clock):
    return open_store(where, clock, clock)


@pytest.fixture
def key() -> str:
    """The name of a key that no other test uses."""
    return f"key-{os.getpid()}-{next(numbers)}"


def test_once(store, key):
    for until in (NOW + 600, None):
        token = os.urandom(32)
        assert [store.reserve(key, token, until) for _ in range(4)] == [True, False, False, False]


def test_tokens_of_another_key_are_others(store, key):
    assert [store.reserve(name, b"t" * 32, NOW + 600) for name in (key, key + "'", key)] == [True, True, False]


def test_any_bytes_are_a_token(store, key):
    tokens = [b"", b"\0", b"\0\0", b"\xff" * 32, b"a:b", b"*", b"a\nb"]
    for until in (NOW + 600, None):
        assert all(store.reserve(f"{key}{until}", token, until) for token in tokens)
        assert not any(store.reserve(f"{key}{until}", token, until) for token in tokens)


def test_undated_tokens_go_with_their_key(store, key):
    other = key + "'"
    for name in (key, other):
        assert store.reserve(name, b"t", None) and store.reserve(name, b"dated", NOW + 600)
    assert {key, other} <= store.undated()
    store.forget({key})
    assert key not in store.undated() and other in store.undated()
    assert store.reserve(key, b"t", None)
    assert not store.reserve(other, b"t", None)
    assert not store.reserve(other, b"dated", NOW + 600)


def test_threads_that_race_win_once(store, key):
    tokens = [os.urandom(32) for _ in range(50)]
    won: list[int] = []
    barrier = threading.Barrier(8)

    def race() -> None:
        barrier.wait()
        won.extend(i for i, token in enumerate(tokens) if store.reserve(key, token, NOW + 600 if i % 2 else None))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(50))


@pytest.mark.parametrize("where", ["memory", "sqlite"], indirect=True)
def test_expiry(store, clock, key):
    assert store.reserve(key, b"t", NOW + 600)
    clock.now = NOW + 600  # still fresh at this very moment, by the check of dates
    assert not store.reserve(key, b"t", NOW + 1200)
    clock.now = NOW + 661
    assert store.reserve(key, b"t", NOW + 1200)


@pytest.mark.parametrize("where", ["memory", "sqlite"], indirect=True)
def test_a_clock_that_goes_back_forgets_nothing(store, clock, key):
    assert store.reserve(key, b"t", NOW + 600)
    for now in (NOW - 3600, NOW + 61, NOW):
        clock.now = now
        assert not store.reserve(key, b"t", now + 600)


@pytest.mark.redis
def test_redis_forgets_by_itself(redis_url, clock, key):
    import redis

    store = RedisReplay(redis_url, clock)
    assert store.reserve(key, b"t", NOW + 600) and store.reserve(key, b"gone", NOW + 0.001)
    with redis.Redis.from_url(redis_url) as database:
        (name,) = database.keys(f"*{key}:t")
        assert 590_000 < database.pttl(name) <= 600_000
        assert database.get(name) == b""  # nothing but that it was seen


@pytest.mark.redis
def test_a_redis_that_dies_refuses(mortal_redis, clock, key):
    store = RedisReplay(mortal_redis.url, clock)
    assert store.reserve(key, b"t", NOW + 600)
    mortal_redis.stop()
    for ask in (
        lambda: store.reserve(key, b"u", NOW + 600),
        lambda: store.reserve(key, b"u", None),
        lambda: store.forget({key}),
        store.undated,
    ):
        with pytest.raises(ReplayStoreDown):
            ask()


def _race(where: str, key: str, barrier, out) -> None:
    barrier.wait()
    store = open_store(where, lambda: NOW)  # all create the file at once, too
    won = []
    for begin in range(0, 200, 10):
        barrier.wait()  # in step, so that they meet at the same tokens
        won += [i for i in range(begin, begin + 10) if store.reserve(key, b"%d" % i, NOW + 600 if i % 2 else None)]
    out.put(won)


@pytest.mark.parametrize("where", STORES[1:], indirect=True)
def test_processes_that_race_win_once(where, key):
    spawn = multiprocessing.get_context("forkserver")
    barrier, out = spawn.Barrier(6, timeout=60), spawn.Queue()
    processes = [spawn.Process(target=_race, args=(where, key, barrier, out)) for _ in range(6)]
    for process in processes:
        process.start()
    won = [out.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert sorted(itertools.chain(*won)) == list(range(200))


def test_a_file_outlives_its_process(tmp_path, key):
    path = tmp_path / "replay.db"
    assert SqliteReplay(path, lambda: NOW).reserve(key, b"t", None)
    assert not SqliteReplay(path, lambda: NOW).reserve(key, b"t", None)


def test_files_are_their_owners_alone(tmp_path, key):
    previous = os.umask(0)
    try:
        store = SqliteReplay(tmp_path / "own" / "replay.db", lambda: NOW)
        store.reserve(key, b"t", None)
        files = list((tmp_path / "own").iterdir())
        assert {path.name for path in files} == {"replay.db", "replay.db-wal", "replay.db-shm", "replay.db-lock"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    finally:
        os.umask(previous)


def test_the_file_does_not_grow_for_ever(tmp_path, clock, key):
    path = tmp_path / "replay.db"
    store = SqliteReplay(path, clock, clock)
    for minute in range(30):
        clock.now = NOW + 61 * minute
        for _ in range(20):
            assert store.reserve(key, os.urandom(32), clock.now + 300)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM seen").fetchone()[0] <= 20 * 7


def not_a_folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "replay.db"


def a_folder(tmp_path: Path) -> Path:
    (tmp_path / "replay.db").mkdir()
    return tmp_path / "replay.db"


def no_database(tmp_path: Path) -> Path:
    (tmp_path / "replay.db").write_bytes(b"this is no database" * 100)
    return tmp_path / "replay.db"


def damaged(tmp_path: Path) -> Path:
    path = tmp_path / "replay.db"
    store = SqliteReplay(path, lambda: NOW)
    for _ in range(300):
        store.reserve("key", os.urandom(32), None)
    store.close()
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)
    path.write_bytes(content)
    return path


def another_table(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "replay.db") as database:
        database.execute("CREATE TABLE seen (something TEXT)")
    return tmp_path / "replay.db"


@pytest.mark.parametrize("make", [not_a_folder, a_folder, no_database, damaged, another_table])
def test_what_cannot_be_used_stops_the_start(tmp_path, make):
    with pytest.raises(ConfigError, match="replay") as caught:
        open_store(str(make(tmp_path)), lambda: NOW)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_stops_the_start(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError):
        open_store(str(tmp_path / "replay.db"), lambda: NOW)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "redis://[", "redis://127.0.0.1:99999/0", "unix:///nowhere/redis"]
)
def test_a_redis_that_is_not_there_stops_the_start(url):
    with pytest.raises(ConfigError, match="Redis"):
        open_store(url, lambda: NOW)


def test_a_store_that_breaks_refuses(tmp_path, clock, key):
    store = SqliteReplay(tmp_path / "replay.db", clock, clock)
    store._db.execute("DROP TABLE seen")
    for ask in (lambda: store.reserve(key, b"t", None), lambda: store.forget({key}), store.undated):
        with pytest.raises(ReplayStoreDown):
            ask()


# Without waiting.


def test_at_once_and_later_are_one_memory(tmp_path, clock):
    for store in (MemoryReplay(clock, clock), SqliteReplay(tmp_path / "replay.db", clock, clock)):
        assert store.reserve("k", b"first", clock() + 60)  # which sweeps, too
        assert store.reserve_at_once("k", b"a", clock() + 60) is True
        assert store.reserve_at_once("k", b"a", clock() + 60) is False
        assert store.reserve("k", b"a", clock() + 60) is False
        assert store.reserve("k", b"b", None) and store.reserve_at_once("k", b"b", None) is False
        assert store.reserve_at_once("other", b"a", None) is True and store.undated() == {"k", "other"}


def test_a_file_that_another_process_writes_is_not_waited_for(tmp_path, clock):
    store = SqliteReplay(tmp_path / "replay.db", clock, clock)
    store.reserve("k", b"first", None)
    other = sqlite3.connect(tmp_path / "replay.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.reserve_at_once("k", b"a", None) is None
    other.execute("ROLLBACK")
    assert store.reserve_at_once("k", b"a", None) is True
    clock.now += 3600
    assert store.reserve_at_once("k", b"b", None) is None, "what is over is swept first, which may take a while"


def test_the_log_of_the_file_stays_small(tmp_path, clock):
    store = SqliteReplay(tmp_path / "replay.db", clock, clock)
    store.reserve("k", b"first", None)
    for number in range(5000):
        token = number.to_bytes(32, "big")
        if store.reserve_at_once("k", token, None) is None:
            assert store.reserve("k", token, None)
    assert (tmp_path / "replay.db-wal").stat().st_size < 20_000_000
    assert sqlite3.connect(tmp_path / "replay.db").execute("SELECT COUNT(*) FROM seen").fetchone() == (5001,)


# How the gate uses the store.


class Watched(MemoryReplay):
    """Remembers until when tokens were to be kept."""

    def __init__(self, now) -> None:
        super().__init__(now)
        self.untils: list[float | None] = []

    def reserve(self, key_id, token, until):
        self.untils.append(until)
        return super().reserve(key_id, token, until)


class Worker:
    """A gate of its own on shared keys and a shared store."""

    def __init__(self, settings, clock, store) -> None:
        self.gate = Gate(settings, now=clock)
        self.gate.load()
        self.gate._replay = store

    def takes(self, key, token=b"t", until=None) -> bool:
        return self.gate.first_time(key.name, token, until)


@pytest.fixture
def own_keys(settings, tmp_path):
    sealing = settings.sealing.model_copy(update={"keys": tmp_path / "keys", "kinds": ("x25519",)})
    return settings.model_copy(update={"sealing": sealing})


def test_a_key_that_retires_takes_its_tokens_along_when_no_worker_opens_with_it_any_more(own_keys, clock):
    store = MemoryReplay(clock, clock)
    one, other = Worker(own_keys, clock, store), Worker(own_keys, clock, store)
    keys = KeyStore(own_keys.sealing.keys, clock)
    (old,) = keys.in_use()
    assert one.takes(old) and not other.takes(old)
    clock.now += 1.1
    other.takes(old, b"other")  # has looked into the folder just now
    keys.retire(old.name)
    clock.now += 0.9
    (new,) = KeyStore(own_keys.sealing.keys, clock).in_use()
    clock.now += 0.09
    # One worker sees that the key is gone, the other one does not yet: it must still know the envelope.
    assert one.takes(new)
    assert not other.takes(old)
    clock.now += 3600
    for worker in (one, other):
        with pytest.raises(UnknownKey):
            worker.takes(old)
    for _ in range(3):
        one.takes(new, os.urandom(8))
        clock.now += 3600
    assert store.undated() == {new.name}
    assert not other.takes(new)


def test_a_key_that_another_worker_made_keeps_its_tokens(own_keys, clock):
    """A worker that has not looked into the folder yet must not take a new key for a retired one."""
    store = MemoryReplay(clock, clock)
    late = Worker(own_keys, clock, store)
    keys = KeyStore(own_keys.sealing.keys, clock)
    (first,) = keys.in_use()
    assert late.takes(first)
    new = keys.rotate("x25519", 1e6)
    early = Worker(own_keys, clock, store)
    assert early.takes(new)
    for wait in (0.5, 0.6, 2.0, 3600.0, 3600.0):
        late.takes(first, os.urandom(8))
        clock.now += wait
    assert not early.takes(new) and not late.takes(new)


@pytest.mark.parametrize("ahead", [-300, 0, 300])
def test_an_envelope_is_known_for_longer_than_it_is_fresh(own_keys, clock, ahead):
    """Also by the clock of another machine that is a minute behind, and whichever way the date was off."""
    gate = Gate(own_keys, now=clock)
    gate.load()
    store = gate._replay = Watched(clock)
    (key,) = KeyStore(own_keys.sealing.keys, clock).in_use()

    request = InnerRequest("GET", "/v1/models")
    opened = Opened(request, None, "ohttp", key.name, token=b"t", sent_at=NOW + ahead)  # type: ignore[arg-type]
    limits = {"max_bytes": 1, "linger_bytes": 0, "pace": Pace(1, 1, 1), "budget": Budget(1)}
    middleware = Sealed(None, gate, **limits, clock=clock, new_id=str)  # type: ignore[arg-type]
    assert anyio.run(middleware._refusal, opened) is None
    (until,) = store.untils
    assert until >= NOW + ahead + own_keys.sealing.freshness_s + 60
