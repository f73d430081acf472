"""The first thing that a service does when it is told to stop: take no more connections.

BentoML's supervisor holds the listening socket open until its workers have ended, so that the kernel goes on making connections
that nobody will ever serve. Closed first, it is gone as soon as the workers have closed theirs (which they do at once), and
clients learn it and go elsewhere, while what is under way is finished. Knows nothing of requests.
"""

from __future__ import annotations

from typing import Any


def stop_listening_first() -> None:
    """From now on the supervisors that this process starts do so. To be called in the supervisor's process."""
    from bentoml._internal.utils.circus import Arbiter  # workers need none of it

    stop_workers = Arbiter.stop

    def stop(arbiter: Any) -> Any:
        arbiter.sockets.close_all()
        return stop_workers(arbiter)

    Arbiter.stop = stop
