"""Who may ask for what, and how often. Decides before a byte of the body is read.

A sealed request is judged by the credentials inside of its envelope. Knows nothing of what the routes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.credentials import SCOPES
from safelight.errors import AccessUndecided, ConfigError, Forbidden, RateLimited, SafelightError, Unauthenticated
from serving.privacy.context import context_of
from serving.privacy.credentials import Caller, Credentials
from serving.privacy.listeners import Listeners, is_loopback
from serving.privacy.rates import RateLimits, address_of
from serving.privacy.record import record_of
from serving.settings import Settings

Headers = Iterable[tuple[bytes, bytes]]
SCOPE_OF = {
    "/v1/detect": "detect",
    "/v1/read": "read",
    "/v1/read:batch": "read",
    "/v1/models": "models",
    "/metrics": "metrics",
}
"""The scope that each route needs. A route under /v1/ that is not here is closed."""
TELLING = frozenset({"models", "metrics"})
"""What tells of the service itself: where no credentials are configured, on loopback only."""
_CLOSED_PREFIX = "/v1/"


class Access:
    """Who may ask. listeners: the addresses the process is bound to. now: seconds since the epoch."""

    def __init__(self, settings: Settings, *, listeners: Listeners, now: Callable[[], float]) -> None:
        self._configured = settings.access.configured
        self._credentials = Credentials(settings.access, now)
        self._listeners = listeners
        self.rates = RateLimits(settings.rates, now)
        self._loaded = False

    def load(self, *, reach: bool = True) -> None:
        """Read keys and secrets, and reach the store of the rate limits, unless it may be gone now. Raises ConfigError.
        Until then nobody may ask."""
        self._credentials.load()
        self.rates.load(reach=reach)
        self._loaded = True

    def caller(self, path: str, headers: Headers) -> Caller | None:
        """Who asks for a path; None where everybody may, or no credentials are configured.

        Raises Unauthenticated or AccessUndecided.
        """
        if not self._loaded:
            raise AccessUndecided()
        return self._credentials.caller(headers) if self._configured and _guarded(path) else None

    def require(self, caller: Caller | None, path: str) -> None:
        """Raises Forbidden unless the caller may ask for the path."""
        if not _guarded(path):
            return
        needed = SCOPE_OF.get(path)
        if self._configured:  # being on this machine is then no credential: a reverse proxy is on it, too
            if caller is None or needed not in caller.scopes:
                raise Forbidden()
        elif needed in TELLING:
            addresses = self._listeners()
            if not addresses or not all(is_loopback(address) for address in addresses):
                raise Forbidden()

    def check(self, path: str, headers: Headers) -> None:
        """Both at once, uncounted. Raises Unauthenticated, Forbidden or AccessUndecided."""
        self.require(self.caller(path, headers), path)

    def allows(self, path: str, headers: Headers) -> bool:
        """Whether `check` would let a request pass."""
        try:
            self.check(path, headers)
        except SafelightError:
            return False
        return True


class Admission:
    """ASGI middleware that raises Unauthenticated, Forbidden, RateLimited or AccessUndecided for what may not pass."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller, refusal = None, None
        try:
            caller = self._access.caller(scope["path"], scope["headers"])
        except Unauthenticated as error:  # counted like any other request, so that guessing has a limit
            refusal = error
        if caller is not None:
            record_of(scope).caller = caller.identity
        await self._count(scope, caller)
        if refusal is not None:
            raise refusal
        self._access.require(caller, scope["path"])
        await self._app(scope, receive, send)

    async def _count(self, scope: Scope, caller: Caller | None) -> None:
        """Raises RateLimited for one request too many, or AccessUndecided."""
        context = context_of(scope)
        if caller is not None:
            standing = await self._access.rates.count("key", caller.identity)
        else:
            policy = "address" if context.seal is None else "relay"
            standing = await self._access.rates.count(policy, address_of(scope.get("client")))
        if standing is None:
            return
        context.headers.extend(standing.headers)
        if standing.over:
            raise RateLimited(
                f"Expected at most {standing.quota} requests in {standing.window_s} s.", retry_after_s=standing.reset_s
            )


def require_scopes(paths: Iterable[str]) -> None:
    """Raises ConfigError for a route under /v1/ that is not in the table, so that none is opened by being forgotten."""
    missing = [path for path in paths if path.startswith(_CLOSED_PREFIX) and SCOPE_OF.get(path) not in SCOPES]
    if missing:
        raise ConfigError(f"Expected a scope in serving/privacy/access.py for {', '.join(missing)}.")


def _guarded(path: str) -> bool:
    return path in SCOPE_OF or path.startswith(_CLOSED_PREFIX)
