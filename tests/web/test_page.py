"""The page in a real browser, in front of the real service; every byte that leaves the browser is looked at."""

from __future__ import annotations

import base64
import functools
import io
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from safelight.credentials import KeyFile
from serving.page.page import CONTENT_SECURITY_POLICY, DIST, FILES
from serving.settings import load_settings
from tests.conftest import ROOT
from tests.serving.conftest import encoded
from tests.serving.real import running
from tests.serving.test_bad_bodies import assert_problem
from tests.web.browser import Page, needs_chromium

CANARY = b"CANARY-5d20c7"
ZOOM = 10  # the test models look at 64 x 64 cells of a picture: each is a square of so many pixels here
PERSON, CAT, FAINT = (160, 160, 240, 240), (320, 400, 400, 480), (480, 80, 560, 160)
pytestmark = pytest.mark.chromium


DETECT = """async (data, options) => {
    const picture = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], { type: "image/png" });
    try { return (await new safelight.SafelightClient(options).detect(picture, { model: "coco" })).model.name }
    catch (error) { return error.name }
}"""


def scene() -> np.ndarray:
    """(640, 640, 3): a red, a green, and a darker red square, at PERSON, CAT and FAINT."""
    cells = np.zeros((64, 64, 3), np.uint8)
    for (left, top, right, bottom), channel, value in ((PERSON, 0, 255), (CAT, 1, 255), (FAINT, 0, 120)):
        cells[top // ZOOM : bottom // ZOOM, left // ZOOM : right // ZOOM, channel] = value
    return np.kron(cells, np.ones((ZOOM, ZOOM, 1), np.uint8))


def jpeg_with_secrets(pixels: np.ndarray, orientation: int = 1) -> bytes:
    """A JPEG that tells in EXIF, in a comment and behind its end what nobody should know."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, CANARY.decode()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, comment=CANARY, quality=95, subsampling=0)
    return buffer.getvalue() + CANARY


def test_the_files_are_served_by_name_with_a_strict_policy(service):
    for path, (_, media_type) in FILES.items():
        response = httpx.get(service.url + path)
        assert response.status_code == 200 and response.headers["content-type"].startswith(media_type)
        assert response.headers.get_list("content-security-policy") == [CONTENT_SECURITY_POLICY]
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
        assert httpx.head(service.url + path).content == b""
        assert_problem(httpx.post(service.url + path), 405, "method-not-allowed")
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    for path in ("/index.html", "/dist/app.js", "/page.py", "/..%2fpage.py", "/app.js/", "/favicon.ico"):
        assert_problem(httpx.get(service.url + path), 403, "plaintext-refused")  # as every unknown path is


@needs_chromium
def test_boxes_appear_and_nothing_unsealed_leaves(new_page, tap, service):
    page = new_page()
    page.show(jpeg_with_secrets(scene()), "image/jpeg")
    assert page.check("Metadata") == "removed: EXIF, comment, trailing data"
    tap.forget()
    page.ask()
    assert [name for name, _ in page.found()] == ["cat", "person"]
    for (_, box), expected in zip(page.found(), (CAT, PERSON), strict=True):
        assert np.abs(np.subtract(box, expected)).max() <= 1
    assert page.page.inner_text("#total") == "2"
    counts = page.page.eval_on_selector_all("#counts button", "all => all.map(b => [b.dataset.class, b.dataset.count])")
    assert dict(counts) == {"person": "1", "cat": "1"}
    assert page.requests == [("POST", "/ohttp")]
    sent = tap.sent
    assert len(sent) > 3000 and sent.startswith(b"POST /ohttp HTTP/1.1\r\n")
    assert b"content-type: message/ohttp-req\r\n" in sent.lower()
    for telling in (CANARY, b"\x89PNG", b"JFIF", b"Exif", b"/v1/detect", b"image/jpeg", b"coco"):
        assert telling not in sent
    keys = httpx.get(f"{service.url}/ohttp-keys").content
    fingerprint = page.page.get_attribute("#fingerprint", "data-fingerprint")
    assert page.page.inner_text("#sealing") == "Sealed with key"
    assert fingerprint == sha256_of_first(keys)


def sha256_of_first(keys: bytes) -> str:
    from hashlib import sha256

    return sha256(keys[2 : 2 + int.from_bytes(keys[:2], "big")]).hexdigest()


@needs_chromium
def test_the_slider_and_the_classes_filter_without_a_request(new_page):
    page = new_page()
    page.show(encoded(scene()))
    page.ask()
    page.requests.clear()
    assert {box for _, box in page.found()} == {PERSON, CAT}
    page.page.evaluate("document.querySelector('#threshold').value = 0.3")
    page.page.dispatch_event("#threshold", "input")
    assert page.found()[-1] == ("person", FAINT) and page.page.inner_text("#total") == "3"
    page.page.click("[data-class=person]")
    assert page.found() == [("cat", CAT)]
    assert page.page.get_attribute("[data-class=person]", "aria-pressed") == "false"
    page.page.click("[data-class=person]")
    assert len(page.found()) == 3 and page.requests == []


@needs_chromium
def test_boxes_are_drawn_where_the_objects_are(new_page, tmp_path):
    """The picture that is saved is the local one, with the boxes."""
    page = new_page()
    page.show(encoded(scene()))
    page.ask()
    with page.page.expect_download() as download:
        page.page.click("#save")
    download.value.save_as(tmp_path / "saved.png")
    drawn = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"), np.int32)
    assert drawn.shape == (640, 640, 3)
    changed = np.abs(drawn - scene()).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    left, top, right, bottom = PERSON[0], FAINT[1], CAT[2], CAT[3]
    assert (
        columns.min() >= left - 4 and rows.min() >= top - 4 and columns.max() <= right + 4 and rows.max() <= bottom + 4
    )
    for box in (PERSON, CAT):
        middle = (box[1] + box[3]) // 2
        assert changed[middle, box[0] - 1 : box[0] + 2].any() and changed[middle, box[2] - 1 : box[2] + 2].any()
        assert not changed[middle, box[0] + 10 : box[2] - 10].any()


@needs_chromium
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_photographs_come_out_upright(new_page, orientation):
    """As it lies in the file the picture is turned; as it is shown, sent and drawn upon it is upright."""
    page = new_page()
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    lying = np.rot90(scene()[:, :480], turns)
    page.show(jpeg_with_secrets(np.ascontiguousarray(lying), orientation), "image/jpeg")
    assert page.check("Size") == "480 × 640"
    page.ask()
    assert {name: np.abs(np.subtract(box, {"person": PERSON, "cat": CAT}[name])).max() <= 10 for name, box in page.found()} == {
        "person": True, "cat": True,
    }  # fmt: skip
    at = page.page.evaluate(
        "[...document.querySelector('#picture').getContext('2d').getImageData(200, 200, 1, 1).data]"
    )
    assert at[0] > 200 and at[1] < 60


@needs_chromium
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_is_sent_holds_pixels_only(new_page, kind):
    page = new_page()
    if kind == "JPEG":
        data = jpeg_with_secrets(scene())
    else:
        exif = Image.Exif()
        exif[0x010F] = CANARY.decode()
        data = encoded(scene(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})) + CANARY
    script = """async (data, type) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const { file, checks } = await safelight.prepare(new Blob([bytes], { type }));
        const sent = new Uint8Array(await file.arrayBuffer());
        return [file.type, btoa(Array.from(sent, (byte) => String.fromCharCode(byte)).join("")), checks];
    }"""
    media_type = f"image/{kind.lower()}"
    sent_type, sent, checks = page.call(script, base64.b64encode(data).decode(), media_type)
    sent = base64.b64decode(sent)
    assert CANARY in data and CANARY not in sent and b"Exif" not in sent
    assert sent_type == ("image/png" if kind == "PNG" else "image/jpeg")
    image = Image.open(io.BytesIO(sent))
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    error = np.abs(np.asarray(image.convert("RGB"), np.int32) - scene())
    assert error.mean() < 1 if kind == "JPEG" else error.mean() < 1.5
    assert {check["name"]: check["level"] for check in checks}["Exposure"] == "warn"  # most of it is black


def bomb() -> bytes:
    """A PNG whose header announces 900 million pixels."""
    data = bytearray(encoded(np.zeros((4, 4, 3), np.uint8)))
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    return bytes(data)


def no_pixels() -> bytes:
    """A PNG whose compressed data is none."""
    data = encoded(scene())
    begins = data.index(b"IDAT") + 4
    return data[:begins] + bytes(40) + data[begins + 40 :]


BAD_FILES = {
    "text": (b"not a picture at all", "image/png", "The file is not a supported picture"),
    "gif": (b"GIF89a" + bytes(50), "image/gif", "The file is not a supported picture"),
    "empty": (b"", "image/png", "The file is empty"),
    "mismatch": (encoded(np.zeros((300, 300, 3), np.uint8)), "image/jpeg", "The file is not what it says"),
    "truncated": (jpeg_with_secrets(scene())[:-4000], "image/jpeg", "The picture is broken"),
    "bomb": (bomb(), "image/png", "The picture has too many pixels"),
    "undecodable": (no_pixels(), "image/png", "The picture does not decode"),
}  # fmt: skip


@needs_chromium
def test_bad_files_are_refused_before_any_request(new_page, tap, tmp_path):
    page = new_page()
    tap.forget()
    for name, (data, media_type, title) in BAD_FILES.items():
        page.choose(name, data, media_type)
        assert page.problem(title) != ""
        assert page.page.is_disabled("#send") and page.page.get_attribute("body", "data-state") == "empty"
    large = tmp_path / "large.png"
    large.write_bytes(encoded(scene()) + bytes(load_settings(ROOT, {}).limits.max_bytes))
    page.page.set_input_files("#file", large)
    page.problem("The file is too large")
    assert page.requests == [] and tap.sent == b""
    page.show(encoded(scene()))
    assert page.page.is_hidden("#problem")


@needs_chromium
def test_a_picture_may_be_dropped_or_pasted_and_the_keyboard_is_enough(new_page):
    page = new_page()
    page.page.evaluate(
        "document.querySelector('#file').addEventListener('click', (event) => event.target.dataset.asked = '')"
    )
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#file[data-asked]", state="attached")
    page.show(encoded(scene()))
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("[data-state=done]")
    assert {box for _, box in page.found()} == {PERSON, CAT}
    data = base64.b64encode(encoded(scene())).decode()
    for event in ("drop", "paste"):
        page.open()
        page.page.evaluate(
            """([kind, data]) => {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                const files = new DataTransfer();
                files.items.add(new File([bytes], "photo.png", { type: "image/png" }));
                const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })
                    : new ClipboardEvent("paste", { clipboardData: files, bubbles: true });
                document.querySelector("#stage").dispatchEvent(event);
            }""",
            [event, data],
        )
        page.page.wait_for_selector("[data-state=ready]")


@needs_chromium
def test_refusals_and_lost_connections_are_told_in_words(new_page):
    page = new_page()
    page.show(encoded(scene()))
    page.page.eval_on_selector("#model", "list => list.append(new Option('nosuch', 'nosuch', true, true))")
    page.page.click("#send")
    assert "coco" in page.problem("No such model")
    assert re.fullmatch(r"Request [0-9a-f]{32}", page.page.inner_text("#problem .reference"))
    page.page.select_option("#model", "coco")
    page.page.route("**/ohttp", lambda route: route.abort())
    page.page.click("#send")
    page.problem("The service cannot be reached")
    page.page.unroute("**/ohttp")
    page.ask()
    assert page.page.is_hidden("#problem")
    assert len(page.complaints) == 1 and "ERR_FAILED" in page.complaints.pop()  # the browser's own word on the abort


@needs_chromium
def test_where_keys_are_needed_one_may_be_given_and_pages_of_others_use_the_module(chromium, project, tmp_path):
    keys = tmp_path / "api-keys.jsonl"
    key, _ = KeyFile(keys).add(("detect", "models"), None, secrets.token_urlsafe)
    narrow, _ = KeyFile(keys).add(("detect",), None, secrets.token_urlsafe)
    settings = {"SAFELIGHT_ACCESS__API_KEYS": str(keys)}
    with (
        elsewhere(tmp_path / "site") as origin,
        running(project, tmp_path / "home", SAFELIGHT_HEADERS__CORS_ORIGINS=origin, **settings) as service,
    ):
        context = chromium.new_context()
        for given in (key, narrow):
            page = Page(context.new_page(), service.url)
            page.page.goto(f"{service.url}/")
            page.problem("Credentials are needed")
            page.page.fill("#access input", given)
            page.page.click("#access button")
            page.page.wait_for_selector("#problem", state="hidden")
            page.show(encoded(scene()))
            page.page.wait_for_selector("#send:enabled")
            page.ask()
            assert {box for _, box in page.found()} == {PERSON, CAT}
            # Who may not see the list gets the default model.
            page.page.wait_for_selector("#model", state="visible" if given == key else "hidden")
        other = Page(context.new_page(), origin)
        other.page.goto(origin)
        data = base64.b64encode(encoded(scene())).decode()
        asked = {"baseUrl": service.url, "apiKey": key}
        assert other.call(DETECT, data, asked) == "coco"
        assert other.call(DETECT, data, {"baseUrl": service.url}) == "Refused"
        context.close()


@contextmanager
def elsewhere(folder: Path) -> Iterator[str]:
    """A site of somebody else, with the module among its files. Gives its origin."""
    shutil.copytree(DIST, folder)
    (folder / "index.html").write_text("<!doctype html><title>Elsewhere</title>")
    files = functools.partial(Silent, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@needs_chromium
def test_browsers_without_x25519_get_their_boxes_too(new_page):
    """Those before Chromium 133, Firefox 130 and Safari 17."""
    without = """for (const name of ["generateKey", "importKey"]) {
        const real = crypto.subtle[name].bind(crypto.subtle);
        crypto.subtle[name] = (...given) => JSON.stringify(given).includes("X25519")
            ? Promise.reject(new DOMException("unknown", "NotSupportedError")) : real(...given);
    }"""
    page = new_page(init=without)
    page.show(encoded(scene()))
    page.ask()
    assert {box for _, box in page.found()} == {PERSON, CAT}


@needs_chromium
def test_the_module_pins_keys_and_sends_in_chunks(new_page, tap):
    page = new_page()
    data = base64.b64encode(encoded(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8))).decode()
    tap.forget()
    assert page.call(DETECT, data, {"chunked": True}) == "coco"
    assert b"message/ohttp-chunked-req" in tap.sent and len(tap.sent) > 250_000
    fingerprint = page.page.get_attribute("#fingerprint", "data-fingerprint")
    assert page.call(DETECT, data, {"pins": ["00" * 32, fingerprint.upper()]}) == "coco"
    page.requests.clear()
    assert page.call(DETECT, data, {"pins": ["00" * 32]}) == "Untrusted"
    assert page.call(DETECT, data, {"baseUrl": "http://gateway.example"}) == "Untrusted"
    assert page.requests == [("GET", "/ohttp-keys")]


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(new_page, width, tmp_path):
    page = new_page(width, 844)
    for state in ("empty", "ready", "done", "refused"):
        if state == "ready":
            page.show(encoded(scene()))
        elif state == "done":
            page.ask()
        elif state == "refused":
            page.choose("bad", b"?", "image/png")
            page.problem("The file is not a supported picture")
        page.page.screenshot(path=tmp_path / f"{state}.png")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        cut = page.page.evaluate(
            "[...document.querySelectorAll('button, select, h2, dd, code')].filter((e) => e.checkVisibility() "
            "&& e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow === 'hidden').length"
        )
        assert cut == 0
        shown = np.asarray(Image.open(tmp_path / f"{state}.png").convert("L"))
        assert shown.mean() < 90 and shown.max() > 200  # a dark room, with something in it
