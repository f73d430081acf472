"""An oblivious relay (RFC 9458, section 6.2), small and real: an ASGI application that passes envelopes on.

It forwards the body and the content type of a POST and nothing else, from an address of its own.
"""

from __future__ import annotations

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

KINDS = ("message/ohttp-req", "message/ohttp-chunked-req")


class Relay:
    """gateway: the URL that envelopes go to. network: how. seen: the bodies that passed, both ways."""

    def __init__(self, gateway: str, network: httpx.AsyncBaseTransport) -> None:
        self._gateway, self._http = gateway, httpx.AsyncClient(transport=network, timeout=30)
        self.seen: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        kind = request.headers.get("content-type", "")
        if request.method != "POST" or kind not in KINDS:
            await Response(status_code=415)(scope, receive, send)
            return
        body = await request.body()
        answer = await self._http.post(self._gateway, content=body, headers={"content-type": kind})
        self.seen += [body, answer.content]
        own = {"content-type": answer.headers["content-type"], "cache-control": "no-store"}
        await Response(answer.content, answer.status_code, own)(scope, receive, send)
