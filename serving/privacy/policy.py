"""Which requests are let in: sealed ones, and plaintext ones where somebody said so and only this machine can ask.

Decides before a byte of the body is read, and for every path that is not on the list of open ones, so that a new route
is closed until somebody opens it. Knows nothing of how a request is opened.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import PlaintextRefused
from serving.privacy.context import context_of
from serving.privacy.listeners import Listeners, is_loopback

DOCS = "/docs/serving.md#plaintext-refused"


class SealedOnly:
    """ASGI middleware that raises PlaintextRefused for what may not pass.

    open_paths: those that neither take nor give anybody's data. listeners: the addresses the process is bound to; a
    plaintext request passes only if there is one and all of them are loopback.
    """

    def __init__(
        self, app: ASGIApp, *, open_paths: Collection[str], allow_plaintext: bool, listeners: Listeners
    ) -> None:
        self._app = app
        self._open_paths = frozenset(open_paths)
        self._allow_plaintext = allow_plaintext
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in self._open_paths and context_of(scope).seal is None:
            self._check_plaintext()
        await self._app(scope, receive, send)

    def _check_plaintext(self) -> None:
        """Raises PlaintextRefused unless plaintext was allowed by name and only this machine can connect."""
        if not self._allow_plaintext:
            raise PlaintextRefused(
                "This service takes sealed requests only. To try it on your own machine, start it with "
                f"SAFELIGHT_ALLOW_PLAINTEXT=1 and --host 127.0.0.1; see {DOCS}."
            )
        # Asked each time: what listens may change after the start, and asking costs some 0.1 ms.
        addresses = self._listeners()
        if not addresses or not all(is_loopback(address) for address in addresses):
            raise PlaintextRefused(
                "Plaintext requests are taken only where nobody but this machine can connect, and this service listens "
                f"elsewhere too. Start it with --host 127.0.0.1; see {DOCS}."
            )
