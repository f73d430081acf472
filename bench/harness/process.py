"""Processor time and memory of a process and of all that it started, read from /proc. Knows nothing of what they do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Those that a process started itself and that are still there."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in listing.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Its children, theirs, and so on."""
    own = children(pid)
    return own + [one for child in own for one in descendants(child)]


def cpu_s(pid: int) -> float:
    """Processor time that a process and its children which have ended used, in steps of some 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _TICK_S * sum(int(field) for field in fields[11:15])


def rss_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most that it held since `reset_peak`, or ever."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> bool:
    """Whether that could be done: of a process that is not dumpable, root alone may on most machines."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except PermissionError:
        return False
    return True


@dataclass(frozen=True)
class Tree:
    """A process and all below it."""

    root: int

    def pids(self) -> list[int]:
        return [self.root, *descendants(self.root)]

    def cpu_s(self) -> float:
        """Processor time of all of them, those that ended included."""
        return sum(_alive(cpu_s, self.pids()))

    def rss_bytes(self) -> int:
        """Memory of all of them; what they share is counted in each."""
        return sum(_alive(rss_bytes, self.pids()))

    def worker(self) -> int:
        """The one that holds most memory: the one that loaded the network."""
        sizes: dict[int, int] = {}
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError, AssertionError):
                sizes[pid] = rss_bytes(pid)
        return max(sizes, key=sizes.__getitem__)


def _alive(read: Callable[[int], T], pids: Iterable[int]) -> Iterator[T]:
    """What is read of those that are still there."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError, AssertionError):
            yield read(pid)


def _status(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None  # a process that has just ended has no memory left to tell of
    return 1024 * int(found[1])
