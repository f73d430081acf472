"""A typed client of the gateway: pictures in, detections out.

    with Client("http://127.0.0.1:3000") as client:
        answer = client.detect(Path("photo.jpg"), model="coco")
        print(answer.counts)

Knows nothing of sealing: a transport that seals (any `httpx.BaseTransport`) is passed in and sits underneath. Nothing
is logged, written or retried here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from safelight.errors import ConfigError, SafelightError
from safelight.images import encode_png

Image = bytes | Path | NDArray[np.uint8]
"""An image file's bytes, its path, or `(H, W, 3)` uint8 RGB pixels."""
_RETRYABLE = frozenset({408, 429, 502, 503, 504})


class ApiError(SafelightError):
    """The service refused. status: of the HTTP answer. type: the problem's URI (RFC 9457), None when the answer is no
    problem document. request_id: finds the request in the service's log."""

    def __init__(
        self, detail: str, *, status: int, title: str, retryable: bool, type: str | None, request_id: str | None
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.retryable = status, title, retryable
        self.type, self.request_id = type, request_id

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


@dataclass(frozen=True)
class ModelName:
    """Which model answered. digest: SHA-256 of its signed manifest."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Annotation:
    """One found object. box: xyxy in pixels of the upright picture. image_size: that picture's (width, height)."""

    class_name: str
    confidence: float
    box: tuple[float, float, float, float]
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """What was found on a picture, strongest first. counts: objects by class. timing_ms: by part of the work."""

    request_id: str
    model: ModelName
    counts: Mapping[str, int]
    annotations: tuple[Annotation, ...]
    timing_ms: Mapping[str, float]
    raw: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.annotations)

    def to_dict(self) -> dict[str, Any]:
        """The answer as it came over the wire."""
        return dict(self.raw)

    def detections(self, labels: Sequence[str], image_size: tuple[int, int]) -> Detections:
        """As `Detections`, with class ids that index `labels`. image_size: the upright picture's (width, height).

        Raises ValueError when an object's class is not among `labels`.
        """
        boxes = np.array([a.box for a in self.annotations], np.float32).reshape(-1, 4)
        scores = np.array([a.confidence for a in self.annotations], np.float32)
        ids = np.array([list(labels).index(a.class_name) for a in self.annotations], np.int64)
        return Detections(boxes, scores, ids, image_size)


@dataclass(frozen=True)
class ModelInfo:
    """A model that the service knows. state: waiting, ready or failed, with the reason in failure; what comes from the
    model's manifest is None unless it is ready."""

    name: str
    state: str
    failure: str | None
    version: str | None
    digest: str | None
    labels: tuple[str, ...] | None
    thresholds: Mapping[str, Any] | None
    metrics: Mapping[str, Any] | None


class Client:
    """A connection to one gateway; use it as a context manager, or call `close`.

    base_url: such as http://127.0.0.1:3000. transport: what carries the requests, by default plain httpx. timeout_s:
    for connecting, and for each wait for data. Raises ConfigError when pictures would travel to another machine in the
    clear.
    """

    def __init__(self, base_url: str, transport: httpx.BaseTransport | None = None, *, timeout_s: float = 60.0) -> None:
        url = httpx.URL(base_url)
        if transport is None and url.scheme != "https" and not _is_this_machine(url.host):
            raise ConfigError("Expected https, or an address of this machine: pictures must not travel in the clear.")
        self._http = httpx.Client(base_url=url, transport=transport, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def detect(
        self,
        image: Image,
        *,
        model: str | None = None,
        threshold: float | None = None,
        classes: Sequence[str] | None = None,
    ) -> Answer:
        """The objects on a picture. model, threshold, classes: None for the service's defaults.

        Raises ApiError when the service refuses, Unreachable when it does not answer.
        """
        raw = self._detect(image, _options(model, threshold, classes)).json()
        return Answer(
            request_id=raw["request_id"],
            model=ModelName(**raw["model"]),
            counts=raw["counts"],
            annotations=tuple(_annotation(item) for item in raw["annotations"]),
            timing_ms=raw["timing_ms"],
            raw=raw,
        )

    def render(
        self,
        image: Image,
        *,
        model: str | None = None,
        threshold: float | None = None,
        classes: Sequence[str] | None = None,
    ) -> bytes:
        """The picture with its boxes drawn, as PNG. Raises as `detect` does."""
        return self._detect(image, {**_options(model, threshold, classes), "render": "png"}).content

    def models(self) -> list[ModelInfo]:
        """What the service serves, and in which state. Raises as `detect` does."""
        names = ModelInfo.__dataclass_fields__
        listed = self._request("GET", "/v1/models").json()["models"]
        cards = [{name: card.get(name) for name in names} for card in listed]
        return [ModelInfo(**{**card, "labels": card["labels"] and tuple(card["labels"])}) for card in cards]

    def ready(self) -> bool:
        """Whether the service answers and its default model is ready."""
        try:
            self._request("GET", "/readyz")
        except (ApiError, Unreachable):
            return False
        return True

    def _detect(self, image: Image, options: Mapping[str, str]) -> httpx.Response:
        return self._request("POST", "/v1/detect", params=options, content=_file_bytes(image))

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **parts)
        except httpx.TransportError as error:
            raise Unreachable(f"No answer came ({type(error).__name__}).") from None
        if response.is_error:
            raise _error(response)
        return response


def _options(model: str | None, threshold: float | None, classes: Sequence[str] | None) -> dict[str, str]:
    given = {
        "model": model,
        "threshold": None if threshold is None else str(float(threshold)),
        "classes": None if classes is None else ",".join(classes),
    }
    return {name: value for name, value in given.items() if value is not None}


def _file_bytes(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    return image.read_bytes() if isinstance(image, Path) else encode_png(image)


def _annotation(item: Mapping[str, Any]) -> Annotation:
    data = item["data"]
    return Annotation(
        item["class_name"],
        item["confidence"],
        (data["x_min"], data["y_min"], data["x_max"], data["y_max"]),
        (data["image_width"], data["image_height"]),
    )


def _error(response: httpx.Response) -> ApiError:
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
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
