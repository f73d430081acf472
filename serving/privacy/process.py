"""What the process promises of its memory: that no crash writes it to a disk.

`harden` is called before anything else, in every process of the service. Swapping is the machine's: docs/audit.md.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

from safelight.errors import ConfigError

_GET_DUMPABLE, _SET_DUMPABLE = 3, 4  # prctl(2)


def harden() -> None:
    """No core dumps of this process, nor of those it starts. Raises ConfigError where that cannot be had.

    The limit alone is not enough on Linux: a kernel that pipes cores to a program ignores it (core(5)). A process that is
    not dumpable leaves none, and others without privileges can neither trace it nor read its memory; it is so until the
    next exec, which is why each process says it for itself. What it takes away is not needed here: a process may still
    list its own /proc/self/fd, which `listeners` does. Elsewhere than on Linux the limit is all there is.

    Python's faulthandler, should somebody switch it on, prints functions and lines, no values.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise ConfigError("Core dumps cannot be switched off (RLIMIT_CORE).")
    if sys.platform == "linux":
        _undumpable()


def _undumpable() -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    if prctl(_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise ConfigError("This process cannot be made undumpable (PR_SET_DUMPABLE).")
