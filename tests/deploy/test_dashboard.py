"""The dashboard and the alerts fit the figures that the service has, as far as that shows without Prometheus or Grafana."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.telemetry.metrics import Metrics
from tests.conftest import ROOT
from tests.deploy.boards import DASHBOARD, METRIC, PROMETHEUS, dashboard, panel_queries, panels, rule_queries, rules

PROMETHEUS_OWN = {"instance", "job", "le"}
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Every figure as Prometheus stores it, with its labels."""
    metrics = Metrics(CollectorRegistry())
    return {
        metric._name + suffix: set(metric._labelnames)
        for name, metric in vars(metrics).items()
        if not name.startswith("_")
        for suffix in SUFFIXES[metric._type]
    }


def test_panels_have_ids_and_places_of_their_own():
    found = dashboard()["panels"]
    assert len({panel["id"] for panel in found}) == len(found) > 20
    places = Counter(
        (x, y)
        for grid in (panel["gridPos"] for panel in found)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    )
    assert set(places.values()) == {1}
    assert {x for x, _ in places} == set(range(24))


def test_every_panel_asks_the_data_source_that_was_chosen():
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["title"] and panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}
    assert variables["datasource"]["current"]["value"] == source["uid"] and source["type"] == "prometheus"
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__rate_interval", "__all"}
    assert used == set(variables)


def test_what_should_be_seen_is_on_the_dashboard(known):
    asked = set().union(*(query.metrics for query in panel_queries()))
    families = {
        name.rsplit("_", 1)[0] if name.endswith(("_total", "_sum", "_count", "_bucket")) else name for name in known
    }
    shown = {
        name.rsplit("_", 1)[0] if name.endswith(("_total", "_sum", "_count", "_bucket")) else name for name in asked
    }
    assert shown == families  # nothing is kept that nobody looks at


@pytest.mark.parametrize("query", [*panel_queries(), *rule_queries()], ids=lambda query: query.of)
def test_every_expression_speaks_of_figures_and_labels_that_there_are(query, known):
    assert query.metrics <= set(known), query.metrics - set(known)
    for name, labels in query.selectors:
        assert labels <= known[name] | PROMETHEUS_OWN, (name, labels)
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert set(re.findall(r"\w+:\w+:\w+", query.expr)) <= recorded


def test_every_alert_is_tested_and_explained():
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert fired == alerts
    text = (ROOT / "docs" / "observability.md").read_text()
    assert {name for name in alerts if f"`{name}`" in text} == alerts
    assert all(rule["labels"]["severity"] in ("page", "ticket") for rule in rules() if "alert" in rule)


def test_every_figure_is_explained_and_no_other(known):
    text = (ROOT / "docs" / "observability.md").read_text()
    shown = set(METRIC.findall(text))
    described = {name for name in known if not name.endswith(("_bucket", "_sum", "_count"))}
    described |= {name.removesuffix("_bucket") for name in known if name.endswith("_bucket")}
    described |= {"safelight_challenger_agreement"}
    assert shown == described
