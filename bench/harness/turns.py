"""Processes that take turns: each works for a while and is then stopped whole, loaders included, so that what else the
machine does hits all of them alike.

A worker is a program that calls `Turns.step` after each step. Linux and other systems with process groups.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil


@dataclass(frozen=True)
class Block:
    """Some steps at a stretch. seconds: on the clock. cpu_seconds: of processor time, loader processes included."""

    seconds: float
    cpu_seconds: float


class Turns:
    """In the worker: reports each block of `block` steps after the first `warm`, and waits to be told to go on.

    Takes standard output for the reports; what libraries print goes to standard error.
    """

    def __init__(self, warm: int, block: int) -> None:
        self._warm, self._block, self._steps = warm, block, 0
        self._reports = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._begun: tuple[float, float] | None = None

    def step(self) -> None:
        """A step is done."""
        self._steps += 1
        past = self._steps - self._warm
        if past < 0 or past % self._block:
            return
        now, cpu = time.perf_counter(), _cpu_seconds()
        told = {} if self._begun is None else {"seconds": now - self._begun[0], "cpu_seconds": cpu - self._begun[1]}
        print(json.dumps(told), file=self._reports)
        if not sys.stdin.readline():
            os._exit(0)  # nobody waits for more
        self._begun = (time.perf_counter(), _cpu_seconds())


class Worker:
    """Outside: a worker that has done its first steps and stands still. log: gets what it prints."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True
            )
        self._read()
        self._signal(signal.SIGSTOP)

    def turn(self) -> Block:
        """Let it do one block."""
        self._signal(signal.SIGCONT)
        self._stdin.write("\n")
        self._stdin.flush()
        told = self._read()
        self._signal(signal.SIGSTOP)
        return Block(told["seconds"], told["cpu_seconds"])

    def end(self) -> None:
        """Kill it and its loaders. A second time does nothing."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait(timeout=60)

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(timeout=60)
            raise RuntimeError(f"A worker ended early:\n{self._log.read_text()[-3000:]}")
        found: dict[str, float] = json.loads(line)
        return found

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)


def _cpu_seconds() -> float:
    """Of this process and those that it started and that live."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        times = process.cpu_times()
        total += float(times.user + times.system)
    return total
