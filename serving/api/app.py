"""The one ASGI application with every public route. Knows nothing of BentoML.

From the outside in: `Measured` (figures and traces), `Audit` (a record of each request), `SecurityHeaders` and `Cors` (what
browsers may do), `UnderWay` (how many at a time), `Sealed` (opens sealed requests and goes on with the inner ones),
`Boundary` (ids, failures), `Admission` (who asks, and how often), `SealedOnly` (what must be sealed), `Direct` and FastAPI
(routes).
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

import safelight
from safelight.errors import SafelightError
from safelight.images import ImageLimits
from safelight.sealing.ohttp import GATEWAY_PATH, KEYS_PATH
from serving.api import openapi, problems
from serving.api.boundary import Boundary
from serving.api.detect import DetectRoute
from serving.api.direct import Direct
from serving.api.models import ModelList, ModelsRoute
from serving.detector.schemas import DetectAnswer
from serving.models.catalogue import Catalogue
from serving.page.page import PAGE_PATHS, add_page
from serving.privacy.access import Access, Admission, require_scopes
from serving.privacy.audit import UNAUDITED, Audit, Sink
from serving.privacy.context import context_of
from serving.privacy.gate import Gate
from serving.privacy.headers import Cors, SecurityHeaders
from serving.privacy.intake import Intake
from serving.privacy.listeners import Listeners
from serving.privacy.multipart import FRAMING_BYTES
from serving.privacy.policy import SealedOnly
from serving.privacy.sealed import Sealed
from serving.resilience.memory import Budget
from serving.resilience.pace import Pace
from serving.resilience.underway import UnderWay
from serving.settings import Settings
from serving.telemetry.telemetry import Telemetry

PATHS = ("/v1/detect", "/v1/models", "/openapi.json", KEYS_PATH, GATEWAY_PATH)
OPEN_PATHS = ("/v1/models", "/openapi.json")
"""Those that neither take nor give anybody's data."""
_LINGER_S = 5.0


def create_app(
    settings: Settings,
    catalogue: Catalogue,
    gate: Gate,
    access: Access,
    *,
    listeners: Listeners,
    new_id: Callable[[], str],
    clock: Callable[[], float],
    audit: Sink = UNAUDITED,
    telemetry: Telemetry | None = None,
) -> ASGIApp:
    """The application. gate: opens sealed requests. access: who may ask. listeners: the addresses it is reached at.
    new_id: a fresh random id. clock: monotonic seconds. audit: where records of requests go.
    telemetry: counts requests, if anybody does.

    Reads nothing but the page's files and loads nothing: `catalogue`, `gate` and `access` are loaded later.
    """
    limits = settings.limits
    images = ImageLimits(limits.max_bytes, limits.max_pixels, limits.media_types, limits.max_side)
    pace = Pace(limits.body_timeout_s, limits.body_min_bytes_per_s, limits.body_grace_s)
    budget = Budget(limits.memory_bytes)
    intake = Intake(images, pace=pace, budget=budget)
    detect = DetectRoute(
        catalogue,
        intake,
        images,
        settings.location.geohash_precision,
        timeout_s=limits.request_timeout_s,
        pictures=limits.pictures,
        clock=clock,
    )
    api = FastAPI(
        title="Safelight", version=safelight.__version__, description=openapi.DESCRIPTION,
        docs_url=None, redoc_url=None,  # their pages load scripts from elsewhere
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # it would tell too much
    )  # fmt: skip
    api.add_api_route(
        "/v1/detect", detect.detect, methods=["POST"], response_model=None,
        responses=openapi.detect_responses(DetectAnswer),
        openapi_extra=openapi.detect_request(settings.models, settings.default_model, limits.media_types),
        tags=["detector"],
    )  # fmt: skip
    api.add_api_route(
        "/v1/models", ModelsRoute(catalogue).models, methods=["GET"], response_model=None,
        responses=openapi.models_responses(ModelList), tags=["models"],
    )  # fmt: skip
    add_page(api)
    openapi.document_platform_routes(api)
    require_scopes(getattr(route, "path", "") for route in api.routes)
    api.add_exception_handler(SafelightError, _safelight_error)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(Exception, _unexpected)
    routed = Direct(api, {("POST", "/v1/detect"): detect.detect})
    inner = SealedOnly(
        routed, open_paths={*OPEN_PATHS, *PAGE_PATHS}, allow_plaintext=settings.allow_plaintext, listeners=listeners
    )
    admitted = Admission(inner, access)
    bounded = Boundary(admitted, new_id=new_id, linger_bytes=2 * limits.max_bytes + FRAMING_BYTES, linger_s=_LINGER_S)
    opened = Sealed(
        bounded,
        gate,
        max_bytes=limits.envelope_bytes,
        linger_bytes=limits.max_bytes,
        pace=pace,
        budget=budget,
        clock=clock,
        new_id=new_id,
    )
    under_way = UnderWay(opened, limits.requests, new_id=new_id)
    marked = SecurityHeaders(Cors(under_way, settings.headers.cors_origins))
    audited = Audit(marked, audit, routes={*PATHS, *PAGE_PATHS}, clock=clock, new_id=new_id)
    return audited if telemetry is None else telemetry.measured(audited)


async def _safelight_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SafelightError)
    return problems.refusal(error, context_of(request.scope).request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = problems.of_status(error.status_code, context_of(request.scope).request_id)
    return problems.answer(problem, error.headers)


async def _unexpected(request: Request, _: Exception) -> Response:
    """FastAPI raises the error again once this is sent; `Boundary` logs it."""
    return problems.answer(problems.of_status(500, context_of(request.scope).request_id))
