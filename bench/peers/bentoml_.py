"""BentoML: a picture in, boxes out, one worker a core (https://docs.bentoml.com/en/latest/build-with-bentoml/iotypes.html,
and the example BentoYolo).

    bentoml serve peers.bentoml_:Boxes

`raw` takes the body as it is (a root input), `batched` is adaptive batching as BentoYolo has it.
"""

from __future__ import annotations

from typing import Any

import bentoml
from PIL.Image import Image

from peers.detector import Detector


@bentoml.service(workers=1, threads=4, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Boxes:
    def __init__(self) -> None:
        self.detector = Detector.of_environment()

    @bentoml.api
    def detect(self, image: Image) -> list[dict[str, Any]]:
        return [dict(found) for found in self.detector.look(image)]

    @bentoml.api
    def raw(self, image: Image, /) -> list[dict[str, Any]]:
        return [dict(found) for found in self.detector.look(image)]

    @bentoml.api(batchable=True, max_batch_size=8)
    def batched(self, images: list[Image]) -> list[list[dict[str, Any]]]:
        return [[dict(found) for found in self.detector.look(image)] for image in images]
