"""The gateway as it runs, and Chromium in front of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from safelight.signing import signing_key
from serving.page.page import FILES
from tests.conftest import ROOT
from tests.serving.real import Service, lay_out, running
from tests.web.browser import CHROMIUM, FLAGS, Page, Tap

WEB = ROOT / "clients" / "web"
needs_node_modules = pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules" / "esbuild").is_dir(),
    reason="Node.js or its packages are not installed (npm ci in clients/web)",
)


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
def service(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """On loopback; plaintext is refused."""
    with running(project, tmp_path_factory.mktemp("home")) as service:
        yield service


@pytest.fixture
def tap(service: Service) -> Iterator[Tap]:
    tap = Tap(httpx.URL(service.url).port or 80)
    yield tap
    tap.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A browser. For one module only: while playwright runs, this thread has an event loop that others would trip over."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Any, tap: Tap) -> Iterator[Callable[..., Page]]:
    """Opens a page in a fresh profile. At the end nothing may have been complained about, or asked for elsewhere."""
    opened: list[tuple[Any, Page]] = []

    def new(width: int = 1280, height: int = 860, init: str = "", **options: object) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        if init:
            context.add_init_script(init)
        page = Page(context.new_page(), tap.url)
        opened.append((context, page))
        return page.open()

    yield new
    for context, page in opened:
        context.close()
        assert page.complaints == []
        known = {("GET", path) for path in (*FILES, "/ohttp-keys")} | {("POST", "/ohttp")}
        assert {(m, p) for m, p in page.requests if not p.startswith("blob:")} <= known
