"""A typed client of the gateway: pictures in, detections or readings out, sealed on the way.

    with Client("http://127.0.0.1:3000") as client:
        answer = client.detect(Path("photo.jpg"), model="coco")
        print(answer.counts)
        print(client.read(Path("key.jpg")).fields)

`AsyncClient` is the same with `await`. Nothing is written here; that a request is tried again is logged by stamina, without
what it holds.
"""

from safelight.client.answers import Annotation, Answer, ModelInfo, ModelName
from safelight.client.calls import ApiError, DetectOptions, Image, ReadOptions, Unreachable
from safelight.client.clients import AsyncClient, Client
from safelight.client.readings import Reading, Unread

__all__ = [
    "Annotation",
    "Answer",
    "ApiError",
    "AsyncClient",
    "Client",
    "DetectOptions",
    "Image",
    "ModelInfo",
    "ModelName",
    "ReadOptions",
    "Reading",
    "Unreachable",
    "Unread",
]
