"""Moving the champion and the challenger: champion.json and MLflow's `@champion`, challenger.json and `@challenger` go
together, or go together after the next command.

champion.json is the truth, for it is what serving believes. A move is written down before its first step; whoever finds it
written down completes it (`reconcile`), so a process that dies between two steps leaves nothing that stays half done.
Knows nothing of why a version deserves to be served: gates come before the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from safelight.bundle import Champion
from safelight.errors import BundleError, ManifestInvalid, PromotionError
from safelight.manifest import Described
from training.registry.champions import RECEIPTS, Champions, Intent
from training.registry.registered import Registered

STEPS = ("intent", "champion", "history", "challenger", "alias", "receipt", "challenger alias", "finished")

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

    def challenger(self) -> Registered | None:
        """What `@challenger` points at."""
        ...

    def set_challenger(self, registered: Registered | None) -> None:
        """Point `@challenger` at an entry; None: at nothing."""
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
    """Serve `champion` from now on. Its bundle lies in the folder and in the registry. Raises PromotionError otherwise.

    If it was on trial, nothing is any more.
    """
    history = champions.history().promoted(champions.champion(), champion)
    on_trial = _still_on_trial(champions, champion)
    intent = Intent(champion=champion, history=history, challenger=on_trial, receipt=receipt)
    _move(champions, aliases, champion, intent, after)


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
        champions.read(new, public_keys, Described, lambda manifest: ())
    except BundleError as error:
        raise PromotionError(
            f"{champions.name} {new.version}, the champion before, cannot be served again: {error.detail} "
            f"Restore its folder, or promote another version (version=...)."
        ) from None
    on_trial = _still_on_trial(champions, new)
    _move(champions, aliases, new, Intent(champion=new, history=history.rolled_back(old), challenger=on_trial), after)
    return old, new


def challenge(
    champions: Champions, aliases: Aliases, challenger: Champion | None, after: After = lambda step: None
) -> None:
    """Put a version on trial beside the champion, in the place of another one; None: nothing is on trial any more.

    Raises PromotionError when there is no champion to try it beside, when it is the champion, or when it does not lie in the
    folder and in the registry.
    """
    champion = champions.champion()
    if champion is None and challenger is None:
        champions.set_challenger(None)
        aliases.set_challenger(None)
        return
    if champion is None:
        raise PromotionError(f"{champions.name} has no champion that a challenger could be tried beside. Promote one.")
    if challenger is not None and challenger.version == champion.version:
        raise PromotionError(f"{champions.name} {champion.version} is the champion. A challenger is another version.")
    intent = Intent(champion=champion, history=champions.history(), challenger=challenger)
    _move(champions, aliases, challenger, intent, after)


def reconcile(champions: Champions, aliases: Aliases, after: After = lambda step: None) -> list[str]:
    """Complete the move that somebody began, and point the aliases at what the files name. Returns what was done.

    Raises RegistryUnavailable when the registry does not answer; a move then stays written down.
    """
    said = []
    intent = champions.intent()
    if intent is not None and not champions.holds(intent.champion):
        said.append(
            f"gave up an unfinished move to {intent.champion.version}: {champions.lack(intent.champion)} is not here any more"
        )
        champions.finish()
    elif intent is not None:
        _complete(champions, aliases, intent, after)
        said.append(f"completed an unfinished move to {_named(intent)}")
    return said + _champion_in_agreement(champions, aliases) + _challenger_in_agreement(champions, aliases)


def _champion_in_agreement(champions: Champions, aliases: Aliases) -> list[str]:
    said: list[str] = []
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


def _challenger_in_agreement(champions: Champions, aliases: Aliases) -> list[str]:
    """A clone without challenger.json takes nobody's alias away: that is only told."""
    try:
        challenger = champions.challenger()
    except ManifestInvalid as error:
        champions.set_challenger(None)
        return [f"nothing is on trial any more: {error.detail}"]
    if challenger is not None and challenger == champions.champion():
        champions.set_challenger(None)
        aliases.set_challenger(None)
        return [f"nothing is on trial any more: {challenger.version} is the champion"]
    pointed = aliases.challenger()
    if challenger is None:
        told = "but nothing is on trial here: bring it here (dvc pull) or end the trial (pipelines.challenge --clear)"
        return [f"@challenger points at version {pointed.version}, {told}"] if pointed else []
    entry = aliases.find(challenger.version)
    if entry is None:
        return [f"this registry does not know {challenger.version}, which is on trial: @challenger cannot point at it"]
    if pointed is not None and pointed.bundle_version == challenger.version:
        return []
    aliases.set_challenger(entry)
    was = f"version {pointed.version}" if pointed else "nothing"
    return [f"@challenger pointed at {was}; it is version {entry.version} again, as {challenger.version} is on trial"]


def _still_on_trial(champions: Champions, champion: Champion) -> Champion | None:
    """The challenger beside a new champion: the same as before, unless it is the new champion itself."""
    challenger = champions.challenger()
    stays = challenger is not None and challenger.version != champion.version and champions.holds(challenger)
    return challenger if stays else None


def _named(intent: Intent) -> str:
    trial = f", with {intent.challenger.version} on trial" if intent.challenger else ""
    return f"{intent.champion.version}{trial}"


def _move(champions: Champions, aliases: Aliases, moved: Champion | None, intent: Intent, after: After) -> None:
    if moved is not None and (lack := champions.lack(moved)):
        raise PromotionError(f"Expected {lack} in its folder.")
    if moved is not None and aliases.find(moved.version) is None:
        raise PromotionError(f"The registry does not know {champions.name} {moved.version}. Register it.")
    champions.begin(intent)
    after("intent")
    _complete(champions, aliases, intent, after)


def _complete(champions: Champions, aliases: Aliases, intent: Intent, after: After) -> None:
    """All steps after the first; doing one again changes nothing."""
    champions.set_champion(intent.champion)
    after("champion")
    champions.set_history(intent.history)
    after("history")
    challenger = intent.challenger if intent.challenger and champions.holds(intent.challenger) else None
    champions.set_challenger(challenger)
    after("challenger")
    entry = aliases.find(intent.champion.version)
    if entry is not None:
        aliases.set_champion(entry)
        after("alias")
        receipt = champions.folder / RECEIPTS / (intent.receipt or "")
        if intent.receipt is not None and receipt.is_file():
            aliases.keep_receipt(entry, receipt)
        after("receipt")
    on_trial = aliases.find(challenger.version) if challenger else None
    if on_trial is not None or challenger is None:
        aliases.set_challenger(on_trial)
    after("challenger alias")
    champions.finish()
    after("finished")
