"""The gateway as it runs, everything that passes its socket written down, and Chromium in front of it."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safelight.signing import signing_key
from tests.conftest import ROOT
from tests.serving.real import lay_out

WEB = ROOT / "clients" / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="Chromium or playwright is not installed (apt-get install chromium; pip install playwright)",
)
needs_node_modules = pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules" / "esbuild").is_dir(),
    reason="Node.js or its packages are not installed (npm ci in clients/web)",
)


class Tap:
    """Passes TCP connections on to a port of this machine, and keeps what clients send."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._parts: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def sent(self) -> bytes:
        """Everything that was sent since `forget`, of all connections."""
        return b"".join(self._parts)

    def forget(self) -> None:
        self._parts.clear()

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, target, keep in ((client, server, self._parts.append), (server, client, len)):
                threading.Thread(target=_pass_on, args=(source, target, keep), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, keep: Callable[[bytes], object]) -> None:
    try:
        while data := source.recv(1 << 16):
            keep(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # the other side has gone
        source.close()
        target.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a Bento's source folder holds, with small models."""
    private_key = tmp_path_factory.mktemp("keys") / "signing.key"
    signing_key(private_key)
    return lay_out(tmp_path_factory.mktemp("project"), private_key)


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., str]:
    """Runs something in clients/web, with what it builds in a folder of its own; fails with its output."""

    def run(*command: str) -> str:
        environ = {
            "PATH": f"{WEB / 'node_modules' / '.bin'}:/usr/local/bin:/usr/bin:/bin",
            "SAFELIGHT_WEB_OUT": str(tmp_path),
        }
        done = subprocess.run(command, cwd=WEB, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A browser. For one module only: while playwright runs, this thread has an event loop that others would trip over."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()
