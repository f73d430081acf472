"""What is known of a request besides its body: its id, and whether it arrived sealed.

Knows nothing of protocols. A middleware that opens sealed requests calls the same application with `sealed_scope(...)`;
servers build scopes themselves, so no header or path that a client sends can produce that mark.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

Scope = MutableMapping[str, Any]
_SEAL, _CONTEXT = "safelight.seal", "safelight.context"


@dataclass(frozen=True)
class Seal:
    """How a request was sealed. protocol: a short public name, for counting. key_id: public name of the gateway's key."""

    protocol: str
    key_id: str = ""


@dataclass(frozen=True)
class Context:
    """request_id: random, never chosen by the client. seal: None for a plaintext request. headers: what the answer will
    carry, whether it is a success or a refusal; a middleware adds to it."""

    request_id: str
    seal: Seal | None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Upload:
    """A body as a handler sees it: opened, out of any form, wholly in memory.

    media_type: what the sender says the bytes are; None when it does not say.
    """

    context: Context
    data: bytes
    media_type: str | None


def sealed_scope(scope: Scope, seal: Seal) -> dict[str, Any]:
    """The scope of an inner request, marked as having arrived sealed, with no context of an outer one."""
    return {**{k: v for k, v in scope.items() if k != _CONTEXT}, _SEAL: seal}


def open_context(scope: Scope, request_id: str) -> Context:
    """Make the context of a request that enters the application, and keep it in the scope."""
    context = scope[_CONTEXT] = Context(request_id, scope.get(_SEAL))
    return context


def context_of(scope: Scope) -> Context:
    """The context that `open_context` made. Raises KeyError outside a request."""
    context: Context = scope[_CONTEXT]
    return context
