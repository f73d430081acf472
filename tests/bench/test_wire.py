"""The load of the benchmarks, against servers that are slow, stall or hang up."""

from __future__ import annotations

import importlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import ROOT

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n\r\n%s"


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("uvloop")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("harness.wire")


@contextmanager
def serving(handle: Callable[[socket.socket, bytes], bool]) -> Iterator[str]:
    """A server whose `handle` gets each request and says whether the connection stays."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk(connection: socket.socket) -> None:
            with connection:
                data = b""
                while piece := connection.recv(65536):
                    data += piece
                    head, ended, body = data.partition(b"\r\n\r\n")
                    if ended and len(body) >= int(head.rpartition(b"content-length: ")[2]):
                        data = b""
                        if not handle(connection, body):
                            return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def echo(connection: socket.socket, body: bytes) -> bool:
    connection.sendall(ANSWER % (len(body), body))
    return True


def requests(wire, count: int) -> list[bytes]:
    return [wire.request("/", {"content-type": "text/plain"}, b"%d" % n) for n in range(count)]


def test_answers_are_in_the_order_of_the_requests(wire):
    with serving(echo) as url:
        block = wire.closed(url, requests(wire, 40), 4)
    assert [answer.body for answer in block.answers] == [b"%d" % n for n in range(40)]
    assert {(answer.status, answer.media_type) for answer in block.answers} == {(200, "text/plain")}
    assert all(0 < answer.ms < 1000 * block.elapsed_s + 1 for answer in block.answers)


def test_a_body_in_chunks_is_put_together(wire):
    def chunked(connection: socket.socket, body: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        connection.sendall(b"2\r\nde\r\n0\r\n\r\n")
        return True

    with serving(chunked) as url:
        block = wire.closed(url, requests(wire, 3), 1)
    assert [answer.body for answer in block.answers] == [b"abcde"] * 3


def test_a_server_that_stalls_cannot_hide_it(wire):
    """Requests that were due during a stall count from when they were due, though one connection had to wait its turn."""
    seen: list[bytes] = []

    def stalling(connection: socket.socket, body: bytes) -> bool:
        seen.append(body)
        if len(seen) == 3:
            time.sleep(0.4)
        return echo(connection, body)

    with serving(stalling) as url:
        block = wire.opened(url, requests(wire, 20), [0.02 * n for n in range(20)], 1)
    waited = [answer.ms for answer in block.answers]
    assert waited[2] >= 400
    assert all(waited[n] >= 400 - 20 * (n - 2) for n in range(3, 12))
    assert block.answers[5].late_ms > 200


def test_nothing_is_sent_before_its_time(wire):
    with serving(echo) as url:
        block = wire.opened(url, requests(wire, 6), [0.05 * n for n in range(6)], 3)
    assert block.elapsed_s >= 0.25
    assert all(answer.late_ms >= 0 for answer in block.answers)


def test_a_request_that_fails_is_told_and_the_next_has_a_connection(wire):
    def dropping(connection: socket.socket, body: bytes) -> bool:
        return body != b"2" and echo(connection, body)

    told: dict[int, int] = {}

    def check(turn: int, answer):
        told[turn] = answer.status
        return answer

    with serving(dropping) as url:
        wire.opened(url, requests(wire, 6), [0.03 * n for n in range(6)], 1, check)
        assert told == {0: 200, 1: 200, 2: 0, 3: 200, 4: 200, 5: 200}
        with pytest.raises(OSError):
            wire.opened(url, requests(wire, 6), [0.03 * n for n in range(6)], 1)


def test_a_connection_that_the_server_closed_while_idle_is_made_anew(wire):
    def once(connection: socket.socket, body: bytes) -> bool:
        echo(connection, body)
        return False

    with serving(once) as url:
        block = wire.opened(url, requests(wire, 4), [0.1 * n for n in range(4)], 2)
    assert [answer.status for answer in block.answers] == [200] * 4
