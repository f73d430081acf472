"""The index of an audit folder: what was sealed, in the order in which it was, by all workers. Every line is signed.

A worker that is about to add to it looks at the last line first: an index that got shorter, or that ends in a line which
is not ours, is not added to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safelight.audit.key import AuditKey
from safelight.audit.lines import FIRST, Line, digest, encode, read, signed_by, timestamp
from safelight.errors import AuditUnavailable

NAME = "index.jsonl"
_TAIL = 16 * 1024  # longer than any line of an index


@dataclass(frozen=True)
class Mark:
    """A place in the index. seq: of an entry, -1 before the first. head: the digest of its line."""

    seq: int = -1
    head: str = FIRST


class Index:
    """The index of `folder`, which is made if it is missing. now: seconds since the epoch."""

    def __init__(self, folder: Path, key: AuditKey, *, now: Callable[[], float], fsync: bool) -> None:
        self._folder, self._key, self._now, self._fsync = folder, key, now, fsync
        self.last = Mark()

    def add(self, kind: str, fields: Mapping[str, str | int | float | bool]) -> Mark:
        """Enter something; returns where. Raises AuditUnavailable when that cannot be done, or must not."""
        with self._opened() as descriptor:
            self.last = self._append(descriptor, self._end(descriptor), kind, fields)
        return self.last

    def look(self) -> Mark:
        """Where the index ends now. Raises AuditUnavailable when it is not fit to be added to."""
        with self._opened() as descriptor:
            self.last = self._end(descriptor)
        return self.last

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """One at a time, among all processes."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._folder / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise AuditUnavailable(f"its index cannot be opened ({type(error).__name__})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        except OSError as error:
            raise AuditUnavailable(f"its index cannot be written ({type(error).__name__})") from None
        finally:
            os.close(descriptor)

    def _end(self, descriptor: int) -> Mark:
        """Where the index ends now. Raises AuditUnavailable when it is not what it was, and longer."""
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
        if not tail:
            mark = Mark()
        else:
            *_, last, rest = (b"\n" + tail).split(b"\n")
            line = _read(last)
            if rest or line is None or not signed_by(line, self._key.public):
                raise AuditUnavailable("its index does not end in a line of ours: verify it, then move its folder away")
            mark = Mark(int(line.fields["seq"]), line.digest)
        if mark.seq < self.last.seq or (mark.seq == self.last.seq and mark != self.last):
            raise AuditUnavailable("its index was cut or changed: verify it, then move its folder away")
        return mark

    def _append(self, descriptor: int, end: Mark, kind: str, fields: Mapping[str, str | int | float | bool]) -> Mark:
        size = os.fstat(descriptor).st_size
        own = {"seq": end.seq + 1, "prev": end.head, "kind": kind, "time": timestamp(self._now())}
        line = self._key.sign(encode({**own, **fields}))
        data = line + b"\n"
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, size)
            raise OSError
        if self._fsync:
            os.fsync(descriptor)
        return Mark(end.seq + 1, digest(line))


def _read(line: bytes) -> Line | None:
    try:
        return read(line)
    except ValueError:
        return None
