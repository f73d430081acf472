"""What the process promises of its memory: that no crash writes it to a disk, and that whoever traces it sees all it does.

`harden` is called before anything else, in every process of the service. Swapping is the machine's: docs/audit.md.
"""

from __future__ import annotations

import ctypes
import platform
import resource
import struct
import sys
from contextlib import suppress
from typing import Any

from safelight.errors import ConfigError

_GET_DUMPABLE, _SET_DUMPABLE, _SET_SECCOMP, _NO_NEW_PRIVILEGES, _FILTER = 3, 4, 22, 38, 2  # prctl(2)
_IO_URING_SETUP, _ENOSYS = 425, 38


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
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
        _undumpable(prctl)
        if platform.machine() in ("x86_64", "aarch64"):
            _without_io_uring(prctl)


def _undumpable(prctl: Any) -> None:
    prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    if prctl(_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise ConfigError("This process cannot be made undumpable (PR_SET_DUMPABLE).")


def _without_io_uring(prctl: Any) -> None:
    """Let io_uring_setup(2) say that there is no such call, as kernels without it do.

    What goes through a ring is seen by no tracer and no seccomp filter, so that nobody could check what the service writes;
    the event loop (libuv) would open one for itself. Where filters are not allowed either, it stays as it is: this guards
    nothing by itself. The program, in BPF (seccomp(2)): load the call's number; if it is that one, fail; else allow.
    """
    program = struct.pack(
        "=HBBIHBBIHBBIHBBI",
        *(0x20, 0, 0, 0),  # the number is the first word of seccomp_data
        *(0x15, 0, 1, _IO_URING_SETUP),
        *(0x06, 0, 0, 0x00050000 | _ENOSYS),  # SECCOMP_RET_ERRNO
        *(0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    instructions = ctypes.create_string_buffer(program, len(program))
    rule = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))  # sock_fprog
    pointed = ctypes.create_string_buffer(rule, len(rule))
    prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(pointed), 0, 0)
