"""package: the champions, the challengers, what they cannot do without, and the gateway as a Bento; nothing of training.

`bentoml serve TAG` runs it, `bentoml containerize TAG` makes an image of it. The public key travels along, the private key
never does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pipelines.registry import settle
from pipelines.stage import stage, write_json
from safelight.bundle import CHALLENGER, CHAMPION, Role, read_bundle, read_champion, read_served
from safelight.errors import ConfigError
from safelight.manifest import Described
from safelight.reader.manifest import BaseManifest, ReaderManifest
from training.registry.bases import take_in

LOCK = Path("requirements.lock")
ROLES: dict[Role, str] = {"champion": CHAMPION, "challenger": CHALLENGER}


@stage("package")
def main(cfg: DictConfig) -> None:
    """Verify the champions, lay out the Bento's source folder, build, write the tag."""
    package(cfg)


def package(cfg: DictConfig) -> None:
    """See `main`. Raises ConfigError when there is nothing to package."""
    staging, bundles = Path(cfg.staging), Path(cfg.paths.bundles)
    public_key = Path(cfg.paths.signing_key).with_suffix(".pub")
    names = [
        name for name in (*cfg.models, *cfg.readers) if not cfg.those_there or (bundles / name / CHAMPION).exists()
    ]
    if not names:
        raise ConfigError("There is no champion to package. Promote one first.")
    settle(cfg, names)
    shutil.rmtree(staging, ignore_errors=True)
    versions = {name: lay_out(bundles, name, staging / "bundles", public_key) for name in names}
    for folder in cfg.folders:
        shutil.copytree(folder, staging / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (staging / ".safelight").mkdir()
    shutil.copy(public_key, staging / ".safelight" / public_key.name)
    tag = build_bento(cfg.name, cfg.service, staging, pinned(list(cfg.packages), LOCK), versions)
    shutil.rmtree(staging / "bundles")  # the Bento has them
    write_json(Path(cfg.written), {"tag": tag, "models": versions})
    Console(soft_wrap=True).print(f"package: {tag} with {', '.join(f'{n} {v}' for n, v in versions.items())}")


def lay_out(bundles: Path, name: str, target: Path, public_key: Path) -> str:
    """Put champion and challenger of a model, verified, and the bases that they adapt into `target`; the champion's version.
    Raises BundleError."""
    for role, pointer in ROLES.items():
        if (bundles / name / pointer).exists():
            manifest = read_served(bundles / name, [public_key], role, Described, lambda manifest: ()).manifest
            bring(bundles / name / manifest.version, target / name)
            shutil.copy(bundles / name / pointer, target / name / pointer)
            if isinstance(manifest, ReaderManifest):
                folder = bundles / manifest.base.name / manifest.base.version
                base = read_bundle(folder, [public_key], BaseManifest, lambda manifest: ())
                manifest.check_base(base.manifest, base.digest)
                bring(folder, target / manifest.base.name)
    return read_champion(bundles / name).version


def bring(bundle: Path, shelf: Path) -> None:
    """Lay a bundle into a folder of the Bento's; a base may lie there already."""
    if not (shelf / bundle.name).exists():
        take_in(bundle, shelf, linked=True)


def build_bento(name: str, service: str, staging: Path, packages: list[str], versions: dict[str, str]) -> str:
    """Build and store a Bento; returns its tag."""
    import bentoml

    bento = bentoml.build(
        service,
        name=name,
        build_ctx=str(staging),
        include=["**"],
        labels={f"{model}-version": version for model, version in versions.items()},
        python={"packages": packages, "lock_packages": False},
    )
    return str(bento.tag)


def pinned(packages: list[str], lock: Path) -> list[str]:
    """`packages` with the versions that the lock pins. Raises ConfigError when one is not in it."""
    pins: dict[str, list[str]] = {}
    for line in lock.read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            pins.setdefault(line.partition("==")[0].lower(), []).append(line.strip())
    missing = [package for package in packages if package not in pins]
    if missing:
        raise ConfigError(f"Expected every package in {lock.name}, {missing} are not.")
    return [pin for package in packages for pin in pins[package]]


if __name__ == "__main__":
    main()
