"""How long services take to start: from exec to the first 200 of /readyz, the gateway and an empty BentoML service in turns.

Knows nothing of requests.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from harness.peers import BENCH, free_port, started
from harness.service import ROOT, Cores, Network, lay_out, settings

GATEWAY, EMPTY = "Safelight", "an empty BentoML service"


def start_seconds(
    network: Network, names: tuple[str, ...], scratch: Path, cores: Cores, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each start. The keys and stores of the gateway are there from a first start, which is not counted; nor is
    the empty service's, so that both find their files in the page cache."""
    folder = scratch / "start"
    folder.mkdir()
    lay_out(network, folder, names)
    gateway = settings(folder, cores, names) | {"BENTOML_DO_NOT_TRACK": "true"}
    gateway |= {f"SAFELIGHT_{key}": str(folder / ".safelight" / name) for key, name in _state().items()}
    empty = {
        "PYTHONPATH": f"{BENCH}{os.pathsep}{ROOT}",
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(folder / "empty"),
    }
    seconds: dict[str, list[float]] = {GATEWAY: [], EMPTY: []}
    for turn in range(-1, repeats):
        for name, target, environ in (
            (GATEWAY, "serving.service:Gateway", gateway),
            (EMPTY, "peers.empty:Empty", empty),
        ):
            taken = _start(target, environ, folder, cores)
            if turn >= 0:
                seconds[name].append(round(taken, 3))
    shutil.rmtree(folder)
    return seconds


def _start(target: str, environ: Mapping[str, str], folder: Path, cores: Cores) -> float:
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    begun = time.perf_counter()
    with started(command, port, "/readyz", cores, environ, folder):
        return time.perf_counter() - begun


def _state() -> Mapping[str, str]:
    from pipelines.served import STATE

    return STATE
