"""A packaged service as a child process, for as long as a `with` block lasts. Knows nothing of what it serves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from safelight.errors import SafelightError

STATE = {
    "SEALING__KEYS": "sealing",
    "SEALING__REPLAY": "replay.db",
    "RATES__SALT": "rates.salt",
    "AUDIT__FOLDER": "audit",
    "AUDIT__KEY": "audit.key",
}
"""What the service keeps: settings, and names in the project's .safelight folder."""


class ServiceNotReady(SafelightError):
    """The service ended, or was not ready in time; the end of its log is in the message."""

    title = "The service did not start"


@contextmanager
def served(
    target: str, ready_timeout_s: float, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[str]:
    """Run `bentoml serve TARGET` on a free loopback port and yield its base address once it is ready.

    Keys and whatever else the service has to remember are those of the project in `cwd`, by default this one, so that a
    new package does not begin with new keys. Raises ServiceNotReady.
    """
    port = _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    state = (cwd or Path.cwd()).resolve() / ".safelight"
    kept = {f"SAFELIGHT_{setting}": str(state / name) for setting, name in STATE.items()}
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "true"} | kept | (env or {})
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=cwd, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, time.monotonic() + ready_timeout_s)
            yield url
        except ServiceNotReady as error:
            log.seek(0)
            raise ServiceNotReady(f"{error} Its log ends:\n{''.join(log.readlines()[-20:])}") from None
        finally:
            stop(process)


def _wait(url: str, process: subprocess.Popen[bytes], deadline: float) -> None:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceNotReady(f"It ended with status {process.returncode}.")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise ServiceNotReady("It was not ready in time.")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group that was started here: first politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, sign)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
