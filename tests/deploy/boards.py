"""The dashboard and the alerts as they are shipped, and what their expressions speak of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.conftest import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "safelight.json"
METRIC = re.compile(r"(?<![\w:])safelight_[a-z_]+")
_SELECTOR = re.compile(r"(?<![\w:])(safelight_[a-z_]+)\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@dataclass(frozen=True)
class Query:
    """An expression, and where it is from: a panel's title or an alert's name."""

    of: str
    expr: str

    @property
    def metrics(self) -> set[str]:
        """Names of our figures, as Prometheus stores them."""
        return set(METRIC.findall(self.expr))

    @property
    def selectors(self) -> list[tuple[str, set[str]]]:
        """(Metric, the labels that are asked for) of each selector."""
        return [(name, set(_MATCHER.findall(inside))) for name, inside in _SELECTOR.findall(self.expr)]

    def asked(self, **variables: str) -> str:
        """The expression with the dashboard's variables put in."""
        text = self.expr
        for name, value in variables.items():
            text = text.replace(f"${name}", value)
        return text


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """All but the rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def panel_queries() -> Iterator[Query]:
    for panel in panels():
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"])


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rule_queries() -> Iterator[Query]:
    for rule in rules():
        yield Query(rule.get("alert") or rule["record"], rule["expr"])
