"""The models this process serves, each with its state. A bundle that is not provably right never gets past `load`.

Knows nothing of HTTP, and neither of ONNX Runtime: how a bundle is read and how it is opened are given. A request asks
for a model each time it needs one, so that an entry may be replaced while others are still being used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from safelight.bundle import Bundle, Manifest, VariantName
from safelight.errors import BundleError, ConfigError, ModelUnavailable, UnknownModel
from serving.detector.predictor import Predictor
from serving.privacy import logs

log = logs.logger()
State = Literal["waiting", "ready", "failed"]
VariantState = Literal["in use", "available", "missing"]


@dataclass(frozen=True)
class Served:
    """A model that answers. digest: SHA-256 of the manifest. close: frees what it holds, on the event loop. least_side: what
    the longer side of a decoded JPEG has to keep, None for all of it. variants: what became of each."""

    manifest: Manifest
    digest: str
    predictor: Predictor
    close: Callable[[], None]
    least_side: int | None = None
    variants: Mapping[VariantName, VariantState] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A model by name. failure: a public sentence when it is not served. served: set when ready."""

    name: str
    state: State
    failure: str | None = None
    served: Served | None = None


class Catalogue:
    """names: the models to serve. read: name to verified bundle, raises BundleError. start: makes a bundle answer,
    raises BundleError. default: the model of those that do not name one."""

    def __init__(
        self, names: Sequence[str], default: str, *, read: Callable[[str], Bundle], start: Callable[[Bundle], Served]
    ) -> None:
        self.default = default
        self._read, self._start = read, start
        self._entries = {name: Entry(name, "waiting") for name in names}

    def load(self) -> None:
        """Find, verify, load and warm every model. Raises ConfigError when not one of them can be served."""
        for name in self._entries:
            self._entries[name] = self._load(name)
        if not any(entry.served for entry in self._entries.values()):
            reasons = " ".join(f"{entry.name}: {entry.failure}" for entry in self._entries.values())
            raise ConfigError(f"No model can be served. {reasons}")

    def entries(self) -> list[Entry]:
        """Every model, in the order of the settings."""
        return list(self._entries.values())

    def ready(self) -> bool:
        """Whether requests that name no model can be answered."""
        return self._entries[self.default].served is not None

    def served(self, name: str | None) -> Served:
        """A model that answers, the default one for None. Raises UnknownModel or ModelUnavailable."""
        entry = self._entries.get(self.default if name is None else name)
        if entry is None:
            raise UnknownModel(f"Expected one of the models {', '.join(self._entries)}.")
        if entry.served is None:
            raise ModelUnavailable(f"The model {entry.name} is {entry.state}; /v1/models says why.")
        return entry.served

    def close(self) -> None:
        """Free every model, on the event loop."""
        for entry in self._entries.values():
            if entry.served is not None:
                entry.served.close()

    def _load(self, name: str) -> Entry:
        try:
            served = self._start(self._read(name))
        except BundleError as error:
            log.error("model_refused", model=name, error=error)
            return Entry(name, "failed", error.detail)
        log.info("model_ready", model=name, version=served.manifest.version)
        return Entry(name, "ready", served=served)
