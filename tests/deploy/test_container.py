"""The image as deploy/Dockerfile describes it, really started: read-only, not root, no capabilities, no shell, and with no
package but those of deploy/requirements.txt.

No container engine is needed (container.py), so nothing here says that `docker build` works.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from safelight.client import Client
from safelight.errors import SafelightError
from safelight.sealing.keystore import KeyStore
from tests.conftest import ROOT
from tests.deploy.container import USER, Container, install, missing
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import promote

START_S, STOP_S = 120.0, 40.0


@dataclass(frozen=True)
class Started:
    """url: of the gateway. pid: of the container's first process, seen from outside."""

    url: str
    pid: int
    container: Container
    log: Path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Iterator[Started]:
    why_not = missing()
    if why_not:
        pytest.skip(why_not)
    folder = tmp_path_factory.mktemp("container")
    for name in ("root", "state", "keys", "mounted/sealing"):
        (folder / name).mkdir(parents=True)
    shutil.copy(private_key.with_suffix(".pub"), folder / "keys/signing.pub")
    promote(folder / "bundles", private_key, name="coco")
    KeyStore(folder / "mounted/sealing", time.time).ensure(["x25519", "mlkem768-x25519"])
    (folder / "mounted/redis-url").write_text("memory\n")
    for secret in (folder / "mounted").rglob("*"):  # as an orchestrator mounts them: root's, readable by a group
        shutil.chown(secret, 0, USER)
        secret.chmod(0o750 if secret.is_dir() else 0o440)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    container = Container(
        folder / "root", install(folder / "packages", ROOT / "deploy/requirements.txt"),
        folder / "state", folder / "bundles", folder / "keys",
        {"BENTOML_PORT": str(port), "SAFELIGHT_MODELS": "coco", "SAFELIGHT_RATES__STORE_FILE": "/run/other/redis-url"},
    )  # fmt: skip
    log = folder / "log"
    mounts = [(folder / "mounted", "/run/other"), (folder / "mounted/sealing", "/run/safelight/sealing")]
    process = container.start(log, mounts)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while not answers(url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Started(url, int(children[0]), container, log)
        os.kill(int(children[0]), signal.SIGTERM)  # what an engine sends to process 1
        assert process.wait(timeout=STOP_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=STOP_S)
    assert "Traceback" not in log.read_text()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def processes(started: Started) -> list[Path]:
    """/proc entries of everything in the container."""
    namespace = Path(f"/proc/{started.pid}/ns/pid").readlink()
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and (path / "ns/pid").readlink() == namespace:
                found.append(path)
        except OSError:  # gone since it was listed
            continue
    return found


def test_a_sealed_request_is_answered(started):
    """Every listening socket is bound to all interfaces: what is not sealed is refused, and the client seals."""
    with Client(started.url) as client:
        answer = client.detect(squares(person=(16, 16)))
    assert answer.counts == {"person": 1}
    plain = httpx.post(f"{started.url}/v1/detect", content=encoded(squares()), headers={"content-type": "image/png"})
    assert plain.status_code == 403


def test_the_health_check_of_the_image_tells_the_truth(started):
    assert started.container.health(started.pid) == 0
    elsewhere = dict(started.container.environ, BENTOML_PORT="1")
    silent = Container(
        *(getattr(started.container, n) for n in ("root", "packages", "state", "bundles", "keys")), elsewhere
    )
    assert silent.health(started.pid) == 1


def test_nothing_in_it_is_root_or_could_become_it(started):
    found = processes(started)
    assert len(found) >= 2  # BentoML's supervisor, which is process 1, and its worker
    for process in found:
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(USER)}
        assert status["NoNewPrivs"] == "1"
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}


def test_it_writes_to_its_two_places_only(started):
    """All other mounts are read-only, by the kernel's own word; keys are made in the state folder."""
    mounts = [line.split() for line in Path(f"/proc/{started.pid}/mounts").read_text().splitlines()]
    writable = {target for _, target, _, options, *_ in mounts if "rw" in options.split(",")}
    assert writable == {"/tmp", "/dev/shm", "/proc", "/app/.safelight"} | {t for t in writable if t.startswith("/dev/")}
    state = started.container.state
    assert {"audit", "audit.key", "sealing"} <= {path.name for path in state.iterdir()}
    assert all(path.stat().st_uid == USER for path in state.rglob("*"))
    tmp = Path(f"/proc/{started.pid}/root/tmp")
    assert {path.name.partition("-")[0] for path in tmp.iterdir()} == {"bentoml"}


def test_the_keys_that_were_mounted_are_the_ones_in_use(started):
    """None was made beside them, so that several containers open the same envelopes."""
    state = started.container.state / "sealing"
    mounted = started.container.root.with_name("mounted") / "sealing"
    keys = {path.name: path.read_bytes() for path in mounted.glob("*.key.json")}
    assert {path.name: path.read_bytes() for path in state.glob("*.key.json")} == keys and len(keys) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in state.glob("*.key.json"))


def test_secrets_in_files_do_not_stay_in_the_environment_as_files(started):
    """start.py read the file; SAFELIGHT_RATES__STORE_FILE itself would be an unknown key, which stops the service."""
    environ = Path(f"/proc/{started.pid}/environ").read_bytes().split(b"\0")
    assert b"SAFELIGHT_RATES__STORE=memory" in environ
    assert not any(entry.startswith(b"SAFELIGHT_") and b"_FILE=" in entry for entry in environ)


def test_a_path_outside_the_list_of_packages_is_not_installed(started):
    """So that the tests above say something: the environment is the list, and torch is not in it."""
    packages = next((started.container.packages / "lib").iterdir()) / "site-packages"
    assert (packages / "onnxruntime/__init__.py").is_symlink()
    for name in ("torch", "onnx", "mlflow", "dvc", "transformers", "pytorch_lightning", "hydra"):
        assert not (packages / name).exists()


def test_a_missing_secret_stops_it_with_a_sentence(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deploy/image"))
    import start

    with pytest.raises(SystemExit, match="SAFELIGHT_RATES__STORE_FILE names cannot be read"):
        start.settled({"SAFELIGHT_RATES__STORE_FILE": "/nowhere"})
    assert not issubclass(SystemExit, SafelightError)


def test_mounted_secrets_become_private_copies(tmp_path, monkeypatch):
    """As Kubernetes mounts them: links into a folder with a date for a name, readable by a group."""
    monkeypatch.syspath_prepend(str(ROOT / "deploy/image"))
    import start

    mounted, folder = tmp_path / "mounted", tmp_path / "state/sealing"
    (mounted / "..2026").mkdir(parents=True)
    (mounted / "..2026/one.key.json").write_text("secret")
    (mounted / "..2026/one.key.json").chmod(0o440)
    (mounted / "..data").symlink_to("..2026")
    (mounted / "one.key.json").symlink_to("..data/one.key.json")
    for _ in range(2):  # a container that is started again finds its own copies
        start.bring(mounted, folder)
        assert [path.name for path in folder.iterdir()] == ["one.key.json"]
        copy = folder / "one.key.json"
        assert copy.read_text() == "secret" and not copy.is_symlink()
        assert copy.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    start.bring(tmp_path / "nothing", tmp_path / "else")
    assert not (tmp_path / "else").exists()
