"""The gateway's settings: read once from `conf/serving/gateway.yaml` and the environment, frozen, complete or refused.

Knows nothing of what the values are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from safelight.errors import ConfigError
from serving.model_settings import Batching, Breaking, Pool, Runtime, Swap
from serving.reader_settings import Readers

PREFIX = "SAFELIGHT_"
SETTINGS = Path("conf/serving/gateway.yaml")
OPENING_COPIES = 2.5
"""How many times its size an envelope may need while it is opened."""
_ENVIRONMENT_ONLY = "allow_plaintext"


def _rooted(path: Path, info: ValidationInfo) -> Path:
    return (info.context or {}).get("root", Path()) / path  # type: ignore[no-any-return]  # the context is ours


def _rooted_unless_url(where: str, info: ValidationInfo) -> str:
    return where if where == "memory" or "://" in where else str(_rooted(Path(where), info))


RootedPath = Annotated[Path, AfterValidator(_rooted)]
"""A path that is relative to the project's root in the settings, and absolute once they are loaded."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


MediaType = Literal["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"]


class Limits(_Frozen):
    """max_bytes: of one image file. max_pixels: width x height. max_side: the longer of the two. media_types: what is read.
    memory_bytes: that all requests of a worker may hold of what was sent. requests: under way at a time in a worker.
    pictures: at a time. body_timeout_s: for a body to arrive; it has to come at body_min_bytes_per_s on average, after
    body_grace_s that do not count. connections: to a worker, at a time. head_bytes, head_timeout_s: for the head of a request.
    fetch_timeout_s: for a client that is behind to take some more of its answer."""

    max_bytes: int = Field(ge=1024)
    max_pixels: int = Field(ge=1)
    max_side: int = Field(ge=1)
    media_types: tuple[MediaType, ...] = Field(min_length=1)
    memory_bytes: int = Field(ge=1)
    requests: int = Field(ge=1)
    pictures: int = Field(ge=1)
    queue: int = Field(ge=0)
    request_timeout_s: float = Field(gt=0)
    body_timeout_s: float = Field(gt=0)
    body_min_bytes_per_s: float = Field(gt=0)
    body_grace_s: float = Field(gt=0)
    connections: int = Field(ge=1)
    head_bytes: int = Field(ge=1024)
    head_timeout_s: float = Field(gt=0)
    fetch_timeout_s: float = Field(gt=0)

    @model_validator(mode="after")
    def _one_fits(self) -> Limits:
        if self.memory_bytes < OPENING_COPIES * self.envelope_bytes:
            raise ValueError(f"memory_bytes must be at least {OPENING_COPIES * 2:g} x max_bytes: one envelope, opened")
        return self

    @property
    def envelope_bytes(self) -> int:
        """The most that a sealed request may hold: base64, padding and framing included."""
        return 2 * self.max_bytes


class Location(_Frozen):
    """geohash_precision: characters that are left of where a picture was taken; 4 is a cell of some 39 x 20 km."""

    geohash_precision: int = Field(ge=1, le=6)


class AwsMessages(_Frozen):
    """kinds: of key that AWS Encryption SDK messages may be sealed to, beside kms_keys: ARNs of keys in AWS KMS; where both
    are empty no such message is taken. kms_endpoint: of another service that speaks KMS. context_keys: what an encryption
    context may say."""

    kinds: tuple[Literal["aes-256", "rsa-3072"], ...]
    kms_keys: tuple[str, ...]
    kms_endpoint: str | None
    context_keys: tuple[str, ...] = Field(min_length=1)


class Sealing(_Frozen):
    """keys: folder of the private keys. kinds: of key that Oblivious HTTP offers, preferred first. chunked:
    whether chunked requests are taken. freshness_s: how far a request's date may be off. require_date:
    whether one without a date is turned away. replay: where accepted
    envelopes are remembered: memory, a Redis URL or an SQLite file. refusal_step_ms: refusals leave at multiples of it."""

    keys: RootedPath
    kinds: tuple[Literal["x25519", "mlkem768-x25519"], ...] = Field(min_length=1)
    chunked: bool
    freshness_s: float = Field(gt=0, le=3600)
    require_date: bool
    replay: Annotated[str, Field(min_length=1), AfterValidator(_rooted_unless_url)]
    refusal_step_ms: int = Field(ge=10, le=10_000)
    aws: AwsMessages


class JwtIssuer(_Frozen):
    """Whose tokens are taken. algorithm: the only one, whatever a token's header says. key: file with the shared secret
    (HS256) or the public key in PEM (EdDSA). audience: what `aud` must name. issuer: what `iss` must be, if anything."""

    algorithm: Literal["HS256", "EdDSA"]
    key: RootedPath
    audience: str = Field(min_length=1)
    issuer: str | None = Field(default=None, min_length=1)


class Access(_Frozen):
    """api_keys: file of API keys, None for none. jwt: issuers by a name of one's own. With neither, everybody may ask."""

    api_keys: RootedPath | None
    jwt: dict[str, JwtIssuer]

    @property
    def configured(self) -> bool:
        """Whether callers need credentials."""
        return self.api_keys is not None or bool(self.jwt)


Quota = Annotated[str, Field(pattern=r"^(none|[1-9][0-9]{0,8}/(second|minute|hour|day))$")]


class Rates(_Frozen):
    """limit: requests of one caller, or of one address. sealed_anonymous: of one address from which sealed requests without
    credentials come, since many may share a relay. store: where they are counted: memory or a Redis URL. salt: file of the
    secret that hides addresses in Redis."""

    limit: Quota
    sealed_anonymous: Quota
    store: str = Field(pattern=r"^(memory$|rediss?://|unix://)")
    salt: RootedPath


Origin = Annotated[str, Field(pattern=r"^https?://[0-9a-z.-]+(:[0-9]{1,5})?$|^https?://\[[0-9a-f:]+\](:[0-9]{1,5})?$")]


class Headers(_Frozen):
    """cors_origins: whose pages may call the service, as browsers write origins; none by default, never `*`."""

    cors_origins: tuple[Origin, ...]


class Audit(_Frozen):
    """folder: of the audit log, or none. key: the private key that signs it. checkpoint_every, checkpoint_s: records, or
    seconds, after which it is sealed. rotate_bytes: size at which a file is closed and another begun. fsync: whether a
    checkpoint waits for the disk."""

    folder: Literal["none"] | RootedPath
    key: RootedPath
    checkpoint_every: int = Field(ge=1)
    checkpoint_s: float = Field(gt=0, le=86_400)
    rotate_bytes: int = Field(ge=65_536)
    fsync: bool


class Telemetry(_Frozen):
    """traces: URL of an OTLP/HTTP collector, path included, or none. sample_ratio: the share of requests that are traced.
    continue_traces: whose `traceparent` is followed: nobody's, that of plain requests, or also the one outside of an
    envelope. drift: whether what networks see and find is compared with the reference in their manifests."""

    traces: Annotated[str, Field(pattern=r"^none$|^https?://[^\s/?#]+/[^\s?#]+$")]
    sample_ratio: float = Field(ge=0, le=1)
    continue_traces: Literal["none", "plain", "all"]
    drift: bool


class Settings(_Frozen):
    """All of the gateway's settings."""

    bundles: RootedPath
    public_keys: tuple[RootedPath, ...] = Field(min_length=1)
    models: tuple[str, ...] = Field(min_length=1)
    default_model: str
    workers: int = Field(ge=1)
    allow_plaintext: bool = False
    limits: Limits
    location: Location
    batching: Batching
    runtime: Runtime
    pools: dict[str, Pool]
    breaker: Breaking
    swap: Swap
    readers: Readers
    sealing: Sealing
    access: Access
    rates: Rates
    headers: Headers
    audit: Audit
    telemetry: Telemetry

    @model_validator(mode="after")
    def _default_is_served(self) -> Settings:
        if self.default_model not in self.models:
            raise ValueError("default_model must be one of models")
        if len(set(self.models)) != len(self.models):
            raise ValueError("models must be distinct")
        if not set(self.pools) <= set(self.models):
            raise ValueError("pools must be of routes that are in models")
        if set(self.readers.routes) & set(self.models):
            raise ValueError("readers.routes must be other names than those in models")
        if self.sealing.replay == "memory" and self.workers > 1:
            raise ValueError("sealing.replay must be a file or Redis when there are several workers")
        return self


def load_settings(root: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the project at `root`, with what `environ` overrides.

    Raises ConfigError on a missing file, an unknown key or a value that is not allowed; it names keys, never values.
    """
    try:
        document = yaml.safe_load((root / SETTINGS).read_bytes())
    except (OSError, yaml.YAMLError):
        raise ConfigError(f"Expected well-formed settings in {SETTINGS}.") from None
    if not isinstance(document, dict):
        raise ConfigError(f"Expected a mapping in {SETTINGS}.")
    if _ENVIRONMENT_ONLY in document:
        raise ConfigError(f"{_ENVIRONMENT_ONLY} may be set in the environment only, not in {SETTINGS}.")
    for name, value in environ.items():
        if name.startswith(PREFIX):
            _override(document, name.removeprefix(PREFIX).lower().split("__"), value)
    try:
        return Settings.model_validate(document, context={"root": root})
    except ValidationError as error:
        places = [f"{'.'.join(map(str, e['loc'])) or 'settings'} ({e['msg']})" for e in error.errors()]
        raise ConfigError(f"The gateway's settings do not hold at: {'; '.join(places)}.") from None


def _override(document: dict[str, Any], path: list[str], text: str) -> None:
    """Put an environment variable's text where it belongs; a list's items are separated by commas."""
    *groups, key = path
    for group in groups:
        inner = document.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{PREFIX}{'__'.join(path).upper()} points into {group}, which is no group of settings.")
        document = inner
    known = document.get(key)
    document[key] = [item.strip() for item in text.split(",") if item.strip()] if isinstance(known, list) else text
