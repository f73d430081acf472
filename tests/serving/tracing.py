"""Everything that a tree of processes writes, seen with strace: files that vanish, file names, pipes, sockets, memory files.

What goes through a shared memory mapping is not seen; which files are mapped so is, so that they can be searched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "memfd_create,setxattr,lsetxattr,fsetxattr,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg,sendfile,"
    "copy_file_range,splice,vmsplice,io_uring_setup,mmap,connect,execve"
)
_LONGEST = 4_000_000
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_TARGET = re.compile(r"\d+<([^>]*)>")
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_FLAGS = re.compile(r"O_(?:WRONLY|RDWR|CREAT)")
_WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"}
_COPIES = {"sendfile", "copy_file_range", "splice", "vmsplice", "io_uring_setup"}


def command(output: Path) -> list[str]:
    """What to put before a command so that it is traced, with all that it starts."""
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-yy", "-xx", "-s", str(_LONGEST), "-e", f"trace={_CALLS}",
            "-e", "signal=none", "-o", str(output)]  # fmt: skip


@dataclass
class Trace:
    """written: bytes by where they went, in order. names: every path that was opened, made or renamed. opened: those that
    were opened for writing. mapped: files mapped for shared writing. connected: addresses, as strace writes them. copied:
    calls that move data unseen."""

    written: dict[str, bytes] = field(default_factory=dict)
    names: set[bytes] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    mapped: set[str] = field(default_factory=set)
    connected: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)

    def holding(self, needles: Iterable[bytes], *, but: str = "^$") -> list[str]:
        """Where any of the needles went; `but`: a pattern of places that may have it."""
        found = []
        for place, data in self.written.items():
            if re.search(but, place) is None and any(needle in data for needle in needles):
                found.append(place)
        names = b"\0".join(self.names)
        return found + [f"a name with {needle!r}" for needle in needles if needle in names]


def read(output: Path) -> Trace:
    """What strace saw. Raises AssertionError when it did not see all of it."""
    trace = Trace()
    written: dict[str, list[bytes]] = defaultdict(list)
    for text in output.read_text(errors="surrogateescape").splitlines():
        line = _LINE.match(text)
        if line is None:  # "resumed", or the end of a process: its arguments were told before
            continue
        call, rest = line["call"], line["rest"]
        target = _TARGET.match(rest)
        place = _plain(target[1]) if target else "?"
        if place.startswith("NETLINK"):  # questions to the kernel, which strace takes apart
            continue
        if call == "mmap":
            if "MAP_SHARED" in rest and "PROT_WRITE" in rest and (mapped := _TARGET.search(rest)):
                trace.mapped.add(_plain(mapped[1]))
            continue
        if call == "connect":
            trace.connected.append(rest)
            continue
        if call in _COPIES:
            trace.copied.append(text)
            continue
        strings = []
        for string in _STRING.finditer(rest):
            assert not string[2], f"strace cut what {call} wrote"
            strings.append(_bytes(string[1]))
        if call in _WRITES:
            assert strings or re.search(r", (NULL|0x[0-9a-f]+), 0|iov_len=0|, 0\)", rest), (
                f"strace cannot see: {text[:200]}"
            )
            written[place] += strings
        else:
            trace.names.update(strings)
            if call in ("open", "openat", "openat2", "creat") and (_FLAGS.search(rest) or call == "creat"):
                trace.opened.add(strings[-1].decode(errors="replace"))
    trace.written = {place: b"".join(parts) for place, parts in written.items()}
    return trace


def why_not(folder: Path) -> str | None:
    """Why this machine cannot trace what a service writes, which makes itself undumpable; None if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    script = (
        "from serving.privacy.process import harden; harden(); import os;"
        "os.write(os.open(os.devnull, os.O_WRONLY), b'can you see me')"
    )
    output = folder / "probe"
    try:
        done = subprocess.run([*command(output), sys.executable, "-c", script], capture_output=True, timeout=60)
        seen = done.returncode == 0 and bool(read(output).holding([b"can you see me"]))
    except (AssertionError, OSError):
        seen = False
    return None if seen else "strace cannot look into an undumpable process here: it needs root, or CAP_SYS_PTRACE"


def _plain(text: str) -> str:
    """What a descriptor stands for: a path, or what strace calls a socket."""
    path = _HEX.match(text)
    return _bytes(path[0]).decode(errors="replace") if path else text


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
