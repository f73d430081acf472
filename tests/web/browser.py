"""Chromium in front of the gateway: the page as a person uses it, and everything that passes its socket written down."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="Chromium or playwright is not installed (apt-get install chromium; pip install playwright)",
)


class Page:
    """The page, opened. requests: (method, path) of what the browser asked for. complaints: what its console says."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.requests: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append((request.method, request.url.removeprefix(url))))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self) -> Page:
        self.page.goto(f"{self.url}/")
        self.page.wait_for_selector("#seal.sealed")
        self.page.wait_for_selector("#model:enabled")
        self.page.wait_for_load_state("networkidle")
        self.requests.clear()
        return self

    def choose(self, name: str, data: bytes, media_type: str) -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": media_type, "buffer": data})

    def show(self, data: bytes, media_type: str = "image/png") -> None:
        self.choose("photo", data, media_type)
        self.page.wait_for_selector("[data-state=ready]")

    def ask(self) -> None:
        self.page.click("#send")
        self.page.wait_for_selector("[data-state=done]")

    def problem(self, title: str) -> str:
        """What is said under the title."""
        self.page.wait_for_selector(f'#problem h2:text-is("{title}")')
        return str(self.page.inner_text("#problem .detail"))

    def found(self) -> list[tuple[str, tuple[int, ...]]]:
        """Class and box of all that is drawn, strongest first."""
        items = self.page.query_selector_all("#found li")
        texts = [(item.inner_text(), item.get_attribute("data-box")) for item in items]
        return [(text.split(",")[0], tuple(round(float(side)) for side in box.split())) for text, box in texts]

    def check(self, name: str) -> str:
        return self.page.inner_text(f'#checks dd[data-check="{name}"]')

    def call(self, script: str, *arguments: object) -> Any:
        """Run a function with the module `safelight` in scope and return what it gives."""
        return self.page.evaluate(
            f"async (given) => {{ const safelight = await import('/safelight.js'); return ({script})(...given) }}",
            list(arguments),
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
