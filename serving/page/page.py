"""The page at `/` and its files, by their exact names: no path is ever looked up on disk.

They hold nobody's data, so that everybody may fetch them. They never pass BentoML (serving/front.py). Knows nothing of
what they do; `make web` builds them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from fastapi import FastAPI

DIST = Path(__file__).parent / "dist"
FILES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/safelight.js": ("safelight.js", "text/javascript"),
    "/aws.js": ("aws.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Each path with its file and media type."""
PAGE_PATHS = tuple(FILES)
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from elsewhere, nothing inline, nothing sent elsewhere."""


def add_page(api: FastAPI, folder: Path = DIST) -> None:
    """Serve the page; its files are read now and held. Raises OSError when one is missing."""
    for path, (name, media_type) in FILES.items():
        answer = _answering((folder / name).read_bytes(), media_type)
        api.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False, response_model=None)


def _answering(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY}

    async def answer(request: Request) -> Response:
        return Response(content, headers=headers, media_type=media_type)

    return answer
