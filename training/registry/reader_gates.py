"""What a reader must show before it is served in the champion's place. The gates that it shares with detectors (data card,
latency, not rolled back) are in gates.py, and so is what a verdict is.

Figures are those in the manifests, measured on the graphs that are served. Knows nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safelight.bundle import CARD
from safelight.reader.manifest import BaseManifest, ReaderManifest
from training.registry.gates import Verdict, unmeasured_gate

TEST = "test"


def figure(metrics: Mapping[str, Any], path: str) -> float | None:
    """The figure at a path such as `test/valid/unconstrained`; None where there is none."""
    value: Any = metrics
    for step in path.split("/"):
        value = value.get(step) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def targets_gate(manifest: ReaderManifest, binding: bool) -> Verdict:
    """Is every target of the task met, as evaluation found it (training/vlm/evaluation/targets.py)? binding: else it is only
    said."""
    told = manifest.metrics.get("targets")
    found = dict(_targets(told, ())) if isinstance(told, Mapping) else {}
    if not found:
        return Verdict("targets", True, "the task sets no targets")
    short = [
        f"{name} is {'not measured' if one['value'] is None else format(one['value'], '.3f')} (expected {one['at_least']:g})"
        for name, one in found.items()
        if not one["met"]
    ]
    said = "; ".join(short) or f"{len(found)} targets are met"
    figures = {name: {key: one[key] for key in ("value", "at_least", "met")} for name, one in found.items()}
    return Verdict(
        "targets", not short or not binding, said + ("" if binding or not short else "; binds nobody"), figures
    )


def _targets(told: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each target by its path."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            where = (*place, name)
            yield from [("/".join(where), value)] if "at_least" in value else _targets(value, where)


def comparison_gate(
    candidate: ReaderManifest, champion: ReaderManifest, path: str, margin: float, accepted: bool
) -> Verdict:
    """Is the figure at `path` no more than `margin` below the champion's, on the very same test records?

    accepted: whether somebody said that two that cannot be compared may change places all the same.
    """
    ours, theirs = digest_of_test(candidate), digest_of_test(champion)
    if ours is None or ours != theirs:
        return unmeasured_gate("candidate and champion were not measured on the same test records", accepted)
    mine, its = figure(candidate.metrics, path), figure(champion.metrics, path)
    if mine is None or its is None:
        return unmeasured_gate(f"{path} was not measured of both", accepted)
    said = f"{path} {mine:.3f} against {its:.3f} (allowed {-margin:+.3f})"
    figures = {"candidate": mine, "champion": its, "margin": margin, "test_sha256": ours}
    return Verdict("quality", mine - its >= -margin - 1e-9, said, figures)


def digest_of_test(manifest: ReaderManifest) -> str | None:
    """SHA-256 of the test records that a reader was measured on, if its bundle says so."""
    data = manifest.configuration.get("data")
    splits = data.get("splits") if isinstance(data, Mapping) else None
    found = splits.get(TEST) if isinstance(splits, Mapping) else None
    return found if isinstance(found, str) else None


def parity_gate(parity: Mapping[str, Any], least: int) -> Verdict:
    """Did the graphs answer as torch does, token for token, on every picture, and on at least so many?"""
    equal, pictures = (parity.get(name) for name in ("equal", "pictures"))
    if not isinstance(equal, int) or not isinstance(pictures, int):
        return Verdict("parity", False, "expected how many pictures were compared, and how many were read alike")
    figures = {"equal": equal, "pictures": pictures, "least": least}
    if pictures < least:
        return Verdict("parity", False, f"{pictures} pictures were compared (at least {least})", figures)
    said = f"{equal} of {pictures} pictures are read token for token as torch reads them"
    return Verdict("parity", equal == pictures, said, figures)


def manifest_gate(reader: ReaderManifest, base: BaseManifest, clean_commit: bool = False) -> Verdict:
    """Do the manifests of a reader and its base say all there is to say?"""
    lacks = [*_unsaid(reader, clean_commit), *(f"the base: {lack}" for lack in _unsaid(base, clean_commit))]
    if reader.data_digest is None:
        lacks.append("there is no digest of the training data")
    if not reader.metrics.get(TEST):
        lacks.append("there are no figures on test records")
    lacks += [f"the configuration lacks {k}" for k in ("model", "data", "seed") if k not in reader.configuration]
    said = "manifests, digests and signatures of adapter and base hold" if not lacks else "; ".join(lacks)
    return Verdict("manifest", not lacks, said, {"lacks": lacks})


def _unsaid(manifest: ReaderManifest | BaseManifest, clean_commit: bool) -> list[str]:
    lacks = []
    if manifest.git_commit == "unknown":
        lacks.append("the commit is unknown")
    if clean_commit and manifest.git_commit.endswith("-dirty"):
        lacks.append("the code differed from its commit")
    if not manifest.licence.strip():
        lacks.append("there is no licence")
    if CARD not in manifest.files:
        lacks.append("there is no model card")
    return lacks
