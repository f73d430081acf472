"""One call: what is asked, how the answer is read, which error a refusal is. Knows nothing of waiting or sealing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from safelight.client.answers import Answer, ModelInfo, read_answer, read_models
from safelight.client.readings import Reading, Unread, read_reading, read_results
from safelight.errors import SafelightError
from safelight.images import encode_png

T = TypeVar("T")
Image = bytes | Path | NDArray[np.uint8]
"""An image file's bytes, its path, or `(H, W, 3)` uint8 RGB pixels."""
_PROBLEM = frozenset({"type", "title", "status", "detail", "request_id", "retryable"})
_RETRYABLE = frozenset({408, 429, 502, 503, 504})


class ApiError(SafelightError):
    """The service refused. status: of the HTTP answer. type: the problem's URI (RFC 9457), None when the answer is no
    problem document. request_id: finds the request in the service's log. retry_after_s: when to come back, None when it
    does not say. members: whatever else the problem holds, such as the quality of a picture that was too poor."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        title: str,
        retryable: bool,
        type: str | None,
        request_id: str | None,
        retry_after_s: int | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.members = members or {}
        self.status, self.title, self.retryable = status, title, retryable
        self.type, self.request_id, self.retry_after_s = type, request_id, retry_after_s

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"

    @property
    def detail(self) -> str:
        """The public sentence that helps."""
        return str(self.args[0])


class Unreachable(SafelightError):
    """No answer came: the service is not there, or did not answer in time."""

    status = 503
    retryable = True
    title = "The service cannot be reached"


class DetectOptions(TypedDict, total=False):
    """What is left out, or None, is the service's default. model: a name that `models` lists. threshold: least
    confidence, in (0, 1]. classes: labels to keep. latitude, longitude: of where the picture was taken, in degrees; zip: a
    US ZIP code; the service keeps coarse forms of them only and gives those back."""

    model: str | None
    threshold: float | None
    classes: Sequence[str] | None
    latitude: float | None
    longitude: float | None
    zip: str | None


class ReadOptions(TypedDict, total=False):
    """What is left out, or None, is the service's default. model: the name of a reader that `models` lists. zipcode: of where
    the picture was taken, a US ZIP code; the service keeps its first three digits only and gives those back."""

    model: str | None
    zipcode: str | None


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request of one method and path, and how its answer is read. headers: of its content."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def result(self, response: httpx.Response) -> T:
        """Raises ApiError for a refusal."""
        if response.is_error:
            raise error_of(response)
        return self.read(response)


def detect(image: Image, options: DetectOptions) -> Call[Answer]:
    query = query_of(options)
    return Call("POST", "/v1/detect", lambda response: read_answer(response.json()), query, file_bytes(image))


def render(image: Image, options: DetectOptions) -> Call[bytes]:
    query = {**query_of(options), "render": "png"}
    return Call("POST", "/v1/detect", lambda response: response.content, query, file_bytes(image))


def read(image: Image, options: ReadOptions) -> Call[Reading]:
    query = _told(options)
    return Call("POST", "/v1/read", lambda response: read_reading(response.json()), query, file_bytes(image))


def read_several(images: Sequence[Image], options: ReadOptions) -> Call[list[Reading | Unread]]:
    content, headers = form_of([file_bytes(image) for image in images])
    path, query = "/v1/read:batch", _told(options)
    return Call("POST", path, lambda response: read_results(response.json()), query, content, headers)


def models() -> Call[list[ModelInfo]]:
    return Call("GET", "/v1/models", lambda response: read_models(response.json()))


def ready() -> Call[bool]:
    return Call("GET", "/readyz", lambda response: True)


def query_of(options: DetectOptions) -> dict[str, str]:
    """Options as they stand in the query; those that are None are left out."""
    written = {**options, "classes": None if (classes := options.get("classes")) is None else ",".join(classes)}
    return _told(written)


def form_of(files: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """Files as a form (RFC 7578), each in a field `image` under a name that tells nothing, and the headers that say so."""
    parts = [("image", ("image", data, "application/octet-stream")) for data in files]
    request = httpx.Request("POST", "http://form", files=parts)
    return request.read(), {"content-type": request.headers["content-type"]}


def _told(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items() if value is not None}


def file_bytes(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    return image.read_bytes() if isinstance(image, Path) else encode_png(image)


def error_of(response: httpx.Response) -> ApiError:
    """The error that a refusal stands for, whether it is a problem document or a proxy's page."""
    problem: Any = None
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        try:
            problem = response.json()
        except ValueError:
            problem = None
    if not isinstance(problem, dict):
        problem = {}
    return ApiError(
        str(problem.get("detail", "The answer does not say why.")),
        status=response.status_code,
        title=str(problem.get("title", response.reason_phrase)),
        retryable=bool(problem.get("retryable", response.status_code in _RETRYABLE)),
        type=problem.get("type"),
        request_id=problem.get("request_id"),
        members={name: value for name, value in problem.items() if name not in _PROBLEM},
        retry_after_s=int(after) if (after := response.headers.get("retry-after", "")).isdecimal() else None,
    )
