"""Connections that waste the service's time, on a real uvicorn over TCP: each ends within its bound, and with a problem."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest
import uvicorn

from serving.resilience.connections import ConnectionLimits, bounded

HEAD_S, FETCH_S = 0.4, 0.5
ID = "5f" * 16
ASK = b"GET /small HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope, receive, send):
    """/small answers at once, /slow after 0.3 s, /large with 20 MB; others read the body first."""
    assert scope["type"] == "http"
    if scope["path"] == "/echo":
        message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    body = bytes(20_000_000 if scope["path"] == "/large" else 2)
    lines = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": body})
    app.answered.append(scope["path"])


app.answered = []


@pytest.fixture(scope="module")
def server():
    """(host, port), the uvicorn server."""
    limits = ConnectionLimits(most=6, head_bytes=2000, head_s=HEAD_S, fetch_s=FETCH_S)
    config = uvicorn.Config(
        app, http=bounded(limits, lambda: ID), lifespan="off", log_config=None, timeout_keep_alive=2
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname(), server
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@contextmanager
def connected(server):
    address, _ = server
    with closing(socket.create_connection(address, timeout=10)) as connection:
        yield connection


def received(connection, until=b"") -> bytes:
    """What comes until the other end hangs up, or until some bytes were seen."""
    data = b""
    while not (until and until in data) and (piece := connection.recv(65536)):
        data += piece
    return data


def problem(answer: bytes, status: int, anchor: str) -> dict:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:100]
    lines = head.split(b"\r\n")
    assert b"content-type: application/problem+json" in lines and b"connection: close" in lines
    assert f"x-request-id: {ID}".encode() in lines and b"x-content-type-options: nosniff" in lines
    assert len({line.partition(b":")[0] for line in lines}) == len(lines)
    found = json.loads(body)
    assert found["status"] == status and found["request_id"] == ID and found["type"].endswith(f"#{anchor}")
    return found


def test_a_head_that_does_not_end_is_a_408(server):
    with connected(server) as connection:
        begun = time.perf_counter()
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        for _ in range(3):
            time.sleep(0.1)
            connection.sendall(b"x-a: b\r\n")
        problem(received(connection), 408, "request-timeout")
        assert HEAD_S <= time.perf_counter() - begun < HEAD_S + 1


def test_a_connection_that_asks_nothing_is_closed(server):
    with connected(server) as connection:
        begun = time.perf_counter()
        assert received(connection) == b""
        assert HEAD_S * 0.9 <= time.perf_counter() - begun < HEAD_S + 1


def test_a_head_that_is_too_long_is_a_431(server):
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 3000)
        problem(received(connection), 431, "request-header-fields-too-large")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00 no TLS here", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\nnonsense\r\n\r\n"]
)
def test_what_is_no_http_is_a_400(server, garbage):
    with connected(server) as connection:
        connection.sendall(garbage)
        problem(received(connection), 400, "bad-request")


def test_a_body_that_is_not_framed_as_it_says_is_a_400(server):
    with connected(server) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        time.sleep(0.1)
        connection.sendall(b"nonsense\r\n")
        problem(received(connection), 400, "bad-request")


def test_garbage_behind_a_request_does_not_cut_off_its_answer(server):
    with connected(server) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.1)
        connection.sendall(b"nonsense\r\n\r\n")
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\0\0") and answer.count(b"HTTP/1.1") == 1


def test_a_body_that_dribbles_on_after_its_answer_is_cut_off(server):
    with connected(server) as connection:
        connection.sendall(b"POST /small HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nabc")
        assert received(connection, until=b"\0\0").startswith(b"HTTP/1.1 200 ")
        begun = time.perf_counter()
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.perf_counter() - begun < HEAD_S + 2


def test_a_client_that_does_not_fetch_its_answer_is_cut_off(server):
    before = len(app.answered)
    with connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        state, deadline = server[1].server_state, time.monotonic() + FETCH_S + 5
        while (len(app.answered) == before or state.connections) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(app.answered) == before + 1
        assert not state.connections and not state.tasks


def test_requests_on_one_connection_are_all_answered(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server[0][1]}") as client:
        for _ in range(4):
            assert client.get("/small").content == b"\0\0"
            assert client.post("/echo", content=b"abc" * 1000).status_code == 200
            time.sleep(0.25)  # together longer than a head may take
        assert len(client.get("/large").content) == 20_000_000


def test_one_connection_too_many_is_a_503(server):
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(connected(server)).sendall(b"GET ")
        time.sleep(0.05)
        refused = stack.enter_context(connected(server))
        refused.sendall(ASK)
        found = problem(received(refused), 503, "overloaded")
        assert found["retryable"] is True
    time.sleep(0.05)
    with connected(server) as again:
        again.sendall(ASK)
        assert received(again, until=b"\0\0").startswith(b"HTTP/1.1 200 ")
