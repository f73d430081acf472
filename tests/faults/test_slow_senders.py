"""Two hundred connections that dribble: half of them in their heads, half in bodies, plain and sealed. Others are served as if
they were not there, and each of them is told why it is cut off."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import numpy as np

from serving.privacy.refusals import BROKEN
from tests.faults.load import PICTURES, UNLIMITED, Load, until, workers
from tests.serving.real import Service, running

HEAD_S, GRACE_S = 6, 5
SIZE = 100_000
HEAD = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
KINDS = {
    "head": b"POST /v1/detect HTTP/1.1\r\nhost: x\r\nx-padding: ",
    "body": HEAD % (b"/v1/detect", b"image/png", SIZE) + PICTURES["cat", (0, 0)][:40],
    "sealed": HEAD % (b"/ohttp", b"message/ohttp-req", SIZE) + b"\x01\x00\x20\x00\x01\x00\x01",
}
SHARES = {"head": 100, "body": 50, "sealed": 50}


class Dribblers(threading.Thread):
    """Connections that send their beginning and then a byte every 0.3 s. answers: what came back, by kind."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        self.answers: dict[str, list[bytes]] = {kind: [] for kind in SHARES}
        self._open = [(kind, socket.create_connection(address)) for kind, share in SHARES.items() for _ in range(share)]
        for kind, connection in self._open:
            connection.sendall(KINDS[kind])
            connection.setblocking(False)

    @property
    def left(self) -> int:
        return len(self._open)

    def run(self) -> None:
        while self._open:
            self._open = [one for one in self._open if not self._ended(*one)]
            time.sleep(0.3)

    def _ended(self, kind: str, connection: socket.socket) -> bool:
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except BlockingIOError:
            if not answer:
                connection.send(b"a")
                return False
        except ConnectionError:
            pass
        self.answers[kind].append(answer)
        connection.close()
        return True


def resident(service: Service) -> int:
    (worker,) = workers(service)
    status = Path(f"/proc/{worker}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def timed(service: Service, requests: int) -> tuple[float, Load]:
    """(the 99th percentile of a request's time, what became of them)"""
    with Load(service, threads=1) as load:
        load.more(requests)
    return float(np.percentile(load.seconds, 99)), load


def test_they_hold_up_nobody_and_are_told_why(project, tmp_path):
    limits = {"SAFELIGHT_LIMITS__HEAD_TIMEOUT_S": str(HEAD_S), "SAFELIGHT_LIMITS__BODY_GRACE_S": str(GRACE_S)}
    with running(project, tmp_path / "home", SAFELIGHT_ALLOW_PLAINTEXT="1", **limits, **UNLIMITED) as service:
        dribble_on(service)


def dribble_on(service: Service) -> None:
    timed(service, 50)
    alone_s, _ = timed(service, 200)
    memory = resident(service)
    begun = time.monotonic()
    slow = Dribblers(service)
    slow.start()
    beside_s, load = timed(service, 200)
    assert load.wrong == [] and not load.refused and load.lost == 0
    assert slow.left == 200 or time.monotonic() - begun > GRACE_S, "they were there while it was measured"
    assert beside_s < 5 * alone_s + 0.1, f"alone {alone_s:.4f} s, beside them {beside_s:.4f} s"
    assert resident(service) < memory + 64 * 1024 * 1024
    until(lambda: slow.left == 0, within_s=30)
    slow.join()
    for kind, status, anchor in (("head", 408, "request-timeout"), ("body", 408, "body-too-slow")):
        assert len(slow.answers[kind]) == SHARES[kind]
        for answer in slow.answers[kind]:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status) and b"application/problem+json" in head, answer[:80]
            problem = json.loads(body)
            assert problem["type"].endswith(f"#{anchor}") and f"x-request-id: {problem['request_id']}".encode() in head
    assert len(slow.answers["sealed"]) == SHARES["sealed"]
    for answer in slow.answers["sealed"]:
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.endswith(b"\r\n\r\n" + BROKEN.body), answer[:80]
    timed(service, 20)
