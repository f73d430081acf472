"""A promotion's receipt: what every gate found about which version, and what came of it.

Knows nothing of files or of MLflow. The whole receipt has a date and this machine's times; the part that git keeps has
neither, so that it changes only when a decision or a figure does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from safelight.bundle import Champion, Manifest
from training.registry.gates import Verdict

ACCEPTED = "accepted"
REFUSED = "refused"


@dataclass(frozen=True)
class Receipt:
    """candidate: what was judged. champion: what was served then. test: test figures of both, reported and in no gate."""

    candidate: Champion
    champion: Champion | None
    verdicts: tuple[Verdict, ...]
    test: dict[str, Any]
    at: datetime

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        """The gates that said no."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def decision(self) -> str:
        """`accepted` when every gate passed, else `refused`."""
        return REFUSED if self.refusals else ACCEPTED

    @property
    def file_name(self) -> str:
        """Sorts by time, and says what was judged."""
        return f"{self.at:%Y%m%dT%H%M%S%f}Z-{self.candidate.version}.json"

    def to_dict(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {
            "schema_version": 1,
            "name": self.candidate.name,
            "version": self.candidate.version,
            "digest": self.candidate.digest,
            "champion": self.champion.model_dump(exclude={"name"}) if self.champion else None,
            "decision": self.decision,
            "at": self.at.isoformat(),
            "gates": [verdict.to_dict() for verdict in self.verdicts],
            "test": self.test,
        }

    def said(self) -> str:
        """Which gates refused, and by how much, in one line."""
        return "; ".join(f"{verdict.gate}: {verdict.said}" for verdict in self.refusals)


def repeatable(receipt: dict[str, Any]) -> dict[str, Any]:
    """The part of a receipt (as plain values) that the same candidate and champion give again on any machine.

    What a gate says is left out where it was measured here, for its words hold the figures.
    """
    return {
        "version": receipt["version"],
        "champion": receipt["champion"]["version"] if receipt["champion"] else None,
        "decision": receipt["decision"],
        "gates": {
            entry["gate"]: {"passed": entry["passed"], **entry["figures"]}
            | ({} if entry["measured"] else {"said": entry["said"]})
            for entry in receipt["gates"]
        },
        "test": receipt["test"],
    }


def test_figures(candidate: Manifest | None, champion: Manifest | None) -> dict[str, Any]:
    """mAP50 of both on their own test data, with intervals, for the reader alone."""
    both = {"candidate": candidate, "champion": champion}
    return {role: _map50(manifest) for role, manifest in both.items() if manifest is not None}


def said_of(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for each gate."""
    return [f"{'passed ' if v.passed else 'REFUSED'}  {v.gate:15}  {v.said}" for v in verdicts]


def _map50(manifest: Manifest) -> Any:
    test = manifest.metrics.get("test")
    return test.get("map50") if isinstance(test, dict) else None
