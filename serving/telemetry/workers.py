"""Figures of several workers in one folder of mapped files: room that a full disk cannot take away, and none from the dead.

prometheus_client maps a file for each kind of figure and process. A page that the disk has no room for kills the process that
writes to it (SIGBUS), so the files get their blocks before they are used. A worker that was killed leaves its files behind; its
counters still count, its gauges would stand still for ever. Does nothing where figures are not shared.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

_KIB = 1024
ROOM = {
    "counter": 128 * _KIB,
    "histogram": 256 * _KIB,  # some 1300 buckets
    "summary": 64 * _KIB,
    "gauge_livesum": 64 * _KIB,
    "gauge_livemin": 64 * _KIB,
    "gauge_livemax": 64 * _KIB,
    "gauge_liveall": 64 * _KIB,
}
"""Bytes of each kind of file. A file that grows past that has no such promise."""


def shared_folder() -> Path | None:
    """Where the workers' figures are, None where each process keeps its own."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder and values.ValueClass._multiprocess else None


def make_room(folder: Path, pid: int) -> bool:
    """Give the files of a process their blocks, before its first figure is made. False where the disk has no room for them."""
    for kind, size in ROOM.items():
        descriptor = os.open(folder / f"{kind}_{pid}.db", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            return False
        finally:
            os.close(descriptor)
    return True


def bury(folder: Path) -> Collection[int]:
    """Take away the gauges of processes that are no more, and the room that their counters did not use. Returns their ids."""
    left = {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*_*.db")}
    dead = {pid for pid in left if not psutil.pid_exists(pid)}
    for pid in dead:
        with suppress(FileNotFoundError):  # another worker was faster
            for path in folder.glob(f"*_{pid}.db"):
                _trim(path)
            mark_process_dead(pid, str(folder))
    return dead


def _trim(path: Path) -> None:
    """A file begins with the number of bytes that are used (prometheus_client.mmap_dict), 0 where nothing ever was. It is not
    taken away: somebody may be about to read it."""
    with path.open("r+b") as file:
        (used,) = struct.unpack("i", file.read(4))
        if used < os.fstat(file.fileno()).st_size:
            file.truncate(max(used, 8))
