"""The sources of the browser client: types, their own tests, and that what is shipped is what they build."""

from __future__ import annotations

import json
import re

import pytest

from serving.page.page import DIST, FILES
from tests.web.conftest import WEB, needs_node_modules

MOST_BYTES = 400_000


@needs_node_modules
def test_types_hold(node):
    node("tsc", "--noEmit")


@needs_node_modules
def test_the_module_passes_its_own_tests(node, tmp_path):
    """Published vectors of RFC 9292, RFC 9458 and the chunked draft among them."""
    node("node", "build.mjs", "--tests")
    said = node("node", "--test", str(tmp_path))
    assert re.search(r"pass [3-9]\d|pass 2[5-9]", said) and "fail 0" in said


@needs_node_modules
def test_a_rebuild_gives_the_shipped_bytes(node, tmp_path):
    node("node", "build.mjs")
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_bytes() for path in DIST.iterdir()}
    assert built.keys() == shipped.keys()
    assert [name for name in built if built[name] != shipped[name]] == []


def test_what_is_shipped_is_what_is_served_and_small():
    assert {path.name for path in DIST.iterdir()} == {name for name, _ in FILES.values()}
    assert sum(path.stat().st_size for path in DIST.iterdir()) < MOST_BYTES


@pytest.mark.parametrize("name", [name for name, _ in FILES.values()])
def test_nothing_is_loaded_from_elsewhere(name):
    """Addresses that stand in the files are names (of namespaces, of problem types), or in the library's messages."""
    text = (DIST / name).read_text()
    known = {"www.w3.org", "iana.org", "docs.aws.amazon.com"}
    assert set(re.findall(r"https?://([\w.-]+)", text)) <= known
    assert not re.search(r"@import|importScripts|\beval\(|new Function|sourceMappingURL", text)


def test_the_page_refers_to_files_that_are_served_only():
    html = (DIST / "index.html").read_text()
    assert set(re.findall(r'(?:href|src)="([^"]+)"', html)) <= set(FILES)
    assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)| on\w+=", html)


def test_the_lock_file_pins_everything_and_names_no_host():
    lock = json.loads((WEB / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]
    assert packages and all(package["integrity"].startswith("sha512-") for package in packages)
    assert not any("resolved" in package for package in packages)
    declared = json.loads((WEB / "package.json").read_text())
    versions = [*declared["dependencies"].values(), *declared["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
