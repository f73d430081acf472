"""POST /v1/detect: an image in, boxes or the annotated picture out. Its requests are opened: it knows no sealing."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from safelight.bundle import Manifest
from safelight.detections import Detections
from safelight.drawing import draw
from safelight.images import ImageLimits, encode_png
from serving.api.options import DetectOptions
from serving.detector.picture import Picture
from serving.detector.predictor import Predictor
from serving.detector.wire import answer_json
from serving.models.catalogue import Catalogue
from serving.models.served import Served
from serving.privacy.intake import Intake
from serving.privacy.record import Record, Stage, record_of
from serving.resilience.deadline import Deadline

_DETECTING: tuple[Stage, ...] = ("preprocess", "wait", "infer", "postprocess")


class DetectRoute:
    """catalogue: the models. intake: takes the image in. limits: what is decoded. geohash_precision: characters that are
    kept of a place. timeout_s: from a request's arrival to its answer. pictures: how many are drawn at a time, each in a
    thread of its own. clock: seconds, monotonic."""

    def __init__(
        self,
        catalogue: Catalogue,
        intake: Intake,
        limits: ImageLimits,
        geohash_precision: int,
        *,
        timeout_s: float,
        pictures: int,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue, self._intake, self._limits = catalogue, intake, limits
        self._geohash_precision, self._timeout_s = geohash_precision, timeout_s
        self._drawings = anyio.CapacityLimiter(pictures)
        self._clock = clock

    async def detect(self, request: Request) -> Response:
        """Find the objects on one image, sent raw or in the form field `image`.

        Boxes are in pixels of the upright picture, its colours are taken as sRGB. The image is held in memory only, no
        longer than the answer takes.
        """
        record = record_of(request.scope)
        options = DetectOptions.parse(request.query_params.multi_items(), self._geohash_precision)
        pool = self._catalogue.pool(options.model)
        options.class_ids(pool.manifest.labels)
        timeout_s = self._timeout_s if options.timeout_s is None else min(self._timeout_s, options.timeout_s)
        deadline = Deadline(self._clock() if record.begun is None else record.begun, timeout_s, self._clock)
        async with self._intake.taking(request) as upload:
            arrived = self._clock()
            picture = Picture(upload.data, upload.media_type, self._limits, self._clock)
            looked = await pool.look(lambda served, record: _look(picture, options, served, record), record, deadline)
            (_, served), *_ = looked.by
            record.answered_by(served.manifest.name, served.digest)
            record.fallback_from = tuple(name for name, _ in looked.passed_over)
            if options.render:
                png = await anyio.to_thread.run_sync(_drawn, picture, looked.found, served, limiter=self._drawings)
                return Response(png, media_type="image/png")
        timing_ms = _timing_ms(record, self._clock() - arrived)
        answer = answer_json(upload.context.request_id, looked, timing_ms, options.location)
        return Response(answer, media_type="application/json")


def _look(picture: Picture, options: DetectOptions, served: Served[Manifest, Predictor], record: Record) -> Detections:
    """What one version of a model finds, in pixels of the whole picture. Raises InvalidOption for a class it does not know."""
    class_ids = options.class_ids(served.manifest.labels)
    image, size = picture.decoded(served.least_side, record)
    return served.looker.predict(image, options.threshold, class_ids, record).resized(size)


def _drawn(picture: Picture, found: Detections, served: Served[Manifest, Predictor]) -> bytes:
    return encode_png(draw(picture.whole(), found, served.manifest.labels))


def _timing_ms(record: Record, total_s: float) -> dict[str, float]:
    """Of the stages that were noted."""
    spent: dict[Stage, float] = dict.fromkeys(("decode", *_DETECTING), 0.0)
    for stage, begun, ended in record.stages:
        if stage in spent:
            spent[stage] += ended - begun
    detect_s = sum(spent[stage] for stage in _DETECTING)
    return {"decode": 1000 * spent["decode"], "detect": 1000 * detect_s, "total": 1000 * total_s}
