"""FastAPI: an upload and a plain function, which FastAPI runs in a thread since it blocks; what it returns is declared, so
that pydantic writes the JSON (https://fastapi.tiangolo.com/tutorial/request-files/ and /async/).

    uvicorn peers.fastapi_:app --workers 1 --no-access-log

`/raw` is what an expert might do: no form, the body as it is.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, File, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from peers.detector import Detector

app = FastAPI()
detector = Detector.of_environment()


class Box(BaseModel):
    class_name: str
    confidence: float
    box: list[float]


@app.post("/detect")
def detect(image: Annotated[bytes, File()]) -> list[Box]:
    return [Box(**found) for found in detector(image)]


@app.post("/raw")
async def raw(request: Request) -> list[Box]:
    found = await run_in_threadpool(detector, await request.body())
    return [Box(**one) for one in found]


@app.get("/ready")
def ready() -> bool:
    return True
