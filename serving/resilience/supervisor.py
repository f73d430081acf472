"""BentoML's supervisor, made to let go of the network first and to look after its workers every second.

It holds the listening socket open until its workers have ended, so that the kernel goes on making connections that nobody will
ever serve: closed first, it is gone as soon as the workers have closed theirs, which they do at once, and clients learn it and
go elsewhere while what is under way is finished. And it looks for dead workers every 10 s only, which with one worker is an
outage as long. Knows nothing of requests.
"""

from __future__ import annotations

from typing import Any

_CHECK_S = 1.0


def adapt_supervisor() -> None:
    """From now on the supervisors that this process makes are like that. To be called in the supervisor's process."""
    from bentoml._internal.utils.circus import Arbiter  # workers need none of it

    make, stop_workers = Arbiter.__init__, Arbiter.stop

    def init(arbiter: Any, *args: Any, **kwargs: Any) -> None:
        make(arbiter, *args, **{**kwargs, "check_delay": _CHECK_S})

    def stop(arbiter: Any) -> Any:
        arbiter.sockets.close_all()
        return stop_workers(arbiter)

    Arbiter.__init__, Arbiter.stop = init, stop
