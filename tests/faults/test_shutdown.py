"""SIGTERM: what is under way is finished, what is new is refused, and no answer is left half."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time

from tests.faults.load import PICTURES, UNLIMITED, Load, until, workers
from tests.serving.real import running

PICTURE = PICTURES["person", (8, 16)]
HEAD = b"POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % len(PICTURE)


class Slow(threading.Thread):
    """A request whose body comes in two halves, 3 s apart. answer: all that came back."""

    def __init__(self, address) -> None:
        super().__init__()
        self._connection = socket.create_connection(address, timeout=20)
        self._connection.sendall(HEAD + PICTURE[:40])
        self.answer = b""

    def run(self) -> None:
        time.sleep(3)
        self._connection.sendall(PICTURE[40:])
        self.answer = received(self._connection)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other end hangs up."""
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


def test_what_is_under_way_is_finished_and_nothing_new_begins(project, tmp_path):
    plain = {
        "SAFELIGHT_ALLOW_PLAINTEXT": "1",
        "SAFELIGHT_WORKERS": "2",
        "SAFELIGHT_LIMITS__BODY_GRACE_S": "5",
        **UNLIMITED,
    }
    with running(project, tmp_path / "home", **plain) as service:
        until(lambda: len(workers(service)) == 2)
        address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        idle = socket.create_connection(address)
        half_a_head = socket.create_connection(address)
        half_a_head.sendall(HEAD[:30])
        endless = socket.create_connection(address, timeout=20)
        endless.sendall(HEAD + PICTURE[:40])
        slow = [Slow(address) for _ in range(8)]
        for one in slow:
            one.start()
        with Load(service) as load:
            load.more(20)
            os.kill(service.supervisor, signal.SIGTERM)
            told = time.monotonic()
            until(lambda: refuses(address), within_s=2.8)  # long before the slow ones are done
            assert service.process.poll() is None
        for one in slow:
            one.join()
            head, _, body = one.answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ") and b"\r\nconnection: close" in head
            assert json.loads(body)["counts"] == {"person": 1}
        refused = received(endless)
        assert refused.startswith(b"HTTP/1.1 408 ") and b"application/problem+json" in refused
        assert idle.recv(10) == half_a_head.recv(10) == b""
        assert service.process.wait(timeout=15) == 0 and 1 < time.monotonic() - told < 15
    assert load.wrong == [] and not load.refused and load.lost > 0


def refuses(address) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False
