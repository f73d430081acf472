"""The peers as child processes on the service's core, and how each is asked. What they serve is in bench/peers.

Linux only. Knows nothing of what is measured.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.service import Cores, pinned
from harness.ways import Parcel, Way
from pipelines.served import stop

BENCH = Path(__file__).resolve().parents[1]
_START_S = 120.0
_BOUNDARY = "b8f1d4c0a6e24f6f9d0c"


@dataclass(frozen=True)
class Peer:
    """package: what has to be installed. command: from (port, empty folder) to what starts it. ready: the path that
    answers 200 once it is. ways: to ask it, by name; the best for the peer is the one that counts."""

    package: str
    command: Callable[[int, Path], list[str]]
    ready: str
    ways: Mapping[str, Way]

    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


@contextmanager
def started(
    command: list[str], port: int, ready: str, cores: Cores, environ: Mapping[str, str], cwd: Path
) -> Iterator[int]:
    """The process id of a server, once it is ready. Raises RuntimeError with the end of its log where it never is."""
    with tempfile.TemporaryFile("w+") as log:
        with pinned(cores.service):
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | environ, cwd=cwd, start_new_session=True
            )
        try:
            wait_until_ready(process, port, ready, time.monotonic() + _START_S)
            yield process.pid
        except TimeoutError as error:
            log.seek(0)
            raise RuntimeError(f"{error} Its log ends:\n{''.join(log.readlines()[-20:])}") from None
        finally:
            stop(process)


@contextmanager
def running_peer(name: str, bundle: Path, scratch: Path, cores: Cores) -> Iterator[tuple[str, int]]:
    """(url, process id) of a peer that serves a bundle's model."""
    scratch.mkdir(parents=True)
    port, peer = free_port(), PEERS[name]
    environ = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # MLflow starts uvicorn by its name
        "PEER_BUNDLE": str(bundle),
        "PYTHONPATH": f"{BENCH}{os.pathsep}{BENCH.parent}",
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(scratch / "bentoml"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{scratch / 'mlflow.db'}",
    }
    with started(_prepared(peer, port, scratch, environ), port, peer.ready, cores, environ, scratch) as pid:
        yield f"http://127.0.0.1:{port}", pid


def wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, deadline: float) -> None:
    """Ask every 10 ms until the answer is 200. Raises TimeoutError."""
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise TimeoutError("The server was not ready in time." if process.poll() is None else "The server ended.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prepared(peer: Peer, port: int, scratch: Path, environ: Mapping[str, str]) -> list[str]:
    if peer.package == "mlflow":
        save = [sys.executable, "-m", "peers.mlflow_", str(scratch / "model")]
        subprocess.run(save, check=True, env=os.environ | environ, capture_output=True, cwd=scratch)
    return peer.command(port, scratch)


Boxes = Callable[[Any], Any]
"""From what a peer answered to its list of boxes."""


def _same(answer: Any) -> Any:
    return answer


def _form(target: str, field: str = "image", boxes: Boxes = _same) -> Way:
    def way(picture: bytes) -> Parcel:
        said = f'content-disposition: form-data; name="{field}"; filename="a.jpg"\r\ncontent-type: image/jpeg'
        body = f"--{_BOUNDARY}\r\n{said}\r\n\r\n".encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
        return Parcel(target, headers, body, lambda *given: boxes(_boxes(*given)))

    return way


def _raw(target: str) -> Way:
    return lambda picture: Parcel(target, {"content-type": "image/jpeg"}, picture, _boxes)


def _base64(target: str, wrapped: Callable[[str], Any], boxes: Boxes = _same) -> Way:
    def way(picture: bytes) -> Parcel:
        body = json.dumps(wrapped(base64.b64encode(picture).decode())).encode()
        return Parcel(target, {"content-type": "application/json"}, body, lambda *given: boxes(_boxes(*given)))

    return way


def _boxes(status: int, _media_type: str, body: bytes) -> Any:
    if status != 200:
        raise AssertionError(f"Expected status 200, got {status}.")
    return json.loads(body)


def _module(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


_HERE = ("--host", "127.0.0.1", "--port")
PEERS: Mapping[str, Peer] = {
    "LitServe": Peer(
        "litserve",
        lambda port, _: _module("peers.litserve_", str(port)),
        "/health",
        {"base64": _base64("/predict", lambda text: {"image": text}), "form": _form("/predict")},
    ),
    "FastAPI": Peer(
        "fastapi",
        lambda port, _: _module("uvicorn", "peers.fastapi_:app", *_HERE, str(port), "--workers", "1", "--no-access-log"),
        "/ready",
        {"form": _form("/detect"), "raw": _raw("/raw")},
    ),
    "MLflow": Peer(
        "mlflow",
        lambda port, folder: _module("mlflow", "models", "serve", "-m", str(folder / "model"), "--env-manager", "local",
                                     *_HERE, str(port), "--workers", "1"),
        "/ping",
        {"base64": _base64("/invocations", lambda text: {"inputs": [text]}, lambda answer: answer["predictions"][0])},
    ),
    "BentoML": Peer(
        "bentoml",
        lambda port, _: _module("bentoml", "serve", "peers.bentoml_:Boxes", *_HERE, str(port)),
        "/readyz",
        {"form": _form("/detect"), "raw": _raw("/raw"), "batched": _form("/batched", "images", lambda answer: answer[0])},
    ),
}  # fmt: skip
