"""Oblivious HTTP clients that are not ours get boxes from the application over HTTP, whole and in chunks."""

from __future__ import annotations

import base64
import hmac
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from safelight.sealing import bhttp, hpke
from safelight.sealing.dates import write_date
from safelight.sealing.messages import InnerRequest
from safelight.sealing.ohttp.config import decode_keys
from tests.conftest import ROOT
from tests.serving.conftest import encoded, squares

FOLDER = ROOT / "tests" / "interop"
PICTURE = encoded(squares(person=(8, 8)))
LARGE_PIXELS = np.zeros((600, 800, 3), np.uint8)
LARGE_PIXELS[80:240, 80:240, 0] = 255
LARGE = encoded(LARGE_PIXELS, "PNG", compress_level=0)  # 1.4 MB
START_S = 20.0


@pytest.fixture(scope="module")
def url(settings, make_app) -> Iterator[str]:
    """The application on a port of its own; it takes sealed requests only."""
    app = make_app(settings.model_copy(update={"allow_plaintext": False}))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        deadline = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


# JavaScript: `hpke` and `bhttp-js`.

node = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or not (FOLDER / "node_modules" / "hpke").is_dir(),
        reason="Node.js or its packages are not installed (npm ci --ignore-scripts in tests/interop)",
    ),
]


def in_node(*jobs):
    done = subprocess.run(
        ["node", "--no-warnings", "ohttp.mjs"],
        cwd=FOLDER,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def job(url, picture=PICTURE, *, aead=1, chunked=False, path="/v1/detect", **headers):
    lines = {"content-type": "image/png", "date": write_date(time.time()).decode(), **headers}
    body = base64.b64encode(picture).decode()
    return {
        "url": url,
        "path": path,
        "method": "POST",
        "headers": lines,
        "body": body,
        "aead": aead,
        "chunked": chunked,
    }


class TestNode:
    pytestmark = node

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("aead", [hpke.AES_128_GCM, hpke.AES_256_GCM])
    def test_boxes(self, url, aead, chunked):
        (result,) = in_node(job(url, aead=aead, chunked=chunked))
        assert result["outer"]["type"] == ("message/ohttp-chunked-res" if chunked else "message/ohttp-res")
        assert (result["status"], result["type"]) == (200, "application/json")
        answer = json.loads(base64.b64decode(result["body"]))
        assert answer["counts"] == {"person": 1} and answer["annotations"][0]["data"]["x_min"] == 8

    def test_a_large_picture_in_chunks_there_and_back(self, url):
        """1.4 MB in 16 kB chunks, and the picture with its boxes comes back in several."""
        picture = encoded(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
        boxes, drawn = in_node(
            job(url, LARGE, chunked=True), job(url, picture, chunked=True, path="/v1/detect?render=png")
        )
        assert boxes["outer"]["sent"] > len(LARGE) > 1_400_000
        assert json.loads(base64.b64decode(boxes["body"]))["counts"] == {"person": 1}
        assert drawn["status"] == 200 and drawn["chunks"] > 5
        assert base64.b64decode(drawn["body"]).startswith(b"\x89PNG")

    def test_problems_are_sealed(self, url):
        wrong, old, elsewhere = in_node(
            job(url, b"no picture", chunked=True),
            job(url, date="Tue, 15 Nov 1994 08:12:31 GMT"),
            job(url, path="/ohttp"),
        )
        assert (wrong["outer"]["status"], wrong["status"]) == (200, 415)
        assert old["status"] == 400 and b"#date" in base64.b64decode(old["body"])
        assert elsewhere["status"] == 404


# Python: `pyhpke`, with the framing written out from the documents.

AEADS = {
    hpke.AES_128_GCM: (AEADId.AES128_GCM, AESGCM, 16),
    hpke.AES_256_GCM: (AEADId.AES256_GCM, AESGCM, 32),
    hpke.CHACHA20_POLY1305: (AEADId.CHACHA20_POLY1305, ChaCha20Poly1305, 32),
}


def length(size: int) -> bytes:
    return (0x80000000 | size).to_bytes(4, "big")


@pytest.mark.parametrize("aead_id", AEADS)
def test_boxes_for_pyhpke_in_chunks(url, aead_id):
    aead, cipher, key_size = AEADS[aead_id]
    config = next(one for one in decode_keys(httpx.get(f"{url}/ohttp-keys").content) if one.kem_id == hpke.X25519)
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, aead)
    head = bytes([config.number, 0, 0x20, 0, 1, 0, aead_id])
    public_key = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(config.public_key))
    enc, context = suite.create_sender_context(public_key, b"message/bhttp chunked request\0" + head)
    lines = ((b"content-type", b"image/png"), (b"connection", b"keep-alive"))
    plain = bhttp.encode_request(InnerRequest("POST", "/v1/detect", lines, PICTURE, authority="gateway"))
    chunks = [context.seal(plain[at : at + 99]) for at in range(0, len(plain), 99)]
    body = head + enc + b"".join(length(len(one)) + one for one in chunks) + b"\0" + context.seal(b"", aad=b"final")

    answer = httpx.post(f"{url}/ohttp", content=body, headers={"content-type": "message/ohttp-chunked-req"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "message/ohttp-chunked-res"
    nonce, rest = answer.content[:key_size], answer.content[key_size:]
    prk = hmac.digest(enc + nonce, context.export(b"message/bhttp chunked response", key_size), "sha256")
    key = hmac.digest(prk, b"key\1", "sha256")[:key_size]
    base = int.from_bytes(hmac.digest(prk, b"nonce\1", "sha256")[:12], "big")
    assert rest[0] == 0  # a small answer is one chunk: the final one
    message = cipher(key).decrypt(base.to_bytes(12, "big"), rest[1:], b"final")
    response = bhttp.decode_response(message)
    assert response.status == 200 and json.loads(response.body)["counts"] == {"person": 1}
