"""The settings of readers: which answer /v1/read, what they run on, when a picture is too poor, and what is remembered.

Knows nothing of how they are read (`serving/settings.py`) or of what they are used for.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from serving.model_settings import Frozen, Name, Pool, Precision, Provider


class Cache(Frozen):
    """Answers that are remembered for the very same pixels. entries: at most, 0 for none. seconds: for how long. sealed:
    whether those to sealed requests are, too, which ties requests to each other in memory."""

    entries: int = Field(ge=0, le=1_000_000)
    seconds: float = Field(gt=0)
    sealed: bool


class Readers(Frozen):
    """routes: what requests to /v1/read may ask for, each the champion of that name or a pool. default: of those who name
    none. pools: several models behind a route. rows: pictures that one base reads at a time. queue: pictures that wait for
    each reader. precision: of the decoder, int8 where the base has such a graph. threads: of ONNX Runtime within one run, 0
    for one a core. provider: where the graphs run. batch: pictures in one request to /v1/read:batch. quality: limits in
    place of the usual ones and of the manifest's (`safelight.reader.quality`)."""

    routes: tuple[Name, ...]
    default: Name | None
    pools: dict[str, Pool]
    rows: int = Field(ge=1, le=256)
    queue: int = Field(ge=0)
    precision: Precision
    threads: int = Field(ge=0)
    provider: Provider
    batch: int = Field(ge=1, le=64)
    quality: dict[str, float]
    cache: Cache

    @model_validator(mode="after")
    def _routes_hold(self) -> Readers:
        if len(set(self.routes)) != len(self.routes):
            raise ValueError("routes must be distinct")
        if self.default is not None and self.default not in self.routes:
            raise ValueError("default must be one of routes")
        if self.routes and self.default is None:
            raise ValueError("default must be one of routes where there are some")
        if not set(self.pools) <= set(self.routes):
            raise ValueError("pools must be of routes")
        if any(pool.answer == "fused" for pool in self.pools.values()):
            raise ValueError("readers answer first by first: what several of them read cannot be fused")
        return self
