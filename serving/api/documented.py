"""The routes as FastAPI has them: documented, and answered where nothing else answers them first. Importing it costs as much
as importing the rest of the gateway, so that whoever can waits with it (`Lazy`)."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import safelight
from safelight.errors import SafelightError
from serving.api import openapi, openapi_reader, problems
from serving.api.detect import DetectRoute
from serving.api.models import ModelList, ModelsRoute
from serving.api.read import ReadRoute
from serving.detector.schemas import DetectAnswer
from serving.page.page import add_page
from serving.privacy.access import require_scopes
from serving.privacy.context import context_of
from serving.reader.schemas import BatchAnswer, FieldsAnswer, KeysAnswer
from serving.settings import Settings


def documented(settings: Settings, detect: DetectRoute, read: ReadRoute, models: ModelsRoute) -> FastAPI:
    """Every public route but those of sealing. Reads the page's files."""
    api = FastAPI(
        title="Safelight", version=safelight.__version__, description=openapi.DESCRIPTION,
        docs_url=None, redoc_url=None,  # their pages load scripts from elsewhere
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # it would tell too much
    )  # fmt: skip
    api.add_api_route(
        "/v1/detect", detect.detect, methods=["POST"], response_model=None,
        responses=openapi.detect_responses(DetectAnswer),
        openapi_extra=openapi.detect_request(settings.models, settings.default_model, settings.limits.media_types),
        tags=["detector"],
    )  # fmt: skip
    readers, media_types = settings.readers, settings.limits.media_types
    api.add_api_route(
        "/v1/read", read.read, methods=["POST"], response_model=None,
        responses=openapi_reader.read_responses(KeysAnswer | FieldsAnswer),
        openapi_extra=openapi_reader.read_request(readers.routes, readers.default, media_types), tags=["reader"],
    )  # fmt: skip
    api.add_api_route(
        "/v1/read:batch", read.read_several, methods=["POST"], response_model=None,
        responses=openapi_reader.batch_responses(BatchAnswer),
        openapi_extra=openapi_reader.batch_request(readers.routes, readers.default, readers.batch), tags=["reader"],
    )  # fmt: skip
    api.add_api_route(
        "/v1/models", models.models, methods=["GET"], response_model=None,
        responses=openapi.models_responses(ModelList), tags=["models"],
    )  # fmt: skip
    add_page(api)
    openapi.document_platform_routes(api)
    require_scopes(getattr(route, "path", "") for route in api.routes)
    api.add_exception_handler(SafelightError, _safelight_error)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(Exception, _unexpected)
    return api


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
