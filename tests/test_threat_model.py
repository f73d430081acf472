"""Every promise of docs/threat-model.md names a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCUMENT = ROOT / "docs/threat-model.md"
NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ADVERSARIES = ("network", "relay", "client", "tenant", "disk", "operator", "live key", "bundle")


def promises() -> list[list[str]]:
    """The rows of the table under "Promises", as their cells."""
    section = re.search(r"^## Promises\n(.*?)^## ", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", promises(), ids=lambda row: row[0][:40])
def test_a_promise_is_held_by_tests_that_exist(row):
    promise, mechanism, held_by = row
    assert promise and mechanism
    nodes = NODE.findall(held_by)
    assert nodes and not NODE.sub("", held_by).strip(), "expected tests and nothing else in the last column"
    for path, name in nodes:
        assert (ROOT / path).is_file(), f"{path} is gone"
        assert name.startswith("test_") and name in functions(ROOT / path), f"{name} is gone from {path}"


def test_there_are_promises_and_each_stands_once():
    said = [row[0] for row in promises()]
    assert len(said) >= 20 and len(set(said)) == len(said)


def test_every_adversary_has_a_part():
    headings = " ".join(re.findall(r"^### (.+)$", DOCUMENT.read_text(), re.MULTILINE)).lower()
    assert [name for name in ADVERSARIES if name not in headings] == []


def test_links_lead_somewhere():
    text = DOCUMENT.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (DOCUMENT.parent / target).exists(), target
