"""deploy/secrets.sh as a shell runs it, and what it makes as its readers read it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
import yaml

from safelight.credentials import KeyFile, digest_of
from tests.conftest import ROOT

COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())


def run(project: Path) -> None:
    ran = subprocess.run(
        ["sh", "deploy/secrets.sh"],
        cwd=project,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    for secret in (project / "deploy/secrets").iterdir():
        assert secret.read_text().strip() not in ran.stdout + ran.stderr


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """deploy/ of a project in which the script ran."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/secrets.sh", tmp_path / "deploy")
    shutil.copytree(ROOT / "safelight", tmp_path / "safelight", ignore=shutil.ignore_patterns("__pycache__"))
    run(tmp_path)
    return tmp_path / "deploy"


def test_every_secret_of_compose_is_made_for_its_reader_alone(made):
    wanted = {Path(entry["file"]).name for entry in COMPOSE["secrets"].values()}
    assert {path.name for path in (made / "secrets").iterdir()} == {*wanted, "client_key"}
    for path in [made / ".env", *(made / "secrets").iterdir(), made / "state/service/api-keys.jsonl"]:
        assert path.stat().st_mode & 0o777 == 0o600
    assert (made / "secrets").stat().st_mode & 0o777 == 0o700
    values = [path.read_text() for path in (made / "secrets").glob("*password")]
    assert len(set(values)) == 3 and all(len(value.strip()) == 64 for value in values)
    user = dict(line.split("=") for line in (made / ".env").read_text().split())
    assert int(user["SAFELIGHT_UID"]) == (os.geteuid() or 10001) != 0
    assert (made / "secrets/redis_url").stat().st_uid == int(user["SAFELIGHT_UID"])


def test_every_folder_that_compose_mounts_to_be_written_is_made(made):
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", [])]
    written = {mount.split(":")[0] for mount in mounts if not mount.endswith(":ro")}
    assert written == {f"./state/{path.name}" for path in (made / "state").iterdir()}


def test_a_second_run_changes_nothing_and_replaces_what_is_gone(made):
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    run(made.parent)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    (made / "secrets/grafana_password").unlink()
    run(made.parent)
    assert (made / "secrets/grafana_password").read_bytes() not in ("", before[made / "secrets/grafana_password"])


def test_the_keys_open_what_they_are_for(made):
    by_digest = {key.digest: key.scopes for key in KeyFile(made / "state/service/api-keys.jsonl").read()}
    assert by_digest[digest_of((made / "secrets/metrics_key").read_text().strip())] == {"metrics"}
    assert by_digest[digest_of((made / "secrets/client_key").read_text().strip())] == {"detect", "models"}


@pytest.mark.redis
def test_redis_takes_the_configuration_of_compose(made):
    """The very command, with another port and folder: it asks for the password, and never forgets to make room."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = COMPOSE["services"]["redis"]["command"]
    command = [
        program,
        str(made / "secrets/redis_conf"),
        *words[2:],
        "--dir",
        str(made / "state/redis"),
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = (made / "secrets/redis_url").read_text().strip().replace("@redis:6379", f"@127.0.0.1:{port}")
    try:
        with redis.Redis.from_url(url) as client, redis.Redis(port=port) as stranger:
            for _ in range(200):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("appendonly")["appendonly"] == "yes"
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
    finally:
        process.terminate()
        process.wait(timeout=10)
