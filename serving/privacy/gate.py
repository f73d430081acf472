"""What the service needs to open sealed requests: private keys, openers, the memory of what was seen.

Nothing is read or made before `load`; what cannot be had then stops the service. Knows nothing of ASGI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from safelight.errors import ConfigError, UnknownKey
from safelight.sealing.keys import gateway_keys
from safelight.sealing.keystore import KEM_IDS, Key, KeyStore
from safelight.sealing.ohttp.config import GatewayKey, encode_keys
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.protocol import Opener
from serving.privacy.kms import KmsWatch
from serving.privacy.replay import ReplayStore, open_store
from serving.resilience.dependency import dependency_breaker
from serving.settings import AwsMessages, Settings

_FORGET_AFTER_S = 60.0


class Gate:
    """settings: the service's. now: seconds since the epoch."""

    def __init__(self, settings: Settings, *, now: Callable[[], float]) -> None:
        self.settings, self.now = settings.sealing, now
        self._max_bytes = settings.limits.envelope_bytes
        self._store = KeyStore(self.settings.keys, now)
        self._replay: ReplayStore | None = None
        self._in_use: frozenset[str] = frozenset()
        self._retired: frozenset[str] = frozenset()
        self._retired_at = 0.0
        self._elsewhere: frozenset[str] = frozenset()
        self._ready_for: tuple[Key, ...] = ()
        self._ready: Sequence[GatewayKey] = ()
        self.openers: Sequence[Opener] = (OhttpOpener(self._gateway_keys, chunked=self.settings.chunked),)

    def load(self, *, reach: bool = True) -> None:
        """Make the keys that are missing, read them, open the replay store. reach: whether one that is elsewhere has to be
        there now. Raises ConfigError."""
        self._store.ensure((*self.settings.kinds, *self.settings.aws.kinds))
        self._store.in_use()
        self._replay = open_store(self.settings.replay, self.now, reach=reach)
        if self.settings.aws.kinds or self.settings.aws.kms_keys:
            self._take_aws_messages(self.settings.aws)

    def _take_aws_messages(self, settings: AwsMessages) -> None:
        from safelight.sealing.aws import AwsOpener, ContextPolicy, kms_keyring  # half a second, for those who use it

        watch = KmsWatch(dependency_breaker("KMS"))
        kms = [kms_keyring(arn, endpoint_url=settings.kms_endpoint, attend=watch.attend) for arn in settings.kms_keys]
        opener = AwsOpener(
            lambda: [key for key in self._store.in_use() if key.kind in settings.kinds],
            ContextPolicy(settings.context_keys),
            max_bytes=self._max_bytes,
            kms=kms,
        )
        opener.load()
        self._elsewhere = frozenset(keyring.key_id for keyring in kms)
        self.openers = (self.openers[0], watch.over(opener) if kms else opener)

    def not_ready(self) -> str | None:
        """Why sealed requests cannot be opened now, or None."""
        if self._replay is None:
            return "The keys are not loaded."
        if not self._store.in_use():
            return "No key is in use."
        return None

    def key_configs(self) -> bytes:
        """What clients may seal to, as application/ohttp-keys: the newest key of each kind, in the settings' order."""
        newest: dict[str, Key] = {}
        for key in reversed(self._store.in_use()):
            newest[key.kind] = key
        offered = tuple(newest[kind] for kind in self.settings.kinds if kind in KEM_IDS and kind in newest)
        return encode_keys([key.config for key in gateway_keys(offered)])

    def first_time(self, key_id: str, token: bytes, until: float | None) -> bool:
        """Whether an envelope was not seen before; it is from now on. May block.

        Raises ReplayStoreDown, and UnknownKey for a key that retired while the envelope was on its way.
        """
        if self._replay is None:
            raise ConfigError("Expected the gate to be loaded before the first request.")
        in_use = self._keys_in_use(key_id)
        self._forget_retired(self._replay, in_use)
        return self._replay.reserve(key_id, token, until)

    def first_time_at_once(self, key_id: str, token: bytes, until: float | None) -> bool | None:
        """As `first_time` where that takes no waiting; else None, and `first_time` is to be asked."""
        if self._replay is None or self._retired or self._keys_in_use(key_id) != self._in_use:
            return None
        return self._replay.reserve_at_once(key_id, token, until)

    def _gateway_keys(self) -> Sequence[GatewayKey]:
        """Those of Oblivious HTTP that are in use, made ready once for as long as they are."""
        keys = self._store.in_use()
        if keys != self._ready_for:
            self._ready_for, self._ready = keys, gateway_keys(keys)
        return self._ready

    def _keys_in_use(self, key_id: str) -> frozenset[str]:
        """The names of all of them. Raises UnknownKey when this one is not among them."""
        in_use = self._elsewhere | {key.name for key in self._store.in_use()}
        if key_id not in in_use:
            raise UnknownKey()
        return in_use

    def _forget_retired(self, replay: ReplayStore, in_use: frozenset[str]) -> None:
        """Forget the envelopes of keys that have been out of use for a while. Not at once: another worker, which looks into
        the folder a little later, may still open with such a key, or may have made one that is not seen here yet."""
        now = self.now()
        if in_use != self._in_use:
            self._in_use, self._retired, self._retired_at = in_use, replay.undated() - in_use, now
        elif self._retired and now - self._retired_at > _FORGET_AFTER_S:
            replay.forget(self._retired)
            self._retired = frozenset()
