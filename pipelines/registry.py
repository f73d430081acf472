"""A model's champion as the stages find it: its files and its registry by configuration, held by one process at a time.

Whoever asks for the champion here first completes what an interrupted promotion left undone, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from safelight.errors import RegistryUnavailable
from training.registry.aliases import Registry
from training.registry.champions import Champions
from training.registry.promotion import reconcile


def champions_of(cfg: DictConfig, name: str) -> Champions:
    """The files of a model's champion."""
    return Champions(Path(cfg.paths.bundles) / name)


def registry_of(cfg: DictConfig, name: str) -> Registry:
    """The model's entries in the registry that the configuration names."""
    return Registry(cfg.tracking.uri, name)


@contextmanager
def held(cfg: DictConfig, name: str) -> Iterator[tuple[Champions, Registry]]:
    """A model's champion, for this process alone, with champion.json and `@champion` in agreement.

    Raises RegistryUnavailable when the registry does not answer, PromotionError when another process holds on to it.
    """
    champions, registry = champions_of(cfg, name), registry_of(cfg, name)
    with champions.locked(cfg.tracking.lock_wait_s):
        registry.check()
        for sentence in reconcile(champions, registry):
            Console(soft_wrap=True).print(f"{name}: {sentence}", highlight=False)
        yield champions, registry


def settle(cfg: DictConfig, names: Sequence[str]) -> None:
    """Bring champion.json and `@champion` of each model into agreement, for those who only read champion.json.

    They can do without the registry, unless a promotion was left half done: then RegistryUnavailable is raised.
    """
    for name in names:
        champions = champions_of(cfg, name)
        try:
            with held(cfg, name):
                pass
        except RegistryUnavailable:
            if champions.intent() is not None:
                raise
            Console(soft_wrap=True).print(f"{name}: the registry does not answer; going by champion.json alone")
