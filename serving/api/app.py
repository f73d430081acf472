"""The one ASGI application with every public route. Knows nothing of BentoML.

From the outside in: `Measured` (figures and traces), `Audit` (a record of each request), `SecurityHeaders` and `Cors` (what
browsers may do), `UnderWay` (how many at a time), `Sealed` (opens sealed requests and goes on with the inner ones),
`Boundary` (ids, failures), `Admission` (who asks, and how often), `SealedOnly` (what must be sealed), `Direct` and FastAPI
(routes).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp

from safelight.images import ImageLimits
from safelight.sealing.ohttp import GATEWAY_PATH, KEYS_PATH
from serving.api.boundary import Boundary
from serving.api.detect import DetectRoute
from serving.api.direct import Direct
from serving.api.lazy import Lazy
from serving.api.models import ModelsRoute
from serving.api.read import ReadRoute
from serving.models.catalogue import Catalogue
from serving.page.page import PAGE_PATHS
from serving.privacy.access import Access, Admission, require_scopes
from serving.privacy.audit import UNAUDITED, Audit, Sink
from serving.privacy.gate import Gate
from serving.privacy.headers import Cors, SecurityHeaders
from serving.privacy.intake import Intake
from serving.privacy.listeners import Listeners
from serving.privacy.multipart import FRAMING_BYTES
from serving.privacy.policy import SealedOnly
from serving.privacy.sealed import Sealed
from serving.reader.catalogue import KeyCatalogue, load_keys
from serving.resilience.memory import Budget
from serving.resilience.pace import Pace
from serving.resilience.underway import UnderWay
from serving.settings import Settings
from serving.telemetry.telemetry import Telemetry

PATHS = ("/v1/detect", "/v1/read", "/v1/read:batch", "/v1/models", "/openapi.json", KEYS_PATH, GATEWAY_PATH)
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
    now: Callable[[], float] = time.time,
    known: KeyCatalogue | None = None,
) -> ASGIApp:
    """The application. gate: opens sealed requests. access: who may ask. listeners: the addresses it is reached at.
    new_id: a fresh random id. clock: monotonic seconds. audit: where records of requests go.
    telemetry: counts requests, if anybody does. now: seconds since the epoch. known: of what is read, the file that is
    shipped unless given. Raises ConfigError when that file does not hold.

    Loads nothing else: `catalogue`, `gate` and `access` are loaded later.
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
    read = ReadRoute(
        catalogue,
        intake,
        images,
        settings.readers,
        load_keys() if known is None else known,
        timeout_s=limits.request_timeout_s,
        pictures=limits.pictures,
        clock=clock,
        now=now,
    )
    models = ModelsRoute(catalogue)

    def framework() -> ASGIApp:
        from serving.api.documented import documented

        return documented(settings, detect, read, models)

    require_scopes(PATHS)
    direct = {
        ("POST", "/v1/detect"): detect.detect,
        ("POST", "/v1/read"): read.read,
        ("POST", "/v1/read:batch"): read.read_several,
        ("GET", "/v1/models"): models.models,
    }
    routed = Direct(Lazy(framework), direct)
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
