"""What a client is made with, checked before anything is sent."""

from __future__ import annotations

import time
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any, Literal, TypedDict

import httpx

from safelight.errors import ConfigError
from safelight.sealing.ohttp.session import OhttpSession
from safelight.sealing.protocol import Session
from safelight.sealing.session import PlainSession

CHUNK_ABOVE = 1024 * 1024


class Options(TypedDict, total=False):
    """seal: the protocol that seals requests and answers (default: ohttp); None sends plaintext, to this machine or over
    https only. pins: fingerprints of the keys to trust (`python -m safelight.sealing.keys export` prints one); without
    them keys are taken from this machine or over https only. keys: the service's key configurations
    (application/ohttp-keys), had by other means, so that they are not fetched. keyring: what aws-encryption-sdk seals with, see
    `safelight.sealing.aws`. relay: URL of an Oblivious HTTP relay, so that the service does not see the client's address.
    chunk_above: larger bodies go in chunks, None for never. api_key: travels inside the envelope. timeout_s: for
    connecting, and for each wait for data. attempts: how often a request is sent at most, while its failure may pass by
    itself. deadline_s: for all attempts and the waits between them; the service is told what is left. None: as long as they
    take."""

    seal: Literal["ohttp", "aws-encryption-sdk"] | None
    pins: Collection[str]
    keys: bytes | None
    keyring: Any
    relay: str | None
    chunk_above: int | None
    api_key: str | None
    timeout_s: float
    attempts: int
    deadline_s: float | None


def session_of(url: httpx.URL, options: Options) -> Session | None:
    """What seals the requests, None for plaintext.

    Raises ConfigError when pictures would travel, or keys be fetched, in a way that others could read or change.
    """
    seal, pins = options.get("seal", "ohttp"), options.get("pins", ())
    if options.get("relay") and seal != "ohttp":
        raise ConfigError(
            "Expected ohttp with a relay: it passes on nothing else, and a request past it shows who asks."
        )
    safe = url.scheme == "https" or is_this_machine(url.host)
    if seal is None:
        if not safe:
            raise ConfigError("Expected https, or an address of this machine: pictures must not travel in the clear.")
        return None
    if seal == "ohttp":
        keys = options.get("keys")
        if not (safe or pins or keys):
            raise ConfigError("Expected https, an address of this machine, pins or keys: others could put in theirs.")
        above = options.get("chunk_above", CHUNK_ABOVE)
        return OhttpSession(pins=pins, keys=keys, chunk_above=above, now=time.time)
    if seal == "aws-encryption-sdk":
        if options.get("keyring") is None:
            raise ConfigError("Expected a keyring for aws-encryption-sdk, see safelight.sealing.aws.")
        from safelight.sealing.aws import AwsWrapper

        return PlainSession(AwsWrapper(options["keyring"]))
    raise ConfigError("Expected seal to be ohttp, aws-encryption-sdk or None.")


def is_this_machine(host: str) -> bool:
    """Whether a host is a loopback address, or localhost."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
