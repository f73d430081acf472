"""A base that was verified, opened for all readers that share it. Imported when the first of them is started.

Knows nothing of routes, and nothing of which readers there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from safelight.bundle import Bundle, VariantName
from safelight.manifest import Pinned
from safelight.reader.manifest import ADAPTER, DECODER, EMBEDDING, TOKENIZER, VISION, BaseManifest, ReaderManifest
from serving.model_settings import Runtime
from serving.models import reading
from serving.models.served import VariantState
from serving.reader.adapter import open_adapter
from serving.reader.constraint import Tokens
from serving.reader.engine import Engine
from serving.reader.graphs import open_graphs
from serving.reader.predictor import Ask, LeftS
from serving.settings import Settings


class Base:
    """manifest, digest: of its bundle. engine: reads with it. tokens: its own. variants: what became of each."""

    def __init__(
        self,
        manifest: BaseManifest,
        digest: str,
        engine: Engine,
        tokens: Tokens,
        variants: Mapping[VariantName, VariantState],
    ) -> None:
        self._manifest, self._digest, self._engine, self._tokens = manifest, digest, engine, tokens
        self.variants = variants

    @property
    def image_side(self) -> int:
        """Pixels of the square that it looks at."""
        return self._manifest.architecture.image_side

    def asking(self, bundle: Bundle[ReaderManifest]) -> Ask:
        """What asks this base with an adapter. Raises ManifestInvalid when the two do not fit."""
        manifest, engine = bundle.manifest, self._engine
        manifest.check_base(self._manifest, self._digest)
        architecture = self._manifest.architecture
        adapter = open_adapter(manifest, bundle.digest, bundle.files[ADAPTER], architecture, self._tokens)

        def ask(picture: Any, left_s: LeftS) -> Any:
            return engine.read(picture, adapter, left_s=left_s)

        return ask

    def close(self) -> None:
        """Stop the engine; what is under way ends with ModelUnavailable."""
        self._engine.stop()


def open_base(pinned: Pinned, runtime: Runtime, settings: Settings, clock: Callable[[], float]) -> Base:
    """The very base that an adapter names, verified and opened.

    Raises BundleError when it is not there, not signed by a trusted key or another one, ConfigError when it cannot run where
    it should.
    """
    bundle = reading.read_pinned(pinned, settings, BaseManifest, lambda manifest: _files(manifest, runtime))
    manifest, files = bundle.manifest, bundle.files
    architecture = manifest.architecture
    tokens = Tokens(files[TOKENIZER].decode(), architecture.vocabulary, architecture.eos_token_ids)
    graphs = open_graphs(
        architecture,
        vision=files[VISION],
        embedding=files[EMBEDDING],
        decoder=files[_decoder(manifest, runtime)],
        threads=runtime.threads,
        provider=runtime.provider,
    )
    engine = Engine(graphs, tokens, rows=settings.readers.rows, clock=clock)
    return Base(manifest, bundle.digest, engine, tokens, _states(manifest, runtime))


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
