"""What all tests share: no network beyond this machine, a fixed seed, and pictures made on the spot."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

os.environ.update(
    BENTOML_DO_NOT_TRACK="true",
    DVC_NO_ANALYTICS="1",
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    ORT_DISABLE_TELEMETRY="1",
)

settings.register_profile("unhurried", deadline=None)  # machines are noisy
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which process takes which tests."""
    from tests.sharing import Sharing

    return Sharing(config, log)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections leave this process to loopback and Unix sockets only."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not address[0].startswith("127.") and address[0] not in ("::1", "localhost"):
            raise AssertionError("a test tried to reach the network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(90, 120, 3) uint8: smooth colour with a bright square, so that resizing has something to get wrong."""
    y, x = np.mgrid[:90, :120]
    pixels = np.stack([x * 2, y * 2, (x + y)], axis=2).astype(np.uint8)
    pixels[30:50, 60:80] = 250
    return pixels


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory is a fresh folder."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables, which take seconds to make: a test gets a copy in no time."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
