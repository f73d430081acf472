"""The page's read mode in a real browser, in front of the real service with a tiny reader."""

from __future__ import annotations

import time

import httpx
import pytest

from safelight.signing import signing_key
from tests.serving.conftest import encoded
from tests.serving.reader import bundles, tiny
from tests.serving.reader.test_read import blurred, picture
from tests.serving.real import lay_out
from tests.web.browser import needs_chromium

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """What a Bento's source folder holds, with a base and a reader of keys beside the detectors."""
    signer = tmp_path_factory.mktemp("keys") / "signing.key"
    signing_key(signer)
    project = lay_out(tmp_path_factory.mktemp("project"), signer)
    base = tiny.base(tmp_path_factory.mktemp("base"))
    bundles.write_reader(project / "bundles", signer, base, bundles.write_base(project / "bundles", signer, base))
    return project


@pytest.fixture(scope="module")
def service(service):
    """Once it reads: readers are loaded behind detectors."""
    deadline = time.monotonic() + 60
    while True:
        told = httpx.get(f"{service.url}/readyz").json()
        (keys,) = [part for part in told["components"] if part["name"] == "route keys"]
        if keys["ready"]:
            return service
        assert time.monotonic() < deadline, keys["reason"]
        time.sleep(0.1)


@needs_chromium
def test_a_picture_is_read_sealed_and_its_fields_are_shown(new_page, tap):
    page = new_page()
    page.page.click("[data-mode=read]")
    assert page.page.eval_on_selector_all("#model option", "all => all.map(o => o.value)") == ["keys"]
    page.show(encoded(picture()))
    tap.forget()
    page.ask()
    assert page.requests == [("POST", "/ohttp")]
    for telling in (b"/v1/read", b"\x89PNG", b"keys", b"bitting"):
        assert telling not in tap.sent
    assert page.page.inner_text("[data-field=keyway]").split("\n")[0] in tiny.KEYS["properties"]["keyway"]["enum"]
    assert page.page.inner_text("[data-field=marketPenetration]") == "not known"
    assert "illustrative" in page.page.inner_text("[data-field=manufacturingComplexity]")
    assert page.page.inner_text("#sure").endswith(" %") and "of 100" in page.page.inner_text("#level")
    assert page.page.is_visible("#reading") and not page.page.is_visible("#result")
    page.page.click("[data-mode=detect]")
    assert not page.page.is_visible("#reading")
    assert page.page.eval_on_selector_all("#model option", "all => all.map(o => o.value)") == ["coco", "tree-crowns"]
    page.ask()
    assert page.page.is_visible("#result")


@needs_chromium
def test_a_poor_picture_is_refused_with_what_to_do(new_page):
    page = new_page()
    page.page.click("[data-mode=read]")
    page.show(encoded(blurred()))
    page.page.click("#send")
    page.problem("The picture is too poor to be read")
    assert "Hold the camera still" in page.page.inner_text("#problem ul")
