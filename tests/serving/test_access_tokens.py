"""JSON Web Tokens: only what the settings say is taken, whatever a token says of itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from safelight.errors import ConfigError, Unauthenticated
from serving.privacy.credentials import LEEWAY_S, Credentials
from serving.settings import Access, JwtIssuer

NOW = 1_800_000_000
SECRET = b"s" * 32
SIGNER = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ISSUER = "https://login.example.org"
CLAIMS = {"aud": "safelight", "exp": NOW + 60, "iss": ISSUER, "sub": "somebody", "scope": "detect models"}


def pem(key):
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def key_file(tmp_path):
    def write(data, mode=0o600, name="key"):
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return write


def credentials(now=NOW, **issuers):
    made = Credentials(Access(api_keys=None, jwt=issuers), lambda: now)
    made.load()
    return made


@pytest.fixture
def hs256(key_file):
    return JwtIssuer(algorithm="HS256", key=key_file(SECRET + b"\n", name="hs"), audience="safelight", issuer=ISSUER)


@pytest.fixture
def eddsa(key_file):
    path = key_file(pem(SIGNER.public_key()), 0o644, name="ed")
    return JwtIssuer(algorithm="EdDSA", key=path, audience="safelight", issuer=ISSUER)


def header(token):
    return [(b"authorization", f"Bearer {token}".encode())]


def signed(claims=None, key=SECRET, algorithm="HS256", without=(), headers=None, **changes):
    body = {name: value for name, value in {**(claims or CLAIMS), **changes}.items() if name not in without}
    return jwt.encode(body, key, algorithm, headers=headers)


def by_hand(head, body, secret=SECRET):
    """A token whose parts a library would not make."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.digest(secret, text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_a_good_token_says_who_and_what(hs256, eddsa):
    for issuer, token in ((hs256, signed()), (eddsa, signed(key=SIGNER, algorithm="EdDSA"))):
        caller = credentials(login=issuer).caller(header(token))
        assert caller.scopes == {"detect", "models"}
        assert caller.identity.startswith("jwt:") and "somebody" not in caller.identity
        assert "somebody" not in repr(caller)


@pytest.mark.parametrize(
    ("changes", "scopes"),
    [
        ({"scope": "detect admin  metrics"}, {"detect", "metrics"}),
        ({"scope": ""}, set()),
        ({"scope": ["detect"]}, set()),
        ({"without": ["scope"]}, set()),
        ({"scope": "DETECT detect,models"}, set()),
        ({"aud": ["other", "safelight"]}, {"detect", "models"}),
        ({"nbf": NOW}, {"detect", "models"}),
        ({"nbf": NOW + LEEWAY_S}, {"detect", "models"}),
        ({"exp": NOW - LEEWAY_S + 1}, {"detect", "models"}),
        ({"exp": NOW + 0.5}, {"detect", "models"}),
        ({"exp": 10**30}, {"detect", "models"}),
        ({"iat": NOW + 1000}, {"detect", "models"}),
        ({"without": ["sub"]}, {"detect", "models"}),
    ],
)
def test_what_a_token_may_say(hs256, changes, scopes):
    assert credentials(login=hs256).caller(header(signed(**changes))).scopes == scopes


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": 1},
        {"aud": ""},
        {"without": ["aud"]},
        {"iss": "https://elsewhere.example.org"},
        {"iss": 1},
        {"without": ["iss"]},
        {"without": ["exp"]},
        {"exp": NOW - LEEWAY_S},
        {"exp": 0},
        {"exp": True},
        {"exp": str(NOW + 60)},
        {"exp": None},
        {"exp": [NOW + 60]},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"nbf": NOW + LEEWAY_S + 1},
        {"nbf": "now"},
        {"nbf": True},
        {"nbf": float("nan")},
        {"key": b"t" * 32},
        {"headers": {"crit": ["b64"], "b64": True}},
        {"headers": {"crit": ["exp"]}},
        {"padding": "x" * 5000},
    ],
    ids=str,
)
def test_what_does_not_hold_is_refused(hs256, changes):
    if "exp" in changes or changes.get("iss") == 1 or "nbf" in changes:  # the library would not sign some of these
        token = by_hand({"alg": "HS256", "typ": "JWT"}, {**CLAIMS, **changes})
    else:
        token = signed(**changes)
    with pytest.raises(Unauthenticated):
        credentials(login=hs256).caller(header(token))


def test_the_algorithm_is_fixed_by_the_settings(hs256, eddsa, key_file):
    both = {"login": hs256, "machines": eddsa}
    public = pem(SIGNER.public_key())
    raw = SIGNER.public_key().public_bytes_raw()
    forged = [
        by_hand({"alg": "none"}, CLAIMS),
        by_hand({"alg": "none"}, CLAIMS).rpartition(".")[0] + ".",
        by_hand({"alg": "None"}, CLAIMS),
        by_hand({}, CLAIMS),
        by_hand({"alg": "HS256"}, CLAIMS, public),  # signed with what everybody knows
        by_hand({"alg": "HS256"}, CLAIMS, public.strip()),
        by_hand({"alg": "HS256"}, CLAIMS, raw),
        by_hand({"alg": "EdDSA"}, CLAIMS, public),
        by_hand({"alg": "EdDSA"}, CLAIMS),
        by_hand({"alg": "HS512"}, CLAIMS),
        by_hand({"alg": ["HS256"]}, CLAIMS),
        by_hand({"alg": {"HS256": 1}}, CLAIMS),
        signed(algorithm="HS384", key=SECRET * 2),
        signed(algorithm="ES256", key=generate_private_key(SECP256R1())),
        signed(algorithm="EdDSA", key=Ed25519PrivateKey.generate()),
        by_hand({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, CLAIMS, b"\0\0\0"),
    ]
    for token in forged:
        for issuers in (both, {"login": hs256}, {"machines": eddsa}):
            with pytest.raises(Unauthenticated):
                credentials(**issuers).caller(header(token))
    with pytest.raises(Unauthenticated):
        credentials(machines=eddsa).caller(header(signed()))
    with pytest.raises(Unauthenticated):
        credentials(login=hs256).caller(header(signed(key=SIGNER, algorithm="EdDSA")))


def test_no_critical_extension_is_understood(hs256):
    """Not even the one that the library knows, which changes how a payload is read (RFC 7797)."""
    made = credentials(login=hs256)
    assert made.caller(header(by_hand({"alg": "HS256"}, CLAIMS)))
    for extension in ({"crit": ["b64"], "b64": True}, {"crit": ["b64"], "b64": False}, {"crit": ["exp"]}, {"crit": []}):
        with pytest.raises(Unauthenticated):
            made.caller(header(by_hand({"alg": "HS256", **extension}, CLAIMS)))


def test_a_longer_hash_with_the_right_secret_is_another_algorithm(key_file):
    issuer = JwtIssuer(algorithm="HS256", key=key_file(SECRET * 2), audience="safelight")
    assert credentials(login=issuer).caller(header(signed(key=SECRET * 2)))
    for algorithm in ("HS384", "HS512"):
        with pytest.raises(Unauthenticated):
            credentials(login=issuer).caller(header(signed(key=SECRET * 2, algorithm=algorithm)))


def test_subjects_of_different_issuers_are_different_callers(hs256, eddsa):
    both = credentials(login=hs256, machines=eddsa)
    tokens = [signed(), signed(key=SIGNER, algorithm="EdDSA"), signed(sub="another"), signed(exp=NOW + 5)]
    identities = [both.caller(header(token)).identity for token in tokens]
    assert len(set(identities)) == 3 and identities[0] == identities[3]


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "e30.e30.e30", "é.é.é", "null", by_hand(b"[" * 2800, CLAIMS)[:4000],
     by_hand(b"1", CLAIMS), by_hand(b'"x"', CLAIMS), by_hand(b"[]", CLAIMS), by_hand(b"\xff", CLAIMS),
     by_hand({"alg": "HS256"}, b"[" * 2500), by_hand({"alg": "HS256"}, b"[]"), by_hand({"alg": "HS256"}, b"null"),
     by_hand({"alg": "HS256"}, b"\xff"), by_hand({"alg": "HS256", "kid": 7}, CLAIMS),
     by_hand({"alg": "HS256", "b64": False, "crit": ["b64"]}, CLAIMS)],
)  # fmt: skip
def test_what_is_no_token_is_refused_like_any_other(hs256, token):
    with pytest.raises(Unauthenticated):
        credentials(login=hs256).caller([(b"authorization", f"Bearer {token}".encode("latin-1"))])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
HEAD = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "cty", "zip"]), JSON | st.just("HS256"))
BODY = st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "iat", "jti"]), JSON)


@hypothesis_settings(max_examples=200, deadline=None)
@given(HEAD | JSON, BODY | JSON, st.booleans())
def test_any_token_is_taken_or_refused(tmp_path_factory, head, body, begin_well):
    """Even one that is rightly signed."""
    path = tmp_path_factory.mktemp("key") / "hs"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    made = credentials(login=JwtIssuer(algorithm="HS256", key=path, audience="safelight"))
    if begin_well and isinstance(body, dict):
        head, body = {"alg": "HS256"}, {**CLAIMS, **body}
    try:
        caller = made.caller(header(by_hand(head, body)))
    except Unauthenticated:
        return
    assert caller.scopes <= {"detect", "models", "metrics"}


@pytest.mark.parametrize(
    ("data", "mode", "reason"),
    [
        (b"s" * 31, 0o600, "too short"),
        (b"s" * 31 + b"\n\n", 0o600, "too short"),
        (b"", 0o600, "too short"),
        (SECRET, 0o640, "read by others"),
        (SECRET, 0o604, "read by others"),
        (pem(SIGNER.public_key()), 0o600, "PEM"),
    ],
)
def test_a_secret_that_is_none_stops_the_service(key_file, data, mode, reason):
    issuer = JwtIssuer(algorithm="HS256", key=key_file(data, mode), audience="safelight")
    with pytest.raises(ConfigError, match=reason) as caught:
        credentials(login=issuer)
    assert "sss" not in str(caught.value)


PRIVATE = SIGNER.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (b"", 0o600),
        (SECRET, 0o600),
        (PRIVATE, 0o600),
        (pem(Ed448PrivateKey.generate().public_key()), 0o600),
        (pem(generate_private_key(SECP256R1()).public_key()), 0o600),
        (pem(SIGNER.public_key()), 0o666),
    ],
    ids=["empty", "a secret", "a private key", "Ed448", "ECDSA", "written by others"],
)
def test_a_public_key_that_is_none_stops_the_service(key_file, data, mode):
    issuer = JwtIssuer(algorithm="EdDSA", key=key_file(data, mode), audience="safelight")
    with pytest.raises(ConfigError):
        credentials(login=issuer)


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_key_that_is_not_there_stops_the_service(tmp_path, algorithm):
    with pytest.raises(ConfigError) as caught:
        credentials(login=JwtIssuer(algorithm=algorithm, key=tmp_path / "absent", audience="safelight"))
    assert str(tmp_path) not in str(caught.value)


def test_tokens_pass_through_the_application(make_client, settings, hs256):
    import time

    client = make_client(settings.model_copy(update={"access": Access(api_keys=None, jwt={"login": hs256})}))
    good = signed(exp=int(time.time()) + 600, scope="models")
    assert client.get("/v1/models", headers={"authorization": f"Bearer {good}"}).status_code == 200
    assert client.post("/v1/detect", headers={"authorization": f"Bearer {good}"}).status_code == 403
    assert client.get("/v1/models", headers={"x-api-key": good}).status_code == 401
    assert client.get("/v1/models", headers={"authorization": f"Bearer {signed(exp=1)}"}).status_code == 401
    assert client.get("/v1/models").status_code == 401
