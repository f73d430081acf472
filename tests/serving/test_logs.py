"""What can get into a log: listed fields, classes and places; never the text of an exception, a warning or a task."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.errors import ManifestInvalid
from serving.privacy import logs
from serving.privacy.quiet import said
from tests.conftest import ROOT

SECRET = "secret-3b1c"


@pytest.fixture
def lines(capfd):
    """Calls with a logger, and gives the lines that came out."""
    own = logging.getLogger(logs.NAME)
    before = own.handlers[:], own.level, own.propagate

    def call(log) -> list[dict[str, object]]:
        logs.open_log()
        log(logs.logger())
        return [json.loads(line) for line in capfd.readouterr().err.splitlines()]

    yield call
    own.handlers[:], own.level, own.propagate = before


def test_listed_fields_are_a_line_of_json(lines):
    (line,) = lines(lambda log: log.info("model_ready", model="coco", version="v1", duration_ms=1.5, status=200))
    assert line.pop("timestamp").endswith("Z")  # type: ignore[attr-defined]
    assert line == {
        "event": "model_ready", "level": "info", "model": "coco", "version": "v1", "duration_ms": 1.5, "status": 200
    }  # fmt: skip


def test_a_log_that_cannot_be_written_says_nothing_elsewhere(lines, capfd):
    lines(lambda log: log.info("begun"))
    (handler,) = logging.getLogger(logs.NAME).handlers
    handler.stream = io.StringIO()
    handler.stream.close()
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        logs.report(error, None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "fields",
    [
        {"file_name": SECRET},
        {"body": SECRET.encode()},
        {"headers": {"authorization": SECRET}},
        {"model": SECRET * 100},
        {"model": SECRET.encode()},
        {"model": [SECRET]},
        {"detail": SECRET},
        {"place": SECRET},
    ],
)
def test_any_other_field_is_dropped_and_counted(lines, fields):
    (line,) = lines(lambda log: log.error("something", **fields))
    assert SECRET not in json.dumps(line) and line["event"] == "something"
    if not {"detail", "place"} & set(fields):
        assert line["dropped"] == 1


def test_a_sentence_is_no_event(lines):
    for event in (f"could not read {SECRET}", SECRET, "", 7):
        (line,) = lines(lambda log, event=event: log.info(event))
        assert line["event"] == "unnamed"
    (line,) = lines(lambda log: log.info("refused %s", SECRET))
    assert SECRET not in json.dumps(line)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_is_its_class_and_its_place(lines):
    def log_it(log) -> None:
        log.error("unexpected_error", error=raised(ValueError(SECRET)), request_id="0" * 32)
        logs.report(raised(KeyError(SECRET)), "1" * 32)
        try:
            raise OSError(SECRET)
        except OSError:
            log.exception("failed")

    first, second, third = lines(log_it)
    assert first["error"] == "ValueError" and first["request_id"] == "0" * 32
    assert str(first["place"]).startswith("tests/serving/test_logs.py:") and "detail" not in first
    assert (second["event"], second["error"]) == ("unexpected_error", "KeyError")
    assert (third["event"], third["error"], third["level"]) == ("failed", "OSError", "error")
    assert SECRET not in json.dumps([first, second, third])


def test_what_an_error_of_ours_says_is_public(lines):
    (line,) = lines(lambda log: log.error("model_refused", model="coco", error=ManifestInvalid("The file is gone.")))
    assert (line["error"], line["detail"]) == ("ManifestInvalid", "The file is gone.")
    assert said(ManifestInvalid("Gone.")) == "ManifestInvalid: Gone."


def test_messages_of_ours_do_not_appear_below_their_level(lines):
    assert lines(lambda log: log.debug("detail")) == []


SCRIPT = """
import asyncio, gc, logging, sys, threading, warnings
from serving.privacy.quiet import scrub, silence
from serving.privacy.logs import open_log
logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
silence(); scrub(); scrub(); open_log()
SECRET = sys.argv[1]

def fail(*_):
    raise ValueError(SECRET)

for name in ("uvicorn.error", "bentoml.serve", "elsewhere"):
    log = logging.getLogger(name)
    try:
        fail()
    except ValueError as error:
        log.exception("exception in %s", "a place")
        log.error("Exception in ASGI application\\n", exc_info=error)
        log.error("could not: %s", error)
        log.error("could not: %(why)s", {"why": error})
        log.error(error)
        log.error("100 %", exc_info=True)
    log.info("with its stack", stack_info=True)

async def tasks():
    loop = asyncio.get_running_loop()
    asyncio.ensure_future(asyncio.sleep(0)).add_done_callback(lambda task: None)
    loop.call_soon(fail, SECRET)
    task = loop.create_task(asyncio.to_thread(fail)); task.set_name(SECRET)
    await asyncio.sleep(0.1)
    del task
    gc.collect()

asyncio.run(tasks(), debug=True)
thread = threading.Thread(target=fail, name=SECRET); thread.start(); thread.join()

class Unraisable:
    def __del__(self): fail()

Unraisable()
warnings.simplefilter("always"); warnings.warn(SECRET); warnings.warn_explicit(SECRET, UserWarning, SECRET, 1)
logging.makeLogRecord({"msg": "fine"})
print("--- now the end", file=sys.stderr)
fail()
"""


def test_no_text_of_an_exception_leaves_a_process_that_was_scrubbed(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, script, SECRET], capture_output=True, text=True, env=environ)
    assert result.returncode == 1 and "--- now the end" in result.stderr
    assert SECRET not in result.stderr + result.stdout, result.stderr
    assert result.stderr.count("ValueError at ") >= 20, result.stderr
    assert "exception in a place [ValueError at " in result.stderr and "uncaught: ValueError at" in result.stderr
    assert "uncaught in a thread: ValueError" in result.stderr and "not raised: ValueError" in result.stderr
    assert "warning: UserWarning" in result.stderr and "could not: ValueError at" in result.stderr


CRASH = """
import os, resource, sys
if sys.argv[1] == "hardened":
    from serving.privacy.process import harden
    harden()
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    import socket
    from ipaddress import ip_address
    from serving.privacy.listeners import listening_addresses
    listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
    assert listening_addresses() == [ip_address("127.0.0.1")]
else:
    resource.setrlimit(resource.RLIMIT_CORE, [resource.getrlimit(resource.RLIMIT_CORE)[1]] * 2)
os.abort()
"""


def crash(tmp_path: Path, how: str) -> bool:
    """Whether a process that aborts leaves a core dump."""
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", CRASH, how],
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status), how
    return os.WCOREDUMP(status)


def test_a_crash_leaves_no_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert not crash(tmp_path, "hardened")
    assert list(tmp_path.iterdir()) == []
    if not crash(tmp_path, "as it comes"):
        pytest.skip("no process leaves a core dump on this machine: what was shown says little")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PR_SET_DUMPABLE")
def test_a_hardened_process_is_not_dumpable():
    script = """
import ctypes
from serving.privacy.process import harden
before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
harden()
print(before, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.split() == ["1", "0"], result.stderr


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="a call of Linux, by its number"
)
def test_a_hardened_process_opens_no_ring_that_a_tracer_cannot_see():
    script = """
import ctypes, errno, os, subprocess, sys
from serving.privacy.process import harden
harden()
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(425, 8, 0), ctypes.get_errno() == errno.ENOSYS, os.getpid() > 0)
print(subprocess.run([sys.executable, "-c", "print('started')"], capture_output=True, text=True).stdout)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.split() == ["-1", "True", "True", "started"], result.stderr
