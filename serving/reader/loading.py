"""A base that was verified, opened for all readers that share it. Imported when the first of them is started.

Knows nothing of routes, and nothing of which readers there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from safelight.bundle import Bundle, VariantName
from safelight.errors import DeadlineExceeded
from safelight.manifest import Pinned
from safelight.reader import golden
from safelight.reader.manifest import ADAPTER, DECODER, EMBEDDING, TOKENIZER, VISION, BaseManifest, ReaderManifest
from serving.model_settings import Runtime
from serving.models import reading
from serving.models.observer import Observer
from serving.models.served import VariantState
from serving.reader.adapter import Adapter, open_adapter
from serving.reader.constraint import Tokens
from serving.reader.engine import Engine
from serving.reader.graphs import Floats, Graphs, open_graphs
from serving.reader.predictor import Ask, LeftS
from serving.reader.row import Read
from serving.settings import Settings

_HANGS_S = 10.0
"""A base that has run nothing for so long, while somebody waited, is not merely busy."""
_ELSEWHERE = 10.0
"""How much further than on a CPU a golden log-probability may be off (`serving.models.shelf`)."""

_QUEUE = 65_536
"""Requests that may wait for a base: far more than there are threads of readers to bring them (`readers.rows`)."""


class Hung(RuntimeError):
    """The base does not come back from a run."""


class Base:
    """bundle: verified. graphs: of it. decoder: the file that the decoder's graph came from. variants: what became of each.
    rows: answers that are worked on at a time. ran: told of each run of the decoder (rows, seconds). slack: on golden
    tolerances. clock: monotonic seconds."""

    def __init__(
        self,
        bundle: Bundle[BaseManifest],
        graphs: Graphs,
        *,
        decoder: str,
        variants: Mapping[VariantName, VariantState],
        rows: int,
        ran: Callable[[int, float], None],
        slack: float,
        clock: Callable[[], float],
    ) -> None:
        self._manifest, self._digest = bundle.manifest, bundle.digest
        of = self._manifest.architecture
        self._tokens = Tokens(bundle.files[TOKENIZER].decode(), of.vocabulary, of.eos_token_ids)
        self._engine = Engine(graphs, self._tokens, rows=rows, queue=_QUEUE, clock=clock, ran=self._noted)
        self._ran = ran
        self.variants = variants
        self._decoder, self._slack, self._clock = decoder, slack, clock
        self._ran_at = clock()

    @property
    def image_side(self) -> int:
        """Pixels of the square that it looks at."""
        return self._manifest.architecture.image_side

    def asking(self, bundle: Bundle[ReaderManifest], told: Callable[[int, int], None]) -> Ask:
        """What asks this base with an adapter, after a look at its golden readings. told: how many tokens of each answer were
        chosen, and forced. Raises ManifestInvalid when the two do not fit, or do not answer as they did at export."""
        manifest = bundle.manifest
        manifest.check_base(self._manifest, self._digest)
        adapter = open_adapter(
            manifest, bundle.digest, bundle.files[ADAPTER], self._manifest.architecture, self._tokens
        )
        self._engine.warm(adapter)
        if expected := manifest.golden.get(self._decoder):
            golden.check(expected, lambda picture: self._golden(picture, adapter), self.image_side, self._slack)

        def ask(picture: Floats, left_s: LeftS) -> Read:
            read = self._ask(picture, adapter, left_s)
            told(read.chosen, len(read.token_ids) - read.chosen)
            return read

        return ask

    def close(self) -> None:
        """Stop the engine; what is under way ends with ModelUnavailable."""
        self._engine.stop()

    def _ask(self, picture: Floats, adapter: Adapter, left_s: LeftS) -> Read:
        """Raises Hung, which is the model's fault, where it was not the request's time that was too short."""
        asked = self._clock()
        try:
            return self._engine.read(picture, adapter, left_s=left_s)
        except DeadlineExceeded:
            if self._clock() - max(asked, self._ran_at) < _HANGS_S:
                raise
            self._engine.terminate()
            raise Hung from None

    def _golden(self, picture: Floats, adapter: Adapter) -> tuple[str, float]:
        read = self._engine.read(picture, adapter, left_s=lambda: math.inf)
        return read.text, read.log_probability

    def _noted(self, rows: int, seconds: float) -> None:
        self._ran_at = self._clock()
        self._ran(rows, seconds)


def open_base(
    pinned: Pinned, runtime: Runtime, settings: Settings, observer: Observer, clock: Callable[[], float]
) -> Base:
    """The very base that an adapter names, verified and opened.

    Raises BundleError when it is not there, not signed by a trusted key or another one, ConfigError when it cannot run where
    it should.
    """
    bundle = reading.read_pinned(pinned, settings, BaseManifest, lambda manifest: _files(manifest, runtime))
    manifest, files, decoder = bundle.manifest, bundle.files, _decoder(bundle.manifest, runtime)
    graphs = open_graphs(
        manifest.architecture,
        vision=files[VISION],
        embedding=files[EMBEDDING],
        decoder=files[decoder],
        threads=runtime.threads,
        provider=runtime.provider,
    )
    return Base(
        bundle,
        graphs,
        decoder=decoder,
        variants=_states(manifest, runtime),
        rows=settings.readers.rows,
        ran=partial(observer.ran, pinned.name, "base"),
        slack=1.0 if runtime.provider == "cpu" else _ELSEWHERE,
        clock=clock,
    )


def _decoder(manifest: BaseManifest, runtime: Runtime) -> str:
    variant = manifest.variants.get("int8") if runtime.precision == "int8" else None
    return DECODER if variant is None else variant.file


def _files(manifest: BaseManifest, runtime: Runtime) -> frozenset[str]:
    """Those that are wanted in memory: of the decoders, one."""
    return frozenset({VISION, EMBEDDING, TOKENIZER, _decoder(manifest, runtime)})


def _states(manifest: BaseManifest, runtime: Runtime) -> dict[VariantName, VariantState]:
    wanted = runtime.precision == "int8"
    if "int8" in manifest.variants:
        return {"int8": "in use" if wanted else "available"}
    return {"int8": "missing"} if wanted else {}
