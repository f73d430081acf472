"""Moving the champion: champion.json and MLflow's `@champion` go together, or go together after the next command.

champion.json is the truth, for it is what serving believes. A move is written down before its first step; whoever finds it
written down completes it (`reconcile`), so a process that dies between two steps leaves nothing that stays half done.
Knows nothing of why a version deserves to be served: gates come before the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from safelight.bundle import Champion
from safelight.errors import BundleError, PromotionError
from training.registry.champions import RECEIPTS, Champions, Intent
from training.registry.registered import Registered

STEPS = ("intent", "champion", "history", "alias", "receipt", "finished")

After = Callable[[str], None]
"""Called with the name of each step that is done."""


class Aliases(Protocol):
    """What of a model registry a move needs. Every method raises RegistryUnavailable when it does not answer."""

    def find(self, bundle_version: str) -> Registered | None:
        """The entry of a bundle's version."""
        ...

    def champion(self) -> Registered | None:
        """What `@champion` points at."""
        ...

    def set_champion(self, registered: Registered) -> None:
        """Point `@champion` at an entry."""
        ...

    def keep_receipt(self, registered: Registered, receipt: Path) -> None:
        """Log a receipt with an entry."""
        ...


def promote(
    champions: Champions,
    aliases: Aliases,
    champion: Champion,
    *,
    receipt: str | None = None,
    after: After = lambda step: None,
) -> None:
    """Serve `champion` from now on. Its bundle lies in the folder and in the registry. Raises PromotionError otherwise."""
    history = champions.history().promoted(champions.champion(), champion)
    _move(champions, aliases, Intent(champion=champion, history=history, receipt=receipt), after)


def roll_back(
    champions: Champions,
    aliases: Aliases,
    public_keys: Sequence[Path],
    after: After = lambda step: None,
) -> tuple[Champion, Champion]:
    """Serve the champion before the present one again. Returns (the one that was served, the one that is now).

    Raises PromotionError when there is none, or when its bundle no longer verifies.
    """
    old, history = champions.champion(), champions.history()
    if old is None or not history.previous:
        raise PromotionError(f"{champions.name} has no champion before the present one to return to.")
    new = history.previous[-1]
    try:
        champions.read(new, public_keys)
    except BundleError as error:
        raise PromotionError(
            f"{champions.name} {new.version}, the champion before, cannot be served again: {error.detail} "
            f"Restore its folder, or promote another version (version=...)."
        ) from None
    _move(champions, aliases, Intent(champion=new, history=history.rolled_back(old)), after)
    return old, new


def reconcile(champions: Champions, aliases: Aliases, after: After = lambda step: None) -> list[str]:
    """Complete the move that somebody began, and point `@champion` at what champion.json names. Returns what was done.

    Raises RegistryUnavailable when the registry does not answer; a move then stays written down.
    """
    said = []
    intent = champions.intent()
    if intent is not None and not champions.holds(intent.champion):
        said.append(f"gave up an unfinished move to {intent.champion.version}: its bundle is not here any more")
        champions.finish()
    elif intent is not None:
        _complete(champions, aliases, intent, after)
        said.append(f"completed an unfinished move to {intent.champion.version}")
    champion = champions.champion()
    pointed = aliases.champion()
    if champion is None:
        return said
    entry = aliases.find(champion.version)
    if entry is None:
        said.append(f"this registry does not know {champion.version}, which is served: @champion cannot point at it")
    elif pointed is None or pointed.bundle_version != champion.version:
        aliases.set_champion(entry)
        was = f"version {pointed.version}" if pointed else "nothing"
        said.append(f"@champion pointed at {was}; it is version {entry.version} again, as {champion.version} is served")
    return said


def _move(champions: Champions, aliases: Aliases, intent: Intent, after: After) -> None:
    if not champions.holds(intent.champion):
        raise PromotionError(f"Expected the bundle {intent.champion.version} of {champions.name} in its folder.")
    if aliases.find(intent.champion.version) is None:
        raise PromotionError(f"The registry does not know {champions.name} {intent.champion.version}. Register it.")
    champions.begin(intent)
    after("intent")
    _complete(champions, aliases, intent, after)


def _complete(champions: Champions, aliases: Aliases, intent: Intent, after: After) -> None:
    """All steps after the first; doing one again changes nothing."""
    champions.set_champion(intent.champion)
    after("champion")
    champions.set_history(intent.history)
    after("history")
    entry = aliases.find(intent.champion.version)
    if entry is not None:
        aliases.set_champion(entry)
        after("alias")
        receipt = champions.folder / RECEIPTS / (intent.receipt or "")
        if intent.receipt is not None and receipt.is_file():
            aliases.keep_receipt(entry, receipt)
        after("receipt")
    champions.finish()
    after("finished")
