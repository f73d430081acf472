"""A real PostgreSQL on a port of its own, its files in a folder of its own, for the tests marked `postgresql`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2
import pytest

START_S = 30.0


class PostgresqlServer:
    """A running server with an empty database. address: as SQLAlchemy takes it."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._user = _unprivileged()
        self._folder = data = tempfile.mkdtemp(prefix="safelight-postgresql-")  # pytest's are closed to others
        if self._user:  # PostgreSQL refuses to run as root
            owner = pwd.getpwnam(self._user)
            os.chown(data, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", data, "-U", "safelight", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [
                *self._as_user("postgres", "-D", data, "-p", str(port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}", "-c", "fsync=off"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.address = f"postgresql+psycopg2://safelight@127.0.0.1:{port}/postgres"
        self._wait(port)

    def stop(self) -> None:
        """End it at once, with what is connected to it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=START_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg2.connect(host="127.0.0.1", port=port, user="safelight", dbname="postgres").close()
                return
            except psycopg2.OperationalError:
                assert self._process.poll() is None and time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(self._as_user(program, *arguments), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{program}: {ran.stderr[-2000:]}"

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._programs / program), *arguments]
        return (
            ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", *command]
            if self._user
            else command
        )


def _programs() -> Path:
    """The folder of initdb and postgres; Debian keeps them out of the PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return folders[-1]


def _unprivileged() -> str | None:
    """Whom to run it as when this is root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and setpriv is not installed")
    return "postgres"
