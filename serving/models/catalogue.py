"""The routes that requests may ask for, each with the pool of models behind it. Knows nothing of HTTP, and neither of ONNX
Runtime."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from safelight.errors import ConfigError, UnknownModel
from serving.models.pool import Pool
from serving.privacy import logs

log = logs.logger()


class Catalogue:
    """pools: by route. default: the route of those that name none. check_s: seconds between two looks at what is to be
    served. retry_every: at which of these looks what was refused is tried again."""

    def __init__(self, pools: Mapping[str, Pool], default: str, *, check_s: float, retry_every: int) -> None:
        self.default = default
        self.pools = dict(pools)
        self._check_s, self._retry_every = check_s, retry_every
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def load(self) -> None:
        """Find, verify, load and warm every model. Raises ConfigError when not one of the routes can be served."""
        for pool in self.pools.values():
            pool.refresh(retry=True)
        if not any(pool.primary for pool in self.pools.values()):
            reasons = " ".join(f"{m.name}: {m.failure}" for pool in self.pools.values() for m in pool.everyone)
            raise ConfigError(f"No model can be served. {reasons}")

    def watch(self) -> None:
        """From now on, take up versions as they come, in a thread that ends with `close`."""
        self._watcher = threading.Thread(target=self._watch, name="safelight-watch", daemon=True)
        self._watcher.start()

    def pool(self, name: str | None) -> Pool:
        """The pool of a route, of the default one for None. Raises UnknownModel."""
        pool = self.pools.get(self.default if name is None else name)
        if pool is None:
            raise UnknownModel(f"Expected one of the models {', '.join(self.pools)}.")
        return pool

    def close(self) -> None:
        """Take no more work."""
        self._stop.set()
        for pool in self.pools.values():
            pool.close()

    def _watch(self) -> None:
        look = 0
        while not self._stop.wait(self._check_s):
            look += 1
            for name, pool in self.pools.items():
                try:
                    pool.refresh(retry=look % self._retry_every == 0)
                except Exception as error:  # a mistake of ours must not end the watch
                    log.error("watch_failed", model=name, error=error)
