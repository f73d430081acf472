"""The table of families in docs/export.md is the one that the benchmark measured."""

from __future__ import annotations

import importlib
import json

import pytest

from tests.conftest import ROOT


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("export_families")


@pytest.fixture(scope="module")
def results():
    return json.loads((ROOT / "bench/export_families.json").read_text())


def test_the_page_shows_what_was_measured(bench, results):
    assert bench.table(results) in (ROOT / "docs/export.md").read_text()


def test_every_family_was_sure_and_agrees(bench, results):
    assert [row["family"] for row in results["families"]] == ["yolov3_tiny", *bench.TINY]
    for row in results["families"]:
        assert row["least_best_score"] >= bench.SURE, row["family"]
        assert row["graph"]["exporter"] == "dynamo" and set(row["parity"]) == {"1", "2", "8"}, row["family"]


def test_a_refused_graph_is_told(bench, results):
    row = results["families"][0] | {"parity": {"refused": "batch 1: too far"}}
    assert "refused: batch 1: too far" in bench.row(row)
