"""The gateway as a child process on cores of its own, from a copy of what a Bento holds, so that the project's keys and
stores are left alone. Linux only: cores, processor time and memory are read from /proc.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.served import served
from safelight.signing import signing_key

ROOT = Path(__file__).resolve().parents[2]
Network = Literal["champion", "tiny"]
_START_S = 120.0
_UNLIMITED = "100000000/minute"  # counted all the same, as every request of a real service is


@dataclass(frozen=True)
class Service:
    """A running service. folder: what it runs in. pid: of the worker that answers."""

    url: str
    folder: Path
    pid: int

    def cpu_s(self) -> float:
        """Processor time that the worker has used, in steps of some 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Memory that the worker holds now."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most that it held since `reset_peak`."""
        return self._status("VmHWM")

    def reset_peak(self) -> bool:
        """Whether that could be done: the worker is not dumpable, so that on most machines root alone may."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except PermissionError:
            return False
        return True

    def _status(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return 1024 * int(found[1])


@dataclass(frozen=True)
class Cores:
    """Which cores the service and the load may use; the same ones when there is only one."""

    service: frozenset[int]
    load: frozenset[int]

    @staticmethod
    def split() -> Cores:
        """Half of the cores that this process may use for each."""
        cores = sorted(os.sched_getaffinity(0))
        half = max(1, len(cores) // 2)
        return Cores(frozenset(cores[:half]), frozenset(cores[half:] or cores))


@contextmanager
def running(network: Network, scratch: Path, cores: Cores) -> Iterator[Service]:
    """A service with plaintext allowed, so that one process answers both. scratch: an empty folder for all it writes.

    While the block lasts, this process is kept on the load's cores.
    """
    _lay_out(network, scratch)
    environ = {
        "PYTHONPATH": str(scratch),
        "SAFELIGHT_ALLOW_PLAINTEXT": "1",
        "SAFELIGHT_MODELS": "coco",
        "SAFELIGHT_RUNTIME__THREADS": str(len(cores.service)),
        "SAFELIGHT_RATES__LIMIT": _UNLIMITED,
        "SAFELIGHT_RATES__SEALED_ANONYMOUS": _UNLIMITED,
        "SAFELIGHT_SEALING__AWS__KINDS": "aes-256",
        "BENTOML_HOME": str(scratch / "bentoml"),
    }
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores.service)  # children inherit it
        with served("serving.service:Gateway", _START_S, environ, scratch) as url:
            os.sched_setaffinity(0, cores.load)
            yield Service(url, scratch, _worker())
    finally:
        os.sched_setaffinity(0, mine)


def network_name(scratch: Path) -> str:
    """Name and version of the model that a laid-out service answers with."""
    versions = [path.name for path in (scratch / "bundles/coco").iterdir() if path.is_dir()]
    return f"coco {versions[0]}"


def has_champion() -> bool:
    """Whether the real network and the key that signed it are here (`make run`)."""
    return (ROOT / "bundles/coco/champion.json").is_file() and (ROOT / ".safelight/signing.pub").is_file()


def _lay_out(network: Network, scratch: Path) -> None:
    for folder in ("safelight", "serving", "conf/serving"):
        shutil.copytree(ROOT / folder, scratch / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (scratch / ".safelight").mkdir(mode=0o700)
    if network == "champion":
        shutil.copytree(ROOT / "bundles/coco", scratch / "bundles/coco")
        shutil.copy(ROOT / ".safelight/signing.pub", scratch / ".safelight")
        return
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from tests.serving.graphs import promote

    private_key = scratch / "elsewhere" / "signing.key"
    private_key.parent.mkdir()
    signing_key(private_key)
    promote(scratch / "bundles", private_key, name="coco", version="tiny")
    shutil.copy(private_key.with_suffix(".pub"), scratch / ".safelight")


def _worker() -> int:
    """The process below this one that holds most memory: the one that loaded the network."""
    found = [pid for pid in _descendants(os.getpid()) if Path(f"/proc/{pid}/status").exists()]
    return max(found, key=lambda pid: Service("", Path(), pid).rss_bytes())


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(child) for child in listing.read_text().split()]
    return children + [one for child in children for one in _descendants(child)]
