"""AWS Encryption SDK messages, sealed and opened in a real browser, against the library's Python."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import httpx
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import AesWrappingAlg, CreateRawAesKeyringInput
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy

from safelight.sealing.bhttp import decode_request, encode_response
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerResponse, header
from safelight.sealing.padding import padded
from tests.serving.conftest import encoded, squares
from tests.serving.real import running
from tests.web.browser import Page, Tap, needs_chromium

pytestmark = [pytest.mark.chromium, needs_chromium]
BODY = bytes(range(256)) * 1000
SEAL = """async (key, body) => {
    const { AwsWrapper } = await import("/aws.js");
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const wrapper = new AwsWrapper({ name: "shared", bytes: bytes(key) }, () => Date.UTC(2026, 10, 21));
    globalThis.outgoing = await wrapper.wrap({
        method: "POST", scheme: "http", authority: "gateway", target: "/v1/detect?model=coco",
        headers: [["content-type", "image/png"]], body: bytes(body),
    });
    const sealed = new Uint8Array(await outgoing.body.arrayBuffer());
    return [outgoing.target, outgoing.headers, btoa(Array.from(sealed, (byte) => String.fromCharCode(byte)).join(""))];
}"""
OPEN = """async (answer) => {
    try {
        const { status, headers, body } = await outgoing.open(Uint8Array.from(atob(answer), (c) => c.charCodeAt(0)));
        return [status, headers, new TextDecoder().decode(body)];
    } catch (error) { return error.name }
}"""


DETECT = """async (name, key, picture) => {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const client = new safelight.SafelightClient({ aws: { name, bytes: bytes(key) } });
    try {
        const { default: model, models } = await client.models();
        const answer = await client.detect(new Blob([bytes(picture)], { type: "image/png" }), { model });
        return [models.length, answer.annotations, answer.sealedWith];
    } catch (error) { return error.title }
}"""


def test_boxes_come_back_from_the_real_service(chromium: Any, project: Path, tmp_path: Path) -> None:
    picture = base64.b64encode(encoded(squares(person=(16, 16)))).decode()
    with running(project, tmp_path / "home", SAFELIGHT_SEALING__AWS__KINDS="aes-256") as service:
        (shared,) = (
            key for key in KeyStore(project / ".safelight/sealing", time.time).in_use() if key.kind == "aes-256"
        )
        tap = Tap(httpx.URL(service.url).port or 80)
        context = chromium.new_context()
        page = Page(context.new_page(), tap.url).open()
        key = base64.b64encode(shared.secret).decode()
        tap.forget()
        count, (found,), sealed_with = page.call(DETECT, shared.name, key, picture)
        assert count == 3 and sealed_with == f"safelight/{shared.name}"
        assert (found["className"], found["box"]) == ("person", [16, 16, 24, 24])
        assert b"POST /v1/detect HTTP/1.1" in tap.sent and b"application/vnd.aws-encryption-sdk" in tap.sent
        assert not any(telling in tap.sent for telling in (b"\x89PNG", b"model=coco", b"image/png", shared.secret))
        assert (
            page.call(DETECT, shared.name, base64.b64encode(bytes(32)).decode(), picture)
            == "The sealed message was refused"
        )
        assert {("POST", "/v1/models"), ("POST", "/v1/detect")} < set(page.requests)
        context.close()
        tap.close()


class Service:
    """The other holder of the key: opens requests, seals answers."""

    def __init__(self, key: bytes) -> None:
        providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
        self._keyring = providers.create_raw_aes_keyring(
            input=CreateRawAesKeyringInput(
                key_namespace="safelight",
                key_name="shared",
                wrapping_key=key,
                wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )
        self._sdk = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        )

    def open(self, sealed: bytes) -> tuple[bytes, Any]:
        return self._sdk.decrypt(source=sealed, keyring=self._keyring)  # type: ignore[no-any-return]

    def seal(self, plain: bytes, **context: str) -> str:
        sealed, _ = self._sdk.encrypt(source=plain, keyring=self._keyring, encryption_context=context)
        return base64.b64encode(sealed).decode()


def sealed_in(page: Page, key: bytes) -> tuple[str, dict[str, str], bytes]:
    target, headers, sealed = page.call(SEAL, base64.b64encode(key).decode(), base64.b64encode(BODY).decode())
    return target, headers, base64.b64decode(sealed)


def test_the_browser_seals_what_python_opens_and_the_other_way_round(new_page):
    page, key = new_page(), bytes(range(32))
    service = Service(key)
    target, headers, sealed = sealed_in(page, key)
    assert (target, headers) == ("/v1/detect", {"content-type": "application/vnd.aws-encryption-sdk"})
    plain, sent = service.open(sealed)
    request = decode_request(plain)
    assert (request.method, request.target, request.body) == ("POST", "/v1/detect?model=coco", BODY)
    assert header(request.headers, b"content-type") == b"image/png"
    assert sent.algorithm is AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    assert sent.encryption_context == {
        "data_type": "http", "processing_stage": "request", "timestamp": "2026-11-21T00:00:00.000Z",
        "session_id": sent.encryption_context["session_id"],
    }  # fmt: skip
    assert len(sent.encryption_context["session_id"]) == 36 and len(plain) == padded(len(plain)) > len(BODY)
    answer = service.seal(
        encode_response(InnerResponse(200, ((b"a", b"b"),), b"found")),
        data_type="http",
        processing_stage="response",
        in_reply_to=base64.b64encode(sent.message_id).decode(),
    )
    assert page.call(OPEN, answer) == [200, [["a", "b"]], "found"]


def test_an_answer_to_something_else_or_that_was_changed_does_not_open(new_page):
    page, key = new_page(), bytes(32)
    service = Service(key)
    _, _, sealed = sealed_in(page, key)
    in_reply_to = base64.b64encode(service.open(sealed)[1].message_id).decode()
    plain = encode_response(InnerResponse(200, (), b"found"))
    right = {"data_type": "http", "processing_stage": "response", "in_reply_to": in_reply_to}
    good = service.seal(plain, **right)
    changed = bytearray(base64.b64decode(good))
    changed[-20] ^= 1
    for answer in (
        *(service.seal(plain, **{**right, name: "x"}) for name in right),
        service.seal(plain),
        service.seal(b"no message", **right),
        Service(bytes(31) + b"\1").seal(plain, **right),
        base64.b64encode(changed).decode(),
        base64.b64encode(sealed).decode(),
        "",
    ):
        assert page.call(OPEN, answer) == "SealBroken"
    assert page.call(OPEN, good) == [200, [], "found"]
    with pytest.raises(Exception, match="32 bytes"):
        sealed_in(page, bytes(24))
