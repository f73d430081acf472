"""The real service for tests: `bentoml serve` in a process of its own, with a home of its own, reached over TCP.

It runs in a copy of what a Bento would hold (`lay_out`), so that every path is resolved from there, and whatever it writes
can be searched; and with all the logging that BentoML can be asked for.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import ROOT
from tests.serving.graphs import promote

START_S = 60.0
STOP_S = 30.0


@dataclass(frozen=True)
class Service:
    """home: holds `bentoml`, `tmp`, `cwd` and the `log`, all of this service only. process: what was started, which is
    the service itself unless it was wrapped."""

    url: str
    home: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def supervisor(self) -> int:
        """The process id of BentoML's supervisor."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wrapped = b"strace" in Path(f"/proc/{self.process.pid}/cmdline").read_bytes().split(b"\0")[0]
        return int(children.read_text().split()[0]) if wrapped else self.process.pid


def lay_out(root: Path, private_key: Path) -> Path:
    """What a Bento's source folder holds, with two tiny models signed by a key. Returns `root`."""
    for folder in ("safelight", "serving", "conf/serving"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".safelight").mkdir()
    shutil.copy(private_key.with_suffix(".pub"), root / ".safelight" / "signing.pub")
    promote(root / "bundles", private_key, name="coco")
    tiles = {"mode": "tiles", "input_size": 64, "tile": 64, "overlap": 16}
    promote(root / "bundles", private_key, name="tree-crowns", preprocess=tiles)
    return root


def start(
    project: Path, home: Path, host: str = "127.0.0.1", *, wrapper: Sequence[str] = (), **environ: str
) -> Service:
    """Start a service and do not wait. wrapper: a command that runs the command behind it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for folder in ("bentoml", "tmp", "cwd"):
        (home / folder).mkdir(parents=True)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SAFELIGHT_", "BENTOML_", "ORT_"))
    }
    own = {"BENTOML_HOME": str(home / "bentoml"), "TMPDIR": str(home / "tmp"), "BENTOML_DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Gateway", "--working-dir", str(project)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*wrapper, *command, "--verbose", "--host", host, "--port", str(port)],
            cwd=home / "cwd",
            env=kept | own | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"} | environ,
            stdout=log,
            stderr=log,
        )
    return Service(f"http://127.0.0.1:{port}", home, home / "log", process)


@contextmanager
def running(
    project: Path, home: Path, host: str = "127.0.0.1", *, wrapper: Sequence[str] = (), **environ: str
) -> Iterator[Service]:
    """A service that answers, stopped at the end; its log must then hold no traceback."""
    service = start(project, home, host, wrapper=wrapper, **environ)
    try:
        deadline = time.monotonic() + START_S * (3 if wrapper else 1)
        while not alive(service):
            assert service.process.poll() is None and time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.1)
        yield service
    finally:
        if service.process.poll() is None:
            os.kill(service.supervisor, signal.SIGTERM)
        assert service.process.wait(timeout=STOP_S) == 0, service.log.read_text()
    assert "Traceback" not in service.log.read_text()


def alive(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
