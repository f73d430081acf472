"""The Secrets that the manifests beside it name, made once and written as one file that git must not have.

    python deploy/kubernetes/make_secrets.py                         # writes deploy/secrets/kubernetes.yaml, mode 600
    kubectl --namespace safelight apply --filename deploy/secrets/kubernetes.yaml

Run from the project's root. All gateways must open the same envelopes, so their keys are made here and not by each of them.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

import yaml

from safelight.audit.key import AuditKey
from safelight.credentials import KeyFile
from safelight.sealing.keystore import KeyStore
from serving.settings import load_settings


def made(folder: Path, root: Path) -> list[dict[str, object]]:
    """The manifests. folder: an empty one, for what is made on the way. root: of the project, for its settings."""
    password = secrets.token_hex(32)
    KeyStore(folder / "sealing", time.time).ensure(load_settings(root, {}).sealing.kinds)
    AuditKey(folder / "audit.key")
    access = KeyFile(folder / "api-keys.jsonl")
    keys = {name: access.add(scopes, None, secrets.token_urlsafe)[0].encode() for name, scopes in SCOPES.items()}
    return [
        secret("safelight-sealing", {p.name: p.read_bytes() for p in (folder / "sealing").glob("*.key.json")}),
        secret("safelight-state", {"rates.salt": secrets.token_bytes(32), "audit.key": read(folder / "audit.key")}),
        secret("safelight-access", {"api-keys.jsonl": read(folder / "api-keys.jsonl")}),
        secret("safelight-redis", {
            "url": f"redis://:{password}@redis:6379/0".encode(), "redis_conf": f"requirepass {password}\n".encode(),
        }),
        secret("safelight-keys", keys),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "safelight-public-key"},
         "data": {"signing.pub": (root / ".safelight/signing.pub").read_text()}},
    ]  # fmt: skip


SCOPES = {"metrics": ["metrics"], "client": ["detect", "models"]}
"""The API keys of the Secret safelight-keys: Prometheus's, and a first client's. The gateways keep their digests only."""


def secret(name: str, values: dict[str, bytes]) -> dict[str, object]:
    data = {key: base64.b64encode(value).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name}, "data": data}


def read(path: Path) -> bytes:
    return path.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("deploy/secrets/kubernetes.yaml"))
    out: Path = parser.parse_args().out
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(
            f"{out} is there already: what is sealed to its keys could no longer be opened. Move it away to begin anew."
        )
    with os.fdopen(descriptor, "w") as file, tempfile.TemporaryDirectory() as folder:
        yaml.safe_dump_all(made(Path(folder), Path()), file, sort_keys=False)
    print(f"Written: {out}. Apply it, then put it where secrets are kept.")


if __name__ == "__main__":
    main()
