"""How many requests a second the load can send and read at all: to a server that does nothing with them.

    python -m harness.ceiling PORT        # the server

Knows nothing of the servers that are measured.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import httptools
import uvloop

from harness import wire
from harness.service import Cores, pinned

_ANSWER_BYTES = 4000  # about twenty boxes
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % _ANSWER_BYTES


class _Trivial(asyncio.Protocol):
    """Reads a request to its end, and answers as many bytes as a server with boxes would."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(_ANSWER + _ANSWER_BYTES * b" ")


def ceiling(cores: Cores, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Requests a second with that body, and the processor time that the load spent on each, in milliseconds."""
    port = _free_port()
    with pinned(cores.service):
        server = subprocess.Popen([sys.executable, "-m", "harness.ceiling", str(port)], cwd=Path(__file__).parents[1])
    try:
        _wait(port)
        with pinned(cores.load):
            url, one = f"http://127.0.0.1:{port}", wire.request("/", {"content-type": "image/jpeg"}, body)
            rate = wire.closed(url, [one] * 50, connections).per_s
            count, before = max(50, int(rate * seconds)), time.process_time()
            block = wire.closed(url, [one] * count, connections)
            return {
                "requests_per_s": round(block.per_s, 1),
                "load_cpu_ms": round(1000 * (time.process_time() - before) / count, 4),
            }
    finally:
        server.terminate()
        server.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("The trivial server did not start.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Trivial, "127.0.0.1", port)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    uvloop.run(_serve(int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
