"""AWS Encryption SDK messages: what is sealed rightly opens, at both ends and in every form; nothing else does."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    AesWrappingAlg,
    CreateMultiKeyringInput,
    CreateRawAesKeyringInput,
    CreateRawRsaKeyringInput,
    PaddingScheme,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.errors import ConfigError, SealBroken
from safelight.sealing import bhttp
from safelight.sealing.aws import AwsOpener, AwsWrapper, ContextPolicy, raw_aes_keyring, raw_rsa_keyring
from safelight.sealing.aws.envelope import Json
from safelight.sealing.aws.gateway import REPLY_KEY
from safelight.sealing.aws.message import unseal
from safelight.sealing.keystore import Key
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.protocol import OuterRequest
from tests.sealing.aws_ends import (
    AES,
    CONTEXT,
    JSON,
    PATH,
    RAW,
    SIGNED,
    UNCOMMITTED,
    aes_keyring,
    answer_to,
    answered,
    as_json,
    message,
    opened,
    opener,
    received,
    request,
    rsa_key,
    rsa_keyring,
)

NOW = 1_795_000_000.0
HTTP = {**CONTEXT, "data_type": "http"}
OTHER = Key("aes-256", 3, bytes(32), created=0.0)
BODIES = st.builds(bytes.__mul__, st.binary(max_size=200), st.integers(0, 1000))
"""From nothing to a few frames of 64 kB."""
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"content-type", b"authorization", b"x-a"]), st.sampled_from([b"image/png", b"", b"b c"])
    ),
    max_size=4,
).map(tuple)


def wrapper(keyring=None, **options):
    return AwsWrapper(keyring or aes_keyring(), now=lambda: NOW, **options)


@pytest.mark.parametrize("json", [False, True], ids=["raw", "json"])
@pytest.mark.parametrize("kind", ["aes", "rsa"])
@settings(max_examples=25)
@given(
    body=BODIES,
    query=st.sampled_from(["", "?model=coco", "?a=%2F&b="]),
    headers=HEADERS,
    method=st.sampled_from(["POST", "GET"]),
    status=st.integers(200, 599),
)
def test_a_whole_request_and_its_answer_come_through(kind, json, body, query, headers, method, status):
    keyring = aes_keyring() if kind == "aes" else rsa_keyring()
    sent = replace(request(body, query, headers), method=method)
    outgoing = wrapper(keyring, json=json).wrap(sent)
    got = received(opener(AES, rsa_key()), outgoing)
    assert got.request == sent
    assert (got.protocol, got.key_id) == ("aws-encryption-sdk", keyring.key_id)
    assert (got.sent_at, len(got.token)) == (NOW, 32)
    assert got.sealer.media_type == outgoing.answer_type == (JSON if json else RAW)
    assert outgoing.target == PATH
    answer = answer_to(got, status, headers, body)
    assert answered(outgoing, answer) == InnerResponse(status, headers, body)


@pytest.mark.parametrize("json", [False, True], ids=["raw", "json"])
@settings(max_examples=25)
@given(
    body=BODIES,
    file_type=st.sampled_from([None, b"image/png", b"image/svg+xml"]),
    status=st.integers(200, 599),
    answer_type=st.sampled_from([b"application/json", b"image/png", b"application/problem+json; charset=utf-8", b"text/plain"]),
)  # fmt: skip
def test_a_picture_alone_and_its_answer_come_through(json, body, file_type, status, answer_type):
    headers = () if file_type is None else ((b"content-type", file_type),)
    outgoing = wrapper(json=json, content="image").wrap(request(body, headers=headers))
    got = received(opener(), outgoing)
    assert got.request == InnerRequest("POST", PATH, headers, body)
    assert got.sent_at == NOW
    answer = answer_to(got, status, ((b"content-type", answer_type), (b"x-a", b"b")), body)
    assert answered(outgoing, answer) == InnerResponse(status, ((b"content-type", answer_type),), body)


def test_an_answer_tells_what_it_answers_to_and_no_more():
    for options, told in (
        ({}, {"data_type": "http"}),
        ({"content": "image"}, {"data_type": "json", "status": "200", "content_type": "application/json"}),
    ):
        outgoing = wrapper(json=True, **options).wrap(request())
        got = received(opener(), outgoing)
        answer = json.loads(answer_to(got, 200, ((b"content-type", b"application/json"), (b"set-cookie", b"x")), b"{}"))
        in_reply_to = base64.b64encode(got.token).decode()
        assert answer["metadata"] == {"processing_stage": "response", "in_reply_to": in_reply_to, **told}


def test_requests_of_one_client_cannot_be_linked_by_what_is_in_the_clear():
    def metadata(outgoing):
        return json.loads(b"".join(outgoing.body))["metadata"]

    sealing = wrapper(json=True)
    first, second = metadata(sealing.wrap(request())), metadata(sealing.wrap(request()))
    assert first.pop("session_id") != second.pop("session_id")
    assert first == second == {**HTTP, "timestamp": "2026-11-18T11:06:40Z"}
    named = metadata(wrapper(json=True, session_id="mine").wrap(request()))
    assert named["session_id"] == "mine"


def test_sizes_of_whole_requests_and_answers_come_in_steps():
    small, larger = (len(b"".join(wrapper().wrap(request(bytes(size))).body)) for size in (1, 500))
    assert small == larger > 1024
    got = received(opener(), wrapper().wrap(request()))
    assert len(answer_to(got, 200, (), b"1")) > 4096


# What is opened


def test_a_suite_that_signs_is_taken_as_well():
    got = opened(opener(), message(b"a picture", suite=SIGNED))
    assert got.request.body == b"a picture"


def test_frames_of_any_reasonable_size_and_none_at_all_are_taken():
    for frame_length in (0, 1024, 4096, 1 << 20):
        for size in (0, 1, 1024, 10_000):
            sealed = message(bytes(size), frame_length=frame_length)
            assert opened(opener(), sealed).request.body == bytes(size)
    with pytest.raises(SealBroken):
        opened(opener(), message(bytes(10_000), frame_length=512))


def test_the_context_says_what_the_picture_is_and_when_it_was_sent():
    context = {**CONTEXT, "file_type": "image/webp", "upload_timestamp": "1795000000", "session_id": "a/b+c="}
    got = opened(opener(), as_json(message(b"x", context), metadata=context), JSON)
    assert got.request.headers == ((b"content-type", b"image/webp"),)
    assert got.sent_at == 1_795_000_000
    both = {**context, "timestamp": "2026-11-18T11:06:41Z"}
    assert opened(opener(), message(b"x", both)).sent_at == 1_795_000_001
    assert opened(opener(), message(b"x")).sent_at is None


def test_a_picture_is_dispatched_to_the_path_it_was_posted_to_whatever_that_holds():
    got = opened(opener(), message(b"x"), path="/v1/detect?model=coco")
    assert (got.request.path, got.request.query) == ("/v1/detect%3Fmodel%3Dcoco", "")


def test_only_posts_below_v1_are_recognised():
    for method, path, media_type, expected in (
        ("POST", PATH, RAW, True),
        ("POST", PATH, JSON, True),
        ("GET", PATH, RAW, False),
        ("POST", "/ohttp", RAW, False),
        ("POST", "/v1", JSON, False),
        ("POST", PATH, "image/png", False),
        ("POST", PATH, "", False),
    ):
        assert opener().recognises(OuterRequest(method, path, "", media_type)) is expected


# What is not


@pytest.mark.parametrize("plain", [b"a picture", b""])
def test_a_suite_that_does_not_commit_is_refused(plain):
    with pytest.raises(SealBroken):
        opened(opener(), message(plain, suite=UNCOMMITTED))


def test_another_key_is_refused_and_so_is_another_name_of_the_right_one():
    for keyring in (
        raw_aes_keyring(AES.name, bytes(32)),
        raw_aes_keyring("other", AES.secret),
        raw_aes_keyring(AES.name, AES.secret, namespace="other"),
        raw_aes_keyring(AES.name + "2", AES.secret),
        rsa_keyring(),
    ):
        with pytest.raises(SealBroken):
            opened(opener(AES), message(b"x", keyring=keyring))


def test_a_key_that_is_not_for_messages_is_passed_over():
    x25519 = Key("x25519", 4, bytes(range(32)), created=0.0)
    opening = opener(x25519, AES)
    opening.load()
    assert opening.key_ids == {AES.name}


def test_with_two_wrapped_keys_nobody_could_say_whose_replay_it_is():
    library = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    ours, others = (
        library.create_raw_aes_keyring(
            input=CreateRawAesKeyringInput(
                key_namespace="safelight",
                key_name=key.name,
                wrapping_key=key.secret,
                wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )
        for key in (AES, OTHER)
    )
    assert opened(opener(), message(b"x", library_keyring=ours)).request.body == b"x"
    both = library.create_multi_keyring(input=CreateMultiKeyringInput(generator=ours, child_keyrings=[others]))
    for keys in ((AES,), (OTHER,), (AES, OTHER)):
        with pytest.raises(SealBroken):
            opened(opener(*keys), message(b"x", library_keyring=both))


def test_keys_come_and_go_while_it_runs():
    keys = [AES]
    opening = AwsOpener(lambda: tuple(keys), ContextPolicy(), max_bytes=10_000)
    old, new = message(b"old"), message(b"new", keyring=aes_keyring(OTHER))
    assert opened(opening, old).request.body == b"old"
    with pytest.raises(SealBroken):
        opened(opening, new)
    keys.insert(0, OTHER)
    assert [opened(opening, one).request.body for one in (old, new)] == [b"old", b"new"]
    assert opening.key_ids == {AES.name, OTHER.name}
    keys.remove(AES)
    with pytest.raises(SealBroken):
        opened(opening, old)
    assert opened(opening, new).key_id == OTHER.name


def test_bytes_after_the_message_are_refused():
    for suite in ({}, {"suite": SIGNED}, {"frame_length": 0}):
        sealed = message(b"x", **suite)
        opened(opener(), sealed)
        for more in (b"\0", sealed):
            with pytest.raises(SealBroken):
                opened(opener(), sealed + more)


def test_more_bytes_than_allowed_are_refused_and_dropped_as_they_come():
    sealed = message(bytes(5000))
    opened(opener(max_bytes=len(sealed)), sealed)
    opening = opener(max_bytes=len(sealed) - 1).begin(OuterRequest("POST", PATH, "", RAW))
    with pytest.raises(SealBroken):
        opening.feed(sealed)
    with pytest.raises(SealBroken):
        opening.finish()


def test_a_query_outside_is_refused_and_so_is_another_path_inside():
    for data_type, plain in (("image", b"x"), ("http", bhttp.encode_request(request()))):
        sealed = message(plain, {**CONTEXT, "data_type": data_type})
        assert opened(opener(), sealed).request.path == PATH
        with pytest.raises(SealBroken):
            opened(opener(), sealed, query="model=coco")
    for path in ("/v1/models", "/v1/detect/", "/metrics"):
        with pytest.raises(SealBroken):
            opened(opener(), message(bhttp.encode_request(request()), HTTP), path="/v1/" + path.rpartition("/")[2])


def test_a_plaintext_that_is_no_http_message_is_refused():
    for plain in (
        b"",
        b"a picture",
        bhttp.encode_response(InnerResponse(200, (), b"x")),
        bhttp.encode_request(request())[:20],
    ):
        with pytest.raises(SealBroken):
            opened(opener(), message(plain, HTTP))


METADATA = {**CONTEXT, "session_id": "mine"}


@pytest.mark.parametrize(
    "metadata", [{}, METADATA, CONTEXT, {"session_id": "mine"}], ids=["none", "all", "some", "one"]
)
def test_metadata_may_repeat_the_context(metadata):
    assert opened(opener(), as_json(message(b"x", METADATA), metadata=metadata), JSON).request.body == b"x"


def test_metadata_may_be_left_out():
    assert opened(opener(), as_json(message(b"x", METADATA, suite=SIGNED)), JSON).request.body == b"x"


@pytest.mark.parametrize(
    "metadata",
    [
        {"session_id": "other"}, {**METADATA, "file_type": "image/png"}, {"aws-crypto-public-key": "x"},
        {"session_id": 1}, {"session_id": None}, {"session_id": ["mine"]}, [], "mine", None, 0,
    ],
)  # fmt: skip
def test_metadata_that_says_something_else_is_refused(metadata):
    with pytest.raises(SealBroken):
        opened(opener(), as_json(message(b"x", METADATA), metadata=metadata), JSON)


def test_json_that_is_not_exactly_the_form_is_refused():
    sealed = message(b"x")
    text = base64.b64encode(sealed).decode()
    assert opened(opener(), as_json(sealed), JSON).request.body == b"x"
    bodies: list[bytes] = [
        b"", b"null", b"[]", b"1", b'"x"', b"{}", b"{", b"\xff", b"[" * 100_000, b'{"metadata": {}}',
        as_json(sealed, more=1), as_json(sealed) + b"x", sealed,
        json.dumps({"encrypted_data": text[:-1]}).encode(),
        json.dumps({"encrypted_data": text[:40] + "\n" + text[40:]}).encode(),
        json.dumps({"encrypted_data": text + "===="}).encode(),
        json.dumps({"encrypted_data": [text]}).encode(),
        f'{{"encrypted_data": "{text}", "encrypted_data": "{text}"}}'.encode(),
        f'{{"encrypted_data": "{text}", "metadata": {{"data_type": "http", "data_type": "image"}}}}'.encode(),
    ]  # fmt: skip
    for body in bodies:
        with pytest.raises(SealBroken):
            opened(opener(), body, JSON)


def test_the_last_character_of_base64_has_one_spelling():
    for size in range(3):
        sealed = message(bytes(size))
        text = base64.b64encode(sealed).decode()
        if not text.endswith("="):
            continue
        at = len(text.rstrip("=")) - 1
        spelled = [
            text[:at] + letter + text[at + 1 :]
            for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        ]
        same = [one for one in spelled if base64.b64decode(one) == sealed and one != text]
        assert same
        for one in same:
            with pytest.raises(SealBroken):
                opened(opener(), json.dumps({"encrypted_data": one}).encode(), JSON)


@given(st.text("AEIQgw18+/=\n", max_size=13))
def test_base64_is_taken_in_the_one_spelling_that_encoding_gives(text):
    """Whatever is taken is what its bytes are encoded to; and what they are encoded to is taken."""
    try:
        source, _ = Json().unpack(io.BytesIO(json.dumps({"encrypted_data": text}).encode()))
    except SealBroken:
        with pytest.raises((ValueError, AssertionError)):
            assert base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    else:
        assert base64.b64encode(source.getvalue()).decode() == text


# A key for the answer


def with_reply_key(*values: bytes) -> bytes:
    return bhttp.encode_request(request(headers=tuple((REPLY_KEY, value) for value in values)))


def test_a_public_key_is_answered_under_the_key_that_came_along_or_not_at_all():
    key = os.urandom(32)
    got = opened(opener(rsa_key()), message(with_reply_key(base64.b64encode(key)), HTTP, rsa_keyring()))
    assert got.request == request()
    assert opened_answer(answer_to(got), raw_aes_keyring("reply", key)) == InnerResponse(200, (), b"")
    for plain, context in ((bhttp.encode_request(request()), HTTP), (b"a picture", CONTEXT)):
        with pytest.raises(SealBroken):
            opened(opener(rsa_key()), message(plain, context, rsa_keyring()))


def opened_answer(sealed: bytes, keyring) -> InnerResponse:
    return bhttp.decode_response(unseal(io.BytesIO(sealed), (keyring,), dict).plain)


@pytest.mark.parametrize("keyring", [aes_keyring, rsa_keyring])
@pytest.mark.parametrize(
    "values",
    [
        [b""], [b"AAAA"], [base64.b64encode(bytes(31))], [base64.b64encode(bytes(33))], [b"!" * 44], [bytes(range(128, 172))],
        [base64.b64encode(bytes(32)) + b"="], [base64.b64encode(bytes(32))] * 2,
    ],
)  # fmt: skip
def test_a_reply_key_that_is_none_is_refused(values, keyring):
    with pytest.raises(SealBroken):
        opened(opener(AES, rsa_key()), message(with_reply_key(*values), HTTP, keyring()))


def test_a_client_that_shares_a_key_may_send_one_as_well():
    outgoing = wrapper(reply_key=True).wrap(request())
    got = received(opener(), outgoing)
    assert got.request == request()
    answer = answer_to(got, 200, (), b"found")
    assert answered(outgoing, answer).body == b"found"
    with pytest.raises(SealBroken):
        opened_answer(answer, aes_keyring())


def test_a_client_with_a_public_key_cannot_forget_it():
    for options in ({"content": "image"}, {"reply_key": False}):
        with pytest.raises(ConfigError):
            wrapper(rsa_keyring(), **options)


def test_wrapped_keys_of_the_wrong_length_are_refused():
    """Sealed to the public key by somebody who chooses the bytes: only 32 of them are a key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    public = serialization.load_der_public_key(rsa_key().public)
    sealed = message(with_reply_key(base64.b64encode(bytes(32))), HTTP, rsa_keyring())
    at = sealed.index(rsa_key().name.encode()) + len(rsa_key().name)
    assert int.from_bytes(sealed[at : at + 2], "big") == 384
    for size in (0, 16, 31, 33, 64):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        wrapped = public.encrypt(bytes(size), oaep)  # type: ignore[union-attr]
        with pytest.raises(SealBroken):
            opened(opener(rsa_key()), sealed[: at + 2] + wrapped + sealed[at + 2 + 384 :])


def test_the_other_paddings_of_rsa_are_refused():
    library = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    from cryptography.hazmat.primitives import serialization

    pem = serialization.load_der_public_key(rsa_key().public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    plain = with_reply_key(base64.b64encode(bytes(32)))
    for scheme in (PaddingScheme.PKCS1, PaddingScheme.OAEP_SHA1_MGF1, PaddingScheme.OAEP_SHA512_MGF1):
        keyring = library.create_raw_rsa_keyring(
            input=CreateRawRsaKeyringInput(
                key_namespace="safelight", key_name=rsa_key().name, padding_scheme=scheme, public_key=pem
            )
        )
        with pytest.raises(SealBroken):
            opened(opener(rsa_key()), message(plain, HTTP, library_keyring=keyring))


# Answers


@pytest.mark.parametrize("options", [{}, {"json": True}, {"content": "image"}, {"content": "image", "json": True}])
def test_the_answer_to_another_request_is_refused(options):
    first, second = (wrapper(**options).wrap(request(name)) for name in (b"one", b"two"))
    answers = [answer_to(received(opener(), one), 200, (), b"found") for one in (first, second)]
    assert answered(first, answers[0]).body == b"found"
    with pytest.raises(SealBroken):
        answered(second, answers[0])


def test_a_request_is_no_answer():
    for options in ({}, {"content": "image"}):
        outgoing = wrapper(**options).wrap(request())
        with pytest.raises(SealBroken):
            answered(outgoing, b"".join(outgoing.body))


@pytest.mark.parametrize("content", ["http", "image"])
def test_an_answer_of_the_other_form_or_with_more_or_less_to_say_is_refused(content):
    fresh = wrapper(content=content).wrap
    outgoing = fresh(request())
    in_reply_to = base64.b64encode(received(opener(), outgoing).token).decode()
    bound = {"processing_stage": "response", "in_reply_to": in_reply_to}
    told = {"data_type": "json", "status": "200", "content_type": "application/json"}
    whole = (bhttp.encode_response(InnerResponse(200, (), b"found")), {**bound, "data_type": "http"})
    alone = (b"found", {**bound, **told})
    right, wrong = (whole, alone) if content == "http" else (alone, whole)
    contexts = [
        {**right[1], "more": "x"},
        {**right[1], "data_type": "data"},
        {**right[1], "processing_stage": "request"},
    ]
    contexts += [{key: value for key, value in right[1].items() if key != left_out} for left_out in right[1]]
    if content == "image":
        contexts += [
            {**right[1], "status": status} for status in ("2000", "20", "²00", "1e2", "100", "600", "-20", " 20")
        ]
    for plain, context in (wrong, *((right[0], context) for context in contexts)):
        with pytest.raises(SealBroken):
            answered(replace(outgoing, answer=_again(outgoing)), message(plain, context))
    for suite in ({}, {"suite": SIGNED}):
        assert answered(replace(outgoing, answer=_again(outgoing)), message(*right, **suite)).body == b"found"
    with pytest.raises(SealBroken):
        answered(replace(outgoing, answer=_again(outgoing)), message(*right, suite=UNCOMMITTED))


def _again(outgoing):
    """Another opening of the answer to the same request."""
    mine = outgoing.answer
    return type(mine)(mine._envelope, mine._content, mine._keyring, mine._message_id)


def test_a_picture_alone_has_room_for_nothing_else():
    for sent in (
        request(query="?model=coco"),
        request(headers=((b"authorization", b"Bearer x"),)),
        replace(request(), method="GET"),
    ):
        with pytest.raises(ConfigError):
            wrapper(content="image").wrap(sent)


# Keys


def test_keys_that_are_none_are_refused_when_they_are_given():
    for make in (
        lambda: raw_aes_keyring("a", bytes(16)),
        lambda: raw_rsa_keyring("a"),
        lambda: raw_rsa_keyring("a", public=b"x"),
        lambda: raw_rsa_keyring("a", private=b"-----BEGIN PRIVATE KEY-----"),
        lambda: raw_rsa_keyring("a", public=rsa_key().public, private=rsa_key().secret),
        lambda: raw_rsa_keyring("a", public=rsa_key().secret),
    ):
        with pytest.raises(ConfigError):
            make()


def test_no_secret_shows_in_what_is_printed():
    got = received(opener(), wrapper().wrap(request(b"a picture")))
    shown = repr((aes_keyring(), got, opener(), wrapper()))
    assert "a picture" not in shown and repr(AES.secret) not in shown and got.token.hex() not in shown


def test_many_threads_open_at_once():
    opening = opener(AES, rsa_key())

    def exchange(number: int) -> bool:
        keyring = rsa_keyring() if number % 2 else aes_keyring()
        outgoing = wrapper(keyring).wrap(request(b"%d" % number * 1000))
        got = received(opening, outgoing)
        return answered(outgoing, answer_to(got, 200, (), got.request.body)).body == b"%d" % number * 1000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(exchange, range(48)))


def test_failures_say_nothing(caplog, capsys):
    sealed = message(b"x", suite=SIGNED)
    for body in (b"", b"x", sealed[:-1], sealed[:50], sealed[:-5] + b"12345", message(b"x", suite=UNCOMMITTED)):
        with pytest.raises(SealBroken) as error:
            opened(opener(), body)
        assert error.value.detail == SealBroken().detail
        assert error.value.__suppress_context__ or error.value.__context__ is None
    assert not [record for record in caplog.records if record.levelname not in ("DEBUG", "INFO")]
    assert capsys.readouterr() == ("", "")


def test_the_library_is_loaded_by_those_who_use_it_only():
    code = (
        "import sys, safelight.client, safelight.sealing.protocol, safelight.sealing.transport\n"
        "print([name for name in sys.modules if name.split('.')[0].startswith(('aws_', 'boto', 'stdnum'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
