"""BentoML's supervisor, made to let go of the network first, to look after its workers every second, and to end with them
when none of them can serve.

It holds the listening socket open until its workers have ended, so that the kernel goes on making connections that nobody will
ever serve: closed first, it is gone as soon as the workers have closed theirs, which they do at once, and clients learn it and
go elsewhere while what is under way is finished. And it looks for dead workers every 10 s only, which with one worker is an
outage as long. Knows nothing of requests.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from serving.privacy import logs

log = logs.logger()
_CHECK_S = 1.0
_SUPERVISOR = "_GATEWAY_SUPERVISOR"
"""In the environment of workers: the process that expects to hear whether they can serve."""


def adapt_supervisor() -> None:
    """From now on the supervisors that this process makes are like that. To be called in the supervisor's process."""
    from bentoml._internal.utils.circus import Arbiter  # workers need none of it

    make, begin, stop_workers = Arbiter.__init__, Arbiter.start, Arbiter.stop
    given_up: list[int] = []
    served: list[int] = []

    def end(*_: object) -> None:
        if not served:  # later a worker may fail for what passes, such as a full disk, while others serve
            given_up.append(1)
            os.kill(os.getpid(), signal.SIGTERM)

    def start(arbiter: Any, *args: Any, **kwargs: Any) -> Any:
        signal.signal(signal.SIGUSR1, end)
        signal.signal(signal.SIGUSR2, lambda *_: served.append(1))
        result = begin(arbiter, *args, **kwargs)
        if given_up:
            sys.exit(1)
        return result

    def init(arbiter: Any, *args: Any, **kwargs: Any) -> None:
        make(arbiter, *args, **{**kwargs, "check_delay": _CHECK_S})

    def stop(arbiter: Any) -> Any:
        arbiter.sockets.close_all()
        return stop_workers(arbiter)

    Arbiter.__init__, Arbiter.start, Arbiter.stop = init, start, stop
    os.environ[_SUPERVISOR] = str(os.getpid())


def give_up(error: Exception) -> None:
    """In a worker that cannot serve: let the supervisor end the service with status 1, rather than start another worker, if
    none ever could."""
    log.error("service_given_up", error=error)
    _tell(signal.SIGUSR1)


def can_serve() -> None:
    """In a worker: from now on the service goes on, whatever becomes of one of its workers."""
    _tell(signal.SIGUSR2)


def _tell(what: signal.Signals) -> None:
    if os.environ.get(_SUPERVISOR) == str(os.getppid()):
        os.kill(os.getppid(), what)
