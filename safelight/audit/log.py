"""One worker's file of an audit log: append, seal, close. What cannot be written is not forgotten, it raises.

Safe to use from several threads. `append` costs one system call and waits for no disk; `checkpoint` and `close` do.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safelight.audit.index import Index
from safelight.audit.key import AuditKey
from safelight.audit.lines import FIRST, digest, encode, timestamp
from safelight.errors import AuditUnavailable

SUFFIX = ".jsonl"


class AuditLog:
    """A new file in `folder`, begun at once.

    facts: of the service, kept in each file's first line; no secrets. checkpoint_every: records after which one is due.
    rotate_bytes: size at which a checkpoint closes the file and begins another. now: seconds since the epoch.
    Raises ConfigError when the key cannot be used, AuditUnavailable when nothing can be written.
    """

    def __init__(
        self,
        folder: Path,
        key: AuditKey,
        facts: Mapping[str, str | int | float | bool],
        *,
        checkpoint_every: int,
        rotate_bytes: int,
        fsync: bool,
        now: Callable[[], float],
    ) -> None:
        self._folder, self._key, self._facts = folder, key, dict(facts)
        self._every, self._rotate_bytes, self._fsync, self._now = checkpoint_every, rotate_bytes, fsync, now
        self._index = Index(folder, key, now=now, fsync=fsync)
        self._writing, self._sealing = threading.RLock(), threading.Lock()
        self._refused, self._closed = 0, False
        self._failure: AuditUnavailable | None = None
        self._descriptor: int | None = None
        with self._sealing:
            self._begin()

    @property
    def due(self) -> bool:
        """Whether enough was written since the last checkpoint for another one."""
        return self._since >= self._every

    def check(self) -> None:
        """As `mend`, for a request that is refused when this raises; they are counted."""
        try:
            self.mend()
        except AuditUnavailable:
            self._refused += 1
            raise

    def mend(self) -> None:
        """Raises AuditUnavailable while nothing can be written; tries whether that is over, and says so in the log."""
        if self._failure is not None:
            self._resume()

    def append(self, fields: Mapping[str, Any]) -> None:
        """Add a record. Raises AuditUnavailable when it is not in the file."""
        self.check()
        with self._writing:
            try:
                self._write("request", fields)
            except AuditUnavailable:
                self._refused += 1
                raise

    def checkpoint(self) -> None:
        """Seal what was written so far, unless it is. Raises AuditUnavailable."""
        with self._sealing:
            if self._failure is not None:
                raise self._failure
            if self._since == 0:
                with self._writing:
                    self._look()
            elif self._size >= self._rotate_bytes:
                with self._writing:  # nothing goes between the two files
                    self._end()
                    self._begin()
            else:
                self._seal("checkpoint")

    def close(self) -> None:
        """Seal and end the file, for good. Raises AuditUnavailable."""
        with self._sealing, self._writing:
            self._closed = True
            if self._descriptor is None:
                return
            try:
                self._end()
            finally:
                self._let_go()
                self._failure = AuditUnavailable("it is closed")

    def _begin(self) -> None:
        self._seq, self._head, self._size, self._since = -1, FIRST, 0, 0
        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        self._name = f"{stamp}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._descriptor = os.open(self._folder / self._name, flags, 0o600)
        except OSError as error:
            raise self._failed(f"its file cannot be made ({type(error).__name__})") from None
        try:
            self._look_up()
            self._seal("opened", {"file": self._name, "key": self._key.name, "pid": os.getpid(), **self._facts})
        except AuditUnavailable:
            if self._seq < 0:  # not even the first line could be written: there is no such file
                self._let_go()
                with suppress(OSError):
                    (self._folder / self._name).unlink()
            raise

    def _look_up(self) -> None:
        try:
            self._index.look()
        except AuditUnavailable as error:
            raise self._failed(error.reason) from None

    def _end(self) -> None:
        self._seal("closed")
        self._let_go()

    def _let_go(self) -> None:
        with self._writing:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None  # its number may soon mean another file

    def _resume(self) -> None:
        """After a failure: say how many requests were refused, seal that, go on; or raise again."""
        with self._sealing:
            if self._closed:
                raise AuditUnavailable("it is closed")
            if self._failure is None:
                return
            if self._descriptor is None:
                self._begin()
            with self._writing:
                self._look()
                self._write("gap", {"refused": self._refused})
                self._refused = 0
            self._seal("checkpoint")
            self._failure = None

    def _seal(self, kind: str, fields: Mapping[str, Any] | None = None) -> None:
        """Add a signed line and enter it in the index; what the index refers to is on disk before."""
        with self._writing:
            self._look()
            last = self._index.last
            link = {"index": last.seq, "index_head": last.head}
            self._write(kind, {**(fields or {}), **link}, signed=True)
            self._since = 0
            entry: dict[str, str | int | float | bool] = {
                "file": self._name,
                "lines": self._seq + 1,
                "head": self._head,
            }
            descriptor = self._descriptor
        try:
            if self._fsync and descriptor is not None:
                os.fsync(descriptor)
            self._index.add(kind, entry)
        except OSError as error:
            raise self._failed(f"its file cannot be kept ({type(error).__name__})") from None
        except AuditUnavailable as error:
            raise self._failed(error.reason) from None

    def _look(self) -> None:
        """Raises AuditUnavailable unless the file is still there and as long as it was left."""
        with suppress(OSError):
            if self._descriptor is not None:
                status, there = os.fstat(self._descriptor), (self._folder / self._name).stat()
                if (status.st_ino, status.st_dev) == (there.st_ino, there.st_dev) and there.st_size == self._size:
                    return
        raise self._failed("its file was removed or changed")

    def _write(self, kind: str, fields: Mapping[str, Any], *, signed: bool = False) -> None:
        own = {"seq": self._seq + 1, "prev": self._head, "kind": kind, "time": timestamp(self._now())}
        line = encode({**own, **fields})
        if signed:
            line = self._key.sign(line)
        data = line + b"\n"
        if self._descriptor is None:
            raise self._failed("it has no file")
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._failed(f"its file cannot be written ({type(error).__name__})") from None
        self._seq, self._head = self._seq + 1, digest(line)
        self._size += len(data)
        self._since += 1

    def _failed(self, reason: str) -> AuditUnavailable:
        self._failure = AuditUnavailable(reason)
        return self._failure
