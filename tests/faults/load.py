"""Sealed requests with known answers, sent without a pause by several threads, and what became of each of them."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import httpx

from safelight.client import ApiError, Client, Unreachable
from tests.serving.conftest import encoded, squares
from tests.serving.real import Service

UNLIMITED = {"SAFELIGHT_RATES__LIMIT": "none", "SAFELIGHT_RATES__SEALED_ANONYMOUS": "none"}
CORNERS = [(x, y) for x in range(0, 64, 8) for y in range(0, 64, 8)]
PICTURES = {(name, corner): encoded(squares(**{name: corner})) for name in ("person", "cat") for corner in CORNERS}


class Load:
    """Use it as a context manager. Each thread sends one request after the other, each once; `wrong` holds what must never be:
    another answer than the right one, and an error that is no problem with a request id.

    answered: the request ids of right answers. refused: how often each (status, type of problem) came. lost: requests that got
    no answer.
    """

    def __init__(self, service: Service, *, threads: int = 4, model: str | None = None) -> None:
        self._service, self._model = service, model
        self.answered: list[str] = []
        self.refused: Counter[tuple[int, str]] = Counter()
        self.lost = 0
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, right: int, within_s: float = 20.0) -> None:
        """Wait until so many more requests have been answered rightly."""
        before = len(self.answered)
        until(lambda: len(self.answered) >= before + right, within_s)

    def _run(self, number: int) -> None:
        draw = random.Random(number)
        with Client(self._service.url, attempts=1, timeout_s=20) as client:
            while not self._stop.is_set():
                self._once(client, *draw.choice(list(PICTURES.items())))

    def _once(self, client: Client, wanted: tuple[str, tuple[int, int]], picture: bytes) -> None:
        name, (x, y) = wanted
        begun = time.perf_counter()
        try:
            answer = client.detect(picture, model=self._model)
        except Unreachable:
            with self._lock:
                self.lost += 1
            time.sleep(0.02)
            return
        except ApiError as error:
            with self._lock:
                self._note(error)
            time.sleep(0.02)
            return
        except Exception as error:  # an answer that does not open, or is no answer
            with self._lock:
                self.wrong.append(repr(error))
            return
        found = [(one.class_name, one.box) for one in answer.annotations]
        with self._lock:
            self.seconds.append(time.perf_counter() - begun)
            if found == [(name, (x, y, x + 8, y + 8))]:
                self.answered.append(answer.request_id)
            else:
                self.wrong.append(f"{wanted}: {found}")

    def _note(self, error: ApiError) -> None:
        if error.type is None or not error.request_id:
            self.wrong.append(f"no problem with a request id: {error}")
        self.refused[error.status, str(error.type).rpartition("#")[2]] += 1


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for it. Raises AssertionError when it takes too long."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def workers(service: Service) -> list[int]:
    """The process ids of its workers."""
    pid = service.supervisor
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def assert_problem(response: httpx.Response, status: int, anchor: str) -> None:
    """A problem of that type, with the id of its request in the header too."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert (response.status_code, problem["type"].rpartition("#")[2]) == (status, anchor), problem
    assert problem["status"] == status and problem["request_id"] == response.headers["x-request-id"]
