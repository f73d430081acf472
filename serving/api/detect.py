"""POST /v1/detect: an image in, boxes or the annotated picture out. Its requests are opened: it knows no sealing."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from safelight.detections import Detections
from safelight.drawing import draw
from safelight.images import ImageLimits, decode, decode_small, encode_png
from safelight.location import CoarseLocation
from serving.api.options import DetectOptions
from serving.detector.schemas import DetectAnswer, Location, ModelName, Timing, to_wire
from serving.models.catalogue import Catalogue, Served
from serving.privacy.context import Upload
from serving.privacy.intake import Intake
from serving.privacy.record import record_of


class DetectRoute:
    """catalogue: the models. intake: takes the image in. limits: what is decoded. geohash_precision: characters that are
    kept of a place. pictures: how many are decoded, looked at or drawn at a time, each in a thread of its own. clock:
    seconds, monotonic."""

    def __init__(
        self,
        catalogue: Catalogue,
        intake: Intake,
        limits: ImageLimits,
        geohash_precision: int,
        *,
        pictures: int,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue, self._intake, self._limits = catalogue, intake, limits
        self._geohash_precision = geohash_precision
        self._pictures = anyio.CapacityLimiter(pictures)
        self._clock = clock

    async def detect(self, request: Request) -> Response:
        """Find the objects on one image, sent raw or in the form field `image`.

        Boxes are in pixels of the upright picture, its colours are taken as sRGB. The image is held in memory only, no
        longer than the answer takes.
        """
        options = DetectOptions.parse(request.query_params.multi_items(), self._geohash_precision)
        served = self._catalogue.served(options.model)
        class_ids = options.class_ids(served.manifest.labels)
        async with self._intake.taking(request) as upload:
            answer = await anyio.to_thread.run_sync(
                self._answer, served, upload, options, class_ids, self._clock(), limiter=self._pictures
            )
        record_of(request.scope).answered_by(served.manifest.name, served.digest)
        return answer

    def _answer(
        self, served: Served, upload: Upload, options: DetectOptions, class_ids: list[int] | None, arrived: float
    ) -> Response:
        begun = self._clock()
        image, size = decode_small(upload.data, self._limits, served.least_side, upload.media_type)
        decoded = self._clock()
        found = served.predictor.predict(image, options.threshold, class_ids).resized(size)
        detected = self._clock()
        if options.render:
            if (image.shape[1], image.shape[0]) != size:
                image = decode(upload.data, self._limits, upload.media_type)
            return Response(encode_png(draw(image, found, served.manifest.labels)), media_type="image/png")
        timing = Timing(decode=_ms(decoded - begun), detect=_ms(detected - decoded), total=_ms(self._clock() - arrived))
        answer = _answer(upload.context.request_id, served, found, timing, options.location)
        return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def _answer(
    request_id: str, served: Served, found: Detections, timing: Timing, location: CoarseLocation | None
) -> DetectAnswer:
    manifest = served.manifest
    return DetectAnswer(
        request_id=request_id,
        model=ModelName(name=manifest.name, version=manifest.version, digest=served.digest),
        counts=found.counts(manifest.labels),
        annotations=to_wire(found, manifest.labels),
        timing_ms=timing,
        location=None if location is None else Location(geohash=location.geohash, zip3=location.zip3),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
