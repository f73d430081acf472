"""Every bad body has its own 4xx and problem type, and a sentence that helps."""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import zipfile
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image

from safelight.errors import ConfigError, SafelightError
from serving.api import problems
from serving.api.openapi import REFUSALS
from serving.settings import load_settings
from tests.conftest import ROOT
from tests.safelight.image_files import mended, mutated
from tests.serving.conftest import encoded, squares

PNG, JPEG = {"content-type": "image/png"}, {"content-type": "image/jpeg"}


def zeros_png(side_x: int, side_y: int) -> bytes:
    """A grey PNG of zeros, small however many pixels it says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(9)
    row = bytes(1 + side_x)
    data = b"".join(deflate.compress(row) for _ in range(side_y)) + deflate.flush()
    header = struct.pack(">IIBBBBB", side_x, side_y, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def animation(kind: str) -> bytes:
    first, second = (Image.fromarray(squares(person=(place, 8))) for place in (8, 40))
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=[second])
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "hidden")
    return buffer.getvalue()


def assert_problem(response: httpx.Response, status: int, name: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "request_id", "retryable"}
    assert problem["type"] == f"/docs/serving.md#{name}"
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["title"] and str(problem["detail"]).endswith((".", ")"))
    return problem


def form(*parts: tuple[str, bytes], boundary: str = "x", end: bool = True) -> dict[str, object]:
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"
        for disposition, data in parts
    )
    closing = f"--{boundary}--\r\n".encode() if end else b""
    return {
        "content": body + closing,
        "headers": {"content-type": f"multipart/form-data; boundary={boundary}"},
    }


GIF, BMP, TIFF = (encoded(squares(), kind) for kind in ("GIF", "BMP", "TIFF"))
GOOD = encoded(squares(person=(8, 8)))
PHOTO = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), "JPEG")

TABLE = {
    "empty": (400, "empty-body", {"content": b"", "headers": PNG}),
    "empty, no type": (400, "empty-body", {}),
    "empty form": (400, "empty-body", {"content": b"", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
    "empty file in a form": (400, "empty-body", form(('name="image"; filename="a"', b""))),
    "not an image": (415, "not-an-image", {"content": b"once upon a time" * 9}),
    "not an image, though it says so": (415, "not-an-image", {"content": b"once upon a time", "headers": JPEG}),
    "a PDF": (415, "not-an-image", {"content": b"%PDF-1.7\n" + bytes(99), "headers": PNG}),
    "another type": (415, "type-mismatch", {"content": GOOD, "headers": JPEG}),
    "another type in a form": (415, "type-mismatch", {"files": {"image": ("a", GOOD, "image/webp")}}),
    "truncated JPEG": (422, "corrupt-image", {"content": PHOTO[:-500], "headers": JPEG}),
    "truncated PNG": (422, "corrupt-image", {"content": GOOD[: len(GOOD) // 2], "headers": PNG}),
    "only a signature": (422, "corrupt-image", {"content": GOOD[:16], "headers": PNG}),
    "too large": (413, "too-large", {"content": bytes(2_000_001), "headers": PNG}),
    "too large, unannounced": (413, "too-large", {"content": iter([bytes(100_000)] * 30), "headers": PNG}),
    "too large in a form": (413, "too-large", {"files": {"image": ("a", bytes(2_000_001), "image/png")}}),
    "a bomb": (413, "too-many-pixels", {"content": zeros_png(30_000, 30_000), "headers": PNG}),
    "a bomb that Pillow only warns of": (413, "too-many-pixels", {"content": zeros_png(12_000, 10_000)}),
    "a bit too many pixels": (413, "too-many-pixels", {"content": zeros_png(2001, 2000)}),
    "a long side": (413, "side-too-long", {"content": zeros_png(16_385, 1), "headers": PNG}),
    "bytes after a PNG": (422, "trailing-data", {"content": GOOD + b"\0", "headers": PNG}),
    "an archive after a JPEG": (422, "trailing-data", {"content": PHOTO + archive(), "headers": JPEG}),
    "a JPEG after a JPEG": (422, "several-pictures", {"content": PHOTO + PHOTO, "headers": JPEG}),
    "an animated PNG": (422, "several-pictures", {"content": animation("PNG"), "headers": PNG}),
    "an animated WebP": (422, "several-pictures", {"content": animation("WEBP")}),
    "HEIC, which is off": (415, "unsupported-format", {"content": b"\0\0\0\x18ftypheic" + bytes(99)}),
    "HEIC by name": (415, "unsupported-format", {"content": GOOD, "headers": {"content-type": "image/heic"}}),
    "GIF": (415, "unsupported-format", {"content": GIF, "headers": {"content-type": "image/gif"}}),
    "GIF, type unsaid": (415, "unsupported-format", {"content": GIF}),
    "GIF that says PNG": (415, "unsupported-format", {"content": GIF, "headers": PNG}),
    "BMP": (415, "unsupported-format", {"content": BMP}),
    "TIFF": (415, "unsupported-format", {"content": TIFF}),
    "JSON": (415, "unsupported-format", {"json": {"image": "https://example.org/a.png"}}),
    "curl's default type": (415, "unsupported-format", {"data": {"image": "@photo.jpg"}}),
    "form of another field": (400, "invalid-option", form(('name="picture"; filename="a"', GOOD))),
    "form with an option": (400, "invalid-option", form(('name="image"', GOOD), ('name="model"', b"coco"))),
    "form without fields": (400, "missing-field", {**form(), "content": b"--x--\r\n"}),
    "form with two images": (400, "malformed-body", form(('name="image"', GOOD), ('name="image"', GOOD))),
    "form that ends early": (400, "malformed-body", form(('name="image"', GOOD), end=False)),
    "form of another boundary": (400, "malformed-body", {**form(), "content": b"--y\r\n\r\n\r\n--y--\r\n"}),
    "form without a boundary": (
        400,
        "malformed-body",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ),
    "form with a long boundary": (400, "malformed-body", form(('name="image"', GOOD), boundary="x" * 300)),
    "form with broken headers": (
        400,
        "malformed-body",
        {**form(), "content": b"--x\r\nno colon \x00 here\r\n\r\nx\r\n--x--\r\n"},
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_bad_body_has_its_problem(client, case):
    status, name, request = TABLE[case]
    assert_problem(client.post("/v1/detect", **request), status, name)


@pytest.mark.parametrize(
    "query",
    [
        "modle=coco", "model=coco&model=coco", "threshold=nan", "threshold=0", "threshold=1.01", "threshold=-1",
        "threshold=inf", "threshold=a", "threshold=0.5&threshold=0.5", "classes=dog", "classes=person,",
        "classes=Person", "render=jpeg", "render=PNG", "x", "=", "%00=%ff", "Threshold=0.5",
        "latitude=12.3456", "longitude=12.3456", "latitude=12.3456&longitude=", "latitude=123.456&longitude=1",
        "latitude=1&longitude=-180.123456", "latitude=nan&longitude=1", "latitude=1e1&longitude=1",
        "latitude=1&longitude=12.3456N", "zip=123456", "zip=1234", "zip=K1A0B1", "zip=12345-123456", "zip=12345&zip=12345",
    ],
)  # fmt: skip
def test_a_bad_option_is_refused_and_not_echoed(client, query):
    problem = assert_problem(client.post(f"/v1/detect?{query}", content=GOOD), 400, "invalid-option")
    told = problem["detail"] + problem["title"]
    assert not any(value in told for value in ("dog", "modle", "12.34", "123.4", ".123456", "123456", "K1A"))


def test_an_unknown_model_is_a_404_that_names_the_known_ones(client):
    problem = assert_problem(client.post("/v1/detect?model=../../etc", content=GOOD), 404, "unknown-model")
    assert "coco" in str(problem["detail"]) and "etc" not in str(problem)


def test_a_model_that_failed_is_a_503(settings, make_client):
    client = make_client(settings.model_copy(update={"models": ("coco", "absent")}))
    problem = assert_problem(client.post("/v1/detect?model=absent", content=GOOD), 503, "model-unavailable")
    assert problem["retryable"] is True
    assert client.post("/v1/detect", content=GOOD).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/index.php"), ("GET", "/docs"), ("POST", "/v1/nothing"), ("GET", "/v1/detect/x")]
)
def test_nothing_there_is_a_404(client, method, path):
    assert_problem(client.request(method, path), 404, "not-found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"])
def test_another_method_is_a_405(client, method):
    response = client.request(method, "/v1/detect")
    assert response.status_code == 405 and response.headers["allow"] == "POST"
    if method != "HEAD":
        assert_problem(response, 405, "method-not-allowed")


def test_a_body_that_does_not_arrive_is_a_408(settings, make_client):
    limits = settings.limits.model_copy(update={"body_timeout_s": 0.2})
    client = make_client(settings.model_copy(update={"limits": limits}))

    def drip():
        import time

        for byte in GOOD[:40]:
            time.sleep(0.02)
            yield bytes([byte])

    problem = assert_problem(client.post("/v1/detect", content=drip(), headers=PNG), 408, "body-too-slow")
    assert problem["retryable"] is True


def test_every_refusal_is_explained_in_the_docs():
    text = (ROOT / "docs" / "serving.md").read_text()
    anchors = {line.removeprefix("### ").strip() for line in text.splitlines() if line.startswith("### ")}
    types = {problems.of_error(error("x"), "").type.partition("#")[2] for error in REFUSALS}
    types |= {problems.of_status(status, "").type.partition("#")[2] for status in (404, 405, 500)}
    assert types <= anchors
    assert all(issubclass(error, SafelightError) for error in REFUSALS)


@pytest.mark.filterwarnings("error")
def test_hundreds_of_damaged_pictures_are_refused_or_seen(client, caplog):
    """Each answer is boxes or a problem; none is a 5xx, and none says what only an exception would."""
    draw, seen = random.Random(7), set()
    files = [PHOTO, GOOD, encoded(squares(), "WEBP"), animation("PNG"), animation("WEBP"), PHOTO + PHOTO]
    for number in range(600):
        data = mutated(files[number % len(files)], draw)
        response = client.post("/v1/detect", content=mended(data) if number % 5 < 2 else data)
        assert response.status_code == 200 or response.status_code in (400, 413, 415, 422), response.text
        seen.add(response.status_code)
        if response.status_code != 200:
            problem = assert_problem(response, response.status_code, response.json()["type"].partition("#")[2])
            assert not re.search(r"[A-Z][a-z]+Error|Traceback|\.py\b|0x| b'|PIL|numpy", str(problem))
    assert {200, 415, 422} <= seen
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.parametrize("media_types", ["image/gif", "image/png,image/heif", "png", ","])
def test_a_media_type_that_nobody_reads_stops_the_service(media_types):
    with pytest.raises(ConfigError, match=r"limits\.media_types"):
        load_settings(ROOT, {"SAFELIGHT_LIMITS__MEDIA_TYPES": media_types})


def test_a_decoder_that_is_missing_stops_the_service(settings, make_client, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    limits = settings.limits.model_copy(update={"media_types": ("image/png", "image/heic")})
    with pytest.raises(ConfigError, match="pillow-heif"):
        make_client(settings.model_copy(update={"limits": limits}))


def test_only_the_media_types_that_the_settings_name_are_taken(settings, make_client):
    limits = settings.limits.model_copy(update={"media_types": ("image/png",)})
    client = make_client(settings.model_copy(update={"limits": limits}))
    assert client.post("/v1/detect", content=GOOD, headers=PNG).status_code == 200
    for request in ({"content": PHOTO}, {"content": PHOTO, "headers": JPEG}):
        problem = assert_problem(client.post("/v1/detect", **request), 415, "unsupported-format")
        assert "image/png" in problem["detail"] and "webp" not in problem["detail"]
    bodies = client.get("/openapi.json").json()["paths"]["/v1/detect"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"image/png", "multipart/form-data"}


def test_metadata_reaches_no_answer(client):
    exif = Image.Exif()
    exif[0x010F] = "CANARY"
    buffer = io.BytesIO()
    Image.fromarray(squares(person=(16, 16))).save(buffer, "JPEG", exif=exif, comment=b"CANARY", quality=95)
    response = client.post("/v1/detect?render=png", content=buffer.getvalue())
    assert response.status_code == 200 and b"CANARY" not in response.content
