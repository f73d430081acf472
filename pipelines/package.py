"""package: the champions, the challengers and the gateway as a Bento, without anything of training.

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
from safelight.bundle import CHALLENGER, CHAMPION, read_challenger, read_champion, read_served
from safelight.errors import ConfigError

LOCK = Path("requirements.lock")


@stage("package")
def main(cfg: DictConfig) -> None:
    """Verify the champions, lay out the Bento's source folder, build, write the tag to `bento.json`."""
    staging = Path(cfg.staging)
    public_key = Path(cfg.paths.signing_key).with_suffix(".pub")
    settle(cfg, list(cfg.models))
    shutil.rmtree(staging, ignore_errors=True)
    versions = {}
    for name in cfg.models:
        source = Path(cfg.paths.bundles) / name
        read_served(source, [public_key])
        versions[name] = read_champion(source).version
        target = staging / "bundles" / name
        shutil.copytree(source / versions[name], target / versions[name])
        shutil.copy(source / CHAMPION, target / CHAMPION)
        challenger = read_challenger(source)
        if challenger is not None:
            read_served(source, [public_key], "challenger")
            shutil.copytree(source / challenger.version, target / challenger.version)
            shutil.copy(source / CHALLENGER, target / CHALLENGER)
    for folder in cfg.folders:
        shutil.copytree(folder, staging / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (staging / ".safelight").mkdir()
    shutil.copy(public_key, staging / ".safelight" / public_key.name)
    tag = build_bento(cfg.name, cfg.service, staging, pinned(list(cfg.packages), LOCK), versions)
    write_json(Path(cfg.paths.outputs) / "bento.json", {"tag": tag, "models": versions})
    Console(soft_wrap=True).print(f"package: {tag} with {', '.join(f'{n} {v}' for n, v in versions.items())}")


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
