"""A real Redis on a port of its own, kept in memory only, for the tests that are marked `redis`."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

START_S = 10.0


class RedisServer:
    """A running redis-server. url: where it listens."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command = [program, *where, "--save", "", "--appendonly", "no"]
        self.start()

    def start(self) -> None:
        """Start it, empty; also after a `stop`, at the same address."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def freeze(self) -> None:
        """Let it answer nothing, with its connections open, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it; a second time does nothing."""
        if self._process.poll() is None:
            self.thaw()
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=START_S)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self._process.poll() is None and time.monotonic() < deadline, "redis-server does not start"
                    time.sleep(0.02)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that all tests share; a test that needs it empty flushes it, or uses names of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.stop()


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be stopped under way."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()
