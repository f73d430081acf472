"""The gateway as a child process on cores of its own, from a copy of what a Bento holds, so that the project's keys and
stores are left alone. Linux only: cores, processor time and memory are read from /proc.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import process
from pipelines.served import served
from safelight.bundle import read_champion
from safelight.signing import signing_key

ROOT = Path(__file__).resolve().parents[2]
Network = Literal["champion", "tiny", "2 ms"]
_START_S = 120.0
_UNLIMITED = "100000000/minute"  # counted all the same, as every request of a real service is


@dataclass(frozen=True)
class Service:
    """A running service. folder: what it runs in. pid: of the worker that answers. root: of the process that started it."""

    url: str
    folder: Path
    pid: int
    root: int = 0

    def cpu_s(self) -> float:
        """Processor time that the worker has used, in steps of some 10 ms."""
        return process.cpu_s(self.pid)

    def rss_bytes(self) -> int:
        """Memory that the worker holds now."""
        return process.rss_bytes(self.pid)

    def peak_bytes(self) -> int:
        """The most that it held since `reset_peak`."""
        return process.peak_bytes(self.pid)

    def reset_peak(self) -> bool:
        """Whether that could be done: the worker is not dumpable, so that on most machines root alone may."""
        return process.reset_peak(self.pid)


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

    @staticmethod
    def one_each() -> Cores:
        """One core for the service and one for the load."""
        cores = sorted(os.sched_getaffinity(0))
        return Cores(frozenset(cores[:1]), frozenset(cores[-1:]))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """This process, and what it starts, on these cores while the block lasts."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


@contextmanager
def running(
    network: Network,
    scratch: Path,
    cores: Cores,
    *,
    names: tuple[str, ...] = ("coco",),
    environ: Mapping[str, str] | None = None,
    aws: bool = True,
) -> Iterator[Service]:
    """A service with plaintext allowed, so that one process answers both. scratch: an empty folder for all it writes.
    names: the models it serves. environ: further settings. aws: whether it takes AWS Encryption SDK messages.

    While the block lasts, this process is kept on the load's cores.
    """
    lay_out(network, scratch, names)
    before = set(process.children(os.getpid()))
    given = settings(scratch, cores, names, aws) | (environ or {})
    with (
        pinned(cores.service),
        served("serving.service:Gateway", _START_S, given, scratch) as url,
    ):  # children inherit cores
        os.sched_setaffinity(0, cores.load)
        (root,) = set(process.children(os.getpid())) - before
        yield Service(url, scratch, process.Tree(root).worker(), root)


def settings(scratch: Path, cores: Cores, names: tuple[str, ...], aws: bool = False) -> dict[str, str]:
    """The environment of a service that is measured."""
    kinds = {"SAFELIGHT_SEALING__AWS__KINDS": "aes-256"} if aws else {}
    return kinds | {
        "PYTHONPATH": str(scratch),
        "SAFELIGHT_ALLOW_PLAINTEXT": "1",
        "SAFELIGHT_MODELS": ",".join(names),
        "SAFELIGHT_DEFAULT_MODEL": names[0],
        "SAFELIGHT_RUNTIME__THREADS": str(len(cores.service)),
        "SAFELIGHT_RATES__LIMIT": _UNLIMITED,
        "SAFELIGHT_RATES__SEALED_ANONYMOUS": _UNLIMITED,
        "BENTOML_HOME": str(scratch / "bentoml"),
    }


def network_name(scratch: Path) -> str:
    """Name and version of the model that a laid-out service answers with."""
    versions = [path.name for path in (scratch / "bundles/coco").iterdir() if path.is_dir()]
    return f"coco {versions[0]}"


def champions() -> tuple[str, ...]:
    """The real networks that are here, with the key that signed them (`make run`)."""
    if not (ROOT / ".safelight/signing.pub").is_file():
        return ()
    return tuple(sorted(path.parent.name for path in (ROOT / "bundles").glob("*/champion.json")))


def has_champion() -> bool:
    """Whether the network that answers when none is named is here."""
    return "coco" in champions()


def bundle_of(scratch: Path, name: str) -> Path:
    """The folder of a laid-out model's champion."""
    return scratch / "bundles" / name / read_champion(scratch / "bundles" / name).version


def lay_out(network: Network, scratch: Path, names: tuple[str, ...] = ("coco",)) -> None:
    """Put what a service needs into an empty folder: its code, its settings, and its signed models."""
    for folder in ("safelight", "serving", "conf/serving"):
        shutil.copytree(ROOT / folder, scratch / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (scratch / ".safelight").mkdir(mode=0o700)
    if network == "champion":
        for name in names:
            shutil.copytree(ROOT / "bundles" / name, scratch / "bundles" / name)
        shutil.copy(ROOT / ".safelight/signing.pub", scratch / ".safelight")
        return
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from tests.serving.graphs import promote

    private_key = scratch / "elsewhere" / "signing.key"
    private_key.parent.mkdir()
    signing_key(private_key)
    for name in names:
        if network == "tiny":
            promote(scratch / "bundles", private_key, name=name, version="tiny")
        else:
            from harness.graphs import two_ms_graph, two_ms_manifest

            made = two_ms_manifest()
            promote(scratch / "bundles", private_key, two_ms_graph(), name=name, version="two-ms", **made)
    shutil.copy(private_key.with_suffix(".pub"), scratch / ".safelight")
