"""The sealing keys on the command line: `python -m safelight.sealing.keys rotate|list|retire|export`.

Knows nothing of the running service, which notices by itself what changes in the folder.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from safelight.errors import ConfigError
from safelight.sealing.keystore import KEM_IDS, KINDS, Key, KeyStore
from safelight.sealing.ohttp.config import GatewayKey, KeyConfig

FOLDER = Path(".safelight/sealing")


def gateway_keys(keys: tuple[Key, ...]) -> list[GatewayKey]:
    """Those of a store's keys that Oblivious HTTP uses, in the same order."""
    return [
        GatewayKey(key.name, KeyConfig(key.number, KEM_IDS[key.kind], key.public), key.secret)
        for key in keys
        if key.kind in KEM_IDS
    ]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    given = _parser().parse_args(arguments)
    store = KeyStore(given.folder, time.time)
    try:
        if given.command == "rotate":
            print(f"made {_describe(store.rotate(given.kind, 3600 * given.overlap_h))}")
        elif given.command == "retire":
            print(f"retired {store.retire(given.name).name}; requests sealed to it are refused from now on")
        elif given.command == "export":
            print(_export(store, given.name))
        else:
            for key in store.in_use():
                print(_describe(key))
    except ConfigError as error:
        print(error.detail, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m safelight.sealing.keys", description="The gateway's sealing keys.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where they are (default: {FOLDER})")
    commands = parser.add_subparsers(dest="command", required=True)
    rotate = commands.add_parser("rotate", help="make a new key; older ones of its kind retire after the overlap")
    rotate.add_argument("--kind", choices=KINDS, default="x25519")
    rotate.add_argument("--overlap-h", type=_hours, default=24.0, help="hours, at most a year (default: 24)")
    commands.add_parser("list", help="show the keys in use, newest first; never the secrets")
    retire = commands.add_parser("retire", help="delete a key now")
    retire.add_argument("name")
    export = commands.add_parser("export", help="print what a client needs: a pin, a public key, or the shared AES key")
    export.add_argument("name")
    return parser


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours <= 366 * 24:
        raise ValueError
    return hours


def _describe(key: Key) -> str:
    end = "in use" if key.retires is None else f"retires {_time(key.retires)}"
    return f"{key.name}  {key.kind:<16} number {key.number:<3}  made {_time(key.created)}  {end}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _export(store: KeyStore, name: str) -> str:
    key = next((key for key in store.in_use() if key.name == name), None)
    if key is None:
        raise ConfigError("Expected the name of a key that `list` shows.")
    if key.kind in KEM_IDS:
        return gateway_keys((key,))[0].config.fingerprint
    secret = key.secret if key.kind == "aes-256" else key.public
    return base64.b64encode(secret).decode()


if __name__ == "__main__":
    sys.exit(main())
