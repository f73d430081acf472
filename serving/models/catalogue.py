"""The routes that requests may ask for, each with the pool of models behind it. Knows nothing of HTTP, and neither of ONNX
Runtime."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from safelight.bundle import Manifest
from safelight.errors import ConfigError, ModelUnavailable, UnknownModel
from safelight.reader.manifest import ReaderManifest
from serving.detector.predictor import Predictor
from serving.models.pool import Pool
from serving.privacy import logs
from serving.reader.predictor import Reader

DetectorPool = Pool[Manifest, Predictor]
ReaderPool = Pool[ReaderManifest, Reader]
log = logs.logger()


class Catalogue:
    """pools: detectors, by route. default: the route of those that name none. check_s: seconds between two looks at what is
    to be served. retry_every: at which of these looks what was refused is tried again. readers, default_reader: the same of
    readers, of which there may be none."""

    def __init__(
        self,
        pools: Mapping[str, DetectorPool],
        default: str,
        *,
        check_s: float,
        retry_every: int,
        readers: Mapping[str, ReaderPool] | None = None,
        default_reader: str | None = None,
    ) -> None:
        self.default, self.default_reader = default, default_reader
        self.pools, self.readers = dict(pools), dict(readers or {})
        self._check_s, self._retry_every = check_s, retry_every
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def everything(self) -> tuple[DetectorPool | ReaderPool, ...]:
        """All pools, detectors first."""
        return (*self.pools.values(), *self.readers.values())

    def load(self) -> None:
        """Find, verify, load and warm every detector. Readers take seconds and are loaded by `watch`, unless there is no
        detector. Raises ConfigError when not one of the routes can be served."""
        for pool in self.pools.values():
            pool.refresh(retry=True)
        if any(pool.primary for pool in self.pools.values()):
            return
        self.load_readers()
        if not any(pool.primary for pool in self.readers.values()):
            reasons = " ".join(f"{m.name}: {m.failure}" for pool in self.everything for m in pool.everyone)
            raise ConfigError(f"No model can be served. {reasons}")

    def load_readers(self) -> None:
        """The same for readers, with the bases that they share. Raises ConfigError."""
        for pool in self.readers.values():
            pool.refresh(retry=True)

    def watch(self) -> None:
        """From now on, take up versions as they come, in a thread that ends with `close`; readers first of all."""
        self._watcher = threading.Thread(target=self._watch, name="safelight-watch", daemon=True)
        self._watcher.start()

    def pool(self, name: str | None) -> DetectorPool:
        """The detectors of a route, of the default one for None. Raises UnknownModel."""
        pool = self.pools.get(self.default if name is None else name)
        if pool is None:
            raise UnknownModel(f"Expected one of the models {', '.join(self.pools)}.")
        return pool

    def reader(self, name: str | None) -> ReaderPool:
        """The readers of a route, of the default one for None. Raises UnknownModel, or ModelUnavailable when the service
        has no readers at all."""
        wanted = self.default_reader if name is None else name
        if not self.readers:
            raise ModelUnavailable("This service has no readers: none is in its settings.")
        pool = None if wanted is None else self.readers.get(wanted)
        if pool is None:
            raise UnknownModel(f"Expected one of the readers {', '.join(self.readers)}.")
        return pool

    def close(self) -> None:
        """Take no more work."""
        self._stop.set()
        for pool in self.everything:
            pool.close()

    def _watch(self) -> None:
        look = 0
        if self.readers and not self._stop.is_set():
            self._refresh(self.readers, retry=True)
        while not self._stop.wait(self._check_s):
            look += 1
            retry = look % self._retry_every == 0
            self._refresh(self.pools, retry=retry)
            self._refresh(self.readers, retry=retry)

    def _refresh(self, pools: Mapping[str, DetectorPool] | Mapping[str, ReaderPool], *, retry: bool) -> None:
        for name, pool in pools.items():
            try:
                pool.refresh(retry=retry)
            except Exception as error:  # a mistake of ours must not end the watch
                log.error("watch_failed", model=name, error=error)
