"""Nothing of a request is left anywhere: known text and known pixels go in by every field that a client can fill, sealed
and plain, succeeding and failing; then everything the service wrote is searched, files that vanished included.

The service is traced (`tests.serving.tracing`), so nothing has to be guessed about where it writes. That the search would
find a leak is shown on a program that leaks, and on a service into which a leak was put.
"""

from __future__ import annotations

import base64
import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import jwt
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from safelight.audit import read_public_key, verify
from safelight.credentials import KeyFile
from safelight.sealing import hpke
from safelight.sealing.aws import AwsWrapper, raw_aes_keyring, raw_rsa_keyring
from safelight.sealing.aws.message import seal
from safelight.sealing.dates import write_date
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import Headers, InnerRequest, InnerResponse
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import KeyConfig, decode_keys
from safelight.sealing.ohttp.framing import WHOLE
from safelight.sealing.protocol import Wrapper
from tests.conftest import ROOT
from tests.serving import tracing
from tests.serving.real import Service, lay_out, running

pytestmark = pytest.mark.strace
TEXT = "Kanarie-7f3a91e5"  # 16 characters, so that its hexadecimal form is a trace id
PLAIN_KEY = "Schluessel-5d0c7be1" * 2
PLACE = ("52.5200761234", "13.4049541234", "94107-5138")
_RNG = np.random.default_rng(20261121)
PIXELS = _RNG.integers(0, 256, (96, 96, 3), np.uint8)
JSON, FORM = "application/json", "multipart/form-data"


def base64_forms(data: bytes) -> list[bytes]:
    """What of `data` is to be seen in base64, wherever it begins."""
    return [base64.b64encode(bytes(shift) + data)[4 * bool(shift) + 4 :][: len(data) - 4] for shift in range(3)]


def forms(data: bytes) -> list[bytes]:
    return [data, data.hex().encode(), data.hex().upper().encode(), *base64_forms(data)]


def png() -> bytes:
    """With the text in it wherever a PNG has room for text."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", TEXT)
    info.add_text(TEXT, TEXT, zip=True)
    info.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{TEXT}</x:xmpmeta>")
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", pnginfo=info, exif=exif())
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif(), comment=TEXT.encode(), quality=95)
    return buffer.getvalue()


def exif() -> Image.Exif:
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x9286):
        exif[tag] = TEXT
    return exif


PNG, JPEG = png(), jpeg()
TEXT_FORMS = [form for text in (TEXT, TEXT.lower(), TEXT.upper()) for form in forms(text.encode())]
TEXT_FORMS += [part.encode() for part in (*PLACE, PLACE[0][:9], PLACE[1][:9], "941075138")]
TEXT_FORMS += [TEXT.encode("utf-16-le"), TEXT.encode("utf-16-be"), TEXT[::-1].encode()]


def pixel_forms() -> list[bytes]:
    """Rows of the picture as bytes of RGB, of BGR, of one channel and as network input; parts of its files."""
    found: list[bytes] = []
    for y in range(0, 96, 8):
        row = PIXELS[y, 16:32]
        found += forms(row.tobytes())
        found += [
            row[:, ::-1].tobytes(),
            row[:, 0].tobytes(),
            (row[:, 0] / np.float32(255)).astype(np.float32).tobytes(),
        ]
    for file in (PNG, JPEG):
        for begin in range(len(file) // 4, len(file) - 48, len(file) // 8):
            found += forms(file[begin : begin + 48])
    return found


NEEDLES = [*TEXT_FORMS, *pixel_forms()]
HEADERS = {
    "authorization": f"Bearer {TEXT}",
    "x-api-key": TEXT,
    "cookie": f"{TEXT}={TEXT}",
    "user-agent": TEXT,
    "referer": f"http://{TEXT}/",
    "origin": f"http://{TEXT}",
    "x-forwarded-for": TEXT,
    "x-request-id": TEXT,
    "accept-language": TEXT,
    "traceparent": f"00-{TEXT.encode().hex()}-{TEXT.encode().hex()[:16]}-01",
    "tracestate": f"a={TEXT}",
    "baggage": f"a={TEXT}",
    TEXT: TEXT,
}


@dataclass(frozen=True)
class Case:
    """A request, and whether it succeeds."""

    method: str
    target: str
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    succeeds: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {**HEADERS, **({"content-type": self.content_type} if self.content_type else {})}


def form(name: str, file_name: str, data: bytes, media_type: str, boundary: str = TEXT) -> tuple[bytes, str]:
    """A form's body and its type, with anything in it."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
    body = head.encode() + f"Content-Type: {media_type}\r\n{TEXT}: {TEXT}\r\n\r\n".encode() + data
    return body + f"\r\n--{boundary}--\r\n".encode(), f"{FORM}; boundary={boundary}"


CASES = [
    Case("POST", "/v1/detect", PNG, "image/png", True),
    Case("POST", "/v1/detect?render=png", JPEG, "image/jpeg", True),
    Case("POST", "/v1/detect?model=tree-crowns&threshold=0.5&classes=cat", PNG, "", True),
    Case("POST", "/v1/detect", *form("image", f"{TEXT}.jpg", JPEG, "image/jpeg"), True),
    Case("POST", f"/v1/detect?latitude={PLACE[0]}&longitude={PLACE[1]}&zip={PLACE[2]}", PNG, "", True),
    Case("POST", f"/v1/detect?latitude={PLACE[0]}&zip={PLACE[2]}", PNG),
    Case("GET", "/v1/models", b"", "", True),
    Case("POST", "/v1/detect", *form(TEXT, TEXT, PNG, "image/png")),
    Case("POST", "/v1/detect", *form("image", TEXT, PNG, TEXT)),
    Case("POST", "/v1/detect", *form("image", TEXT, PNG[:-2000], "image/png")),
    Case("POST", "/v1/detect", form("image", TEXT, PNG, "image/png", "other")[0], f"{FORM}; boundary={TEXT}"),
    Case("POST", "/v1/detect", PNG[: len(PNG) // 2], "image/png"),
    Case("POST", "/v1/detect", PNG[:60] + TEXT.encode() * 50 + PNG[60:], "image/png"),
    Case("POST", "/v1/detect", JPEG, "image/png"),
    Case("POST", "/v1/detect", PNG, TEXT),
    Case("POST", "/v1/detect", PNG, f"text/{TEXT}; charset={TEXT}"),
    Case("POST", "/v1/detect", TEXT.encode() * 70_000),
    Case("POST", "/v1/detect", b'{"image": "' + base64.b64encode(PNG) + b'"}', JSON),
    Case("POST", "/v1/detect"),
    Case("POST", f"/v1/detect?{TEXT}={TEXT}", PNG),
    Case("POST", f"/v1/detect?model={TEXT}", PNG),
    Case("POST", f"/v1/detect?threshold={TEXT}", PNG),
    Case("POST", f"/v1/detect?classes={TEXT}&render={TEXT}", PNG),
    Case("POST", f"/v1/detect/{TEXT}", PNG),
    Case("POST", f"/v1/{TEXT}?{TEXT}", PNG),
    Case("GET", f"/v1/{TEXT}/%00{TEXT}%0a"),
    Case(TEXT, "/v1/detect", PNG),
    Case("PUT", "/v1/models", PNG),
    Case("POST", f"/v1/read?model={TEXT}&zipcode={PLACE[2]}", PNG, "image/png"),
    Case("POST", f"/v1/read?zipcode={TEXT}", *form("image", TEXT, PNG, "image/png")),
    Case("POST", f"/v1/read:batch?{TEXT}={TEXT}", *form("image", TEXT, PNG, "image/png")),
]


class Sealing:
    """Seals requests for a service and opens its answers."""

    def __init__(self, http: httpx.Client, wrapper: Wrapper) -> None:
        self._http, self._wrapper = http, wrapper

    def ask(self, case: Case, *, date: float | None = None) -> InnerResponse:
        """The answer to a request inside of an envelope, whose outside holds the text as well."""
        outgoing = self._wrapper.wrap(inner(case, date))
        answer = self.post(outgoing.target, b"".join(outgoing.body), outgoing.headers)
        assert answer.status_code == 200, answer.text
        outgoing.answer.feed(answer.content)
        return outgoing.answer.finish()

    def spoil(self) -> list[httpx.Response]:
        """The answers to envelopes that are to be refused: sent before, changed, cut, with more, with nothing, in JSON."""
        outgoing = self._wrapper.wrap(inner(CASES[0]))
        target, body, headers = outgoing.target, b"".join(outgoing.body), outgoing.headers
        assert self.post(target, body, headers).status_code == 200
        text = TEXT.encode()
        middle = len(body) // 2
        spoilt = (body, body[:-1] + bytes([body[-1] ^ 1]), body[:middle] + text + body[middle:], body[:-20], body + text,
                  bytes([body[0] ^ 64]) + body[1:], text + PNG, b"")  # fmt: skip
        return [self.post(target, data, headers) for data in spoilt] + [
            self.post(f"{target}?{TEXT}={TEXT}", body, headers)
        ]

    def post(self, target: str, body: bytes, headers: Headers) -> httpx.Response:
        own = {name.decode(): value.decode() for name, value in headers}
        return self._http.post(target, content=body, headers={**HEADERS, **own})


def inner(case: Case, date: float | None = None) -> InnerRequest:
    lines = [(name.lower().encode(), value.encode()) for name, value in case.headers.items()]
    if date is not None:
        lines.append((b"date", write_date(date)))
    return InnerRequest(case.method, case.target, tuple(lines), case.body, authority=TEXT.lower())


def well_sealed_junk(config: KeyConfig) -> bytes:
    """An envelope that opens, and holds no message."""
    suite = hpke.Suite(config.kem_id, *config.suites[0])
    head = config.number.to_bytes(1, "big") + suite.ids
    enc, context = hpke.sender(suite, config.public_key, WHOLE.info(head), None)
    return head + enc + context.messages.seal(TEXT.encode() * 100 + PNG)


def send_plain(service: Service, http: httpx.Client) -> None:
    for case in CASES:
        answer = http.request(case.method, case.target, content=case.body, headers=case.headers)
        assert answer.is_success == case.succeeds and answer.status_code < 500, (case, answer.status_code)
        assert not any(needle in answer.content for needle in TEXT_FORMS), case
        assert not any(TEXT in value for name, value in answer.headers.items()), case
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/ohttp-keys"):
        assert http.get(f"{path}?{TEXT}", headers=HEADERS).status_code == 200
        http.post(f"{path}?{TEXT}", content=PNG, headers=HEADERS)
    http.options("/v1/detect", headers={**HEADERS, "access-control-request-method": "POST"})
    http.get(f"/{TEXT}/..%2f{TEXT}", headers={**HEADERS, "connection": "upgrade", "upgrade": "websocket"})


def send_broken(service: Service) -> None:
    """What httpx would not send: no HTTP, half a body, a body that does not end, an upgrade."""
    port = urlsplit(service.url).port
    text = TEXT.encode()
    head = b"POST /v1/detect?%s HTTP/1.1\r\nhost: %s\r\n%s: %s\r\n" % (text, text, text, text)
    for data in (
        text * 100 + b"\r\n\r\n",
        b"GET /%s HTTP/9.%s\r\n\r\n" % (text, text),
        b"GET /\xff%s HTTP/1.1\r\n\r\n" % text,
        head + b"content-length: %s\r\n\r\n" % text,
        head + b"content-type: image/png\r\ncontent-length: 99999\r\n\r\n" + text + PNG[:2000],
        head + b"transfer-encoding: chunked\r\n\r\n10\r\n" + text + b"\r\nxx" + text + b"\r\n",
        head + b"content-length: 40000000\r\n\r\n" + text + PNG,
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + b"x: " + text * 10_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            try:
                while answer := connection.recv(65536):
                    assert text not in answer
            except ConnectionResetError:
                pass


def send_sealed(http: httpx.Client) -> None:
    for config in decode_keys(http.get("/ohttp-keys").content):
        for chunk_above in (None, 0):
            sealing = Sealing(http, OhttpWrapper(config, chunk_above=chunk_above))
            send_through(sealing)
            assert sealing.ask(CASES[0], date=1.0).status == 400
            for target in (f"/{TEXT}", "/ohttp", "/metrics", f"/livez?{TEXT}"):
                assert sealing.ask(Case("GET", target)).status == 404
        junk = sealing.post("/ohttp", well_sealed_junk(config), ((b"content-type", b"message/ohttp-req"),))
        assert junk.status_code == 400


def send_aws(http: httpx.Client, keys: Path) -> None:
    """As AWS Encryption SDK messages, raw and in JSON, to a shared key and to a public one."""
    by_kind = {key.kind: key for key in KeyStore(keys, time.time).in_use()}
    shared = raw_aes_keyring(by_kind["aes-256"].name, by_kind["aes-256"].secret)
    public = raw_rsa_keyring(by_kind["rsa-3072"].name, public=by_kind["rsa-3072"].public)
    send_through(Sealing(http, AwsWrapper(shared, session_id=TEXT)))
    send_through(Sealing(http, AwsWrapper(shared, json=True)))
    send_through(Sealing(http, AwsWrapper(public)))
    picture = AwsWrapper(shared, content="image").wrap(
        InnerRequest("POST", "/v1/detect", ((b"content-type", b"image/png"),), PNG)
    )
    assert Sealing(http, AwsWrapper(shared)).post(picture.target, b"".join(picture.body), picture.headers).is_success
    for named in ({"file_type": TEXT}, {TEXT: TEXT}, {"session_id": f"{TEXT}@example.org"}):
        context = {"processing_stage": "request", "data_type": "http", **named}
        message, _ = seal(TEXT.encode() * 10, shared, context)
        assert http.post("/v1/detect", content=message, headers=dict(picture.headers)).status_code == 400


def send_through(sealing: Sealing) -> None:
    """Every case, and every envelope that is to be refused."""
    for case in CASES:
        answer = sealing.ask(case, date=time.time() if case.succeeds else None)
        assert (answer.status < 300) == case.succeeds and answer.status < 500, (case, answer.status)
        assert not any(needle in answer.body for needle in TEXT_FORMS), case
    assert {answer.status_code for answer in sealing.spoil()} == {400}


@dataclass(frozen=True)
class Aftermath:
    """What is left of a service that was asked everything. files: as they were before it stopped, and afterwards."""

    trace: tracing.Trace
    files: dict[Path, bytes]
    metrics: bytes
    log: bytes
    project: Path
    home: Path
    own_port: int


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def asked(project: Path, home: Path, ask: Callable[[Service, httpx.Client], None], **environ: str) -> Aftermath:
    """Run a traced service, ask, stop it, and gather what there is."""
    output = home.parent / f"{home.name}.trace"
    environ = {"SAFELIGHT_ALLOW_PLAINTEXT": "1", **environ}
    with running(project, home, wrapper=tracing.command(output), **environ) as service:
        with httpx.Client(base_url=service.url, timeout=60) as http:
            ask(service, http)
            metrics = http.get("/metrics").content
        files = contents(home, project)
    files |= {path: files.get(path, b"") + data for path, data in contents(home, project).items()}
    port = urlsplit(service.url).port
    return Aftermath(tracing.read(output), files, metrics, service.log.read_bytes(), project, home, port or 0)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> None:
    reason = tracing.why_not(tmp_path_factory.mktemp("probe"))
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def aftermath(traced: None, tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Iterator[Aftermath]:
    def ask(service: Service, http: httpx.Client) -> None:
        send_plain(service, http)
        send_broken(service)
        send_sealed(http)
        send_aws(http, project / ".safelight" / "sealing")

    project = lay_out(tmp_path_factory.mktemp("canary"), private_key)
    both = {"SAFELIGHT_SEALING__AWS__KINDS": "aes-256,rsa-3072"}
    yield asked(project, tmp_path_factory.mktemp("canary-home") / "home", ask, **both)


def answers(aftermath: Aftermath) -> str:
    """A pattern for the one place where pixels may go: the connections on the service's own port."""
    return rf"^TCP(v6)?:\[[^]]*:{aftermath.own_port}->"


def test_nothing_that_was_written_holds_a_canary(aftermath):
    assert len(aftermath.trace.written) > 10 and len(aftermath.trace.names) > 1000
    assert aftermath.trace.holding(NEEDLES, but=answers(aftermath)) == []
    assert aftermath.trace.copied == []


def test_no_text_comes_back_either(aftermath):
    assert aftermath.trace.holding(TEXT_FORMS) == []


def test_no_file_holds_a_canary_and_none_is_left_where_it_should_not_be(aftermath):
    leaking = [path for path, data in aftermath.files.items() if any(needle in data for needle in NEEDLES)]
    assert leaking == [] and len(aftermath.files) > 50
    assert [path for path in aftermath.files if TEXT.lower() in str(path).lower()] == []
    for folder in ("cwd", "tmp"):
        assert [path for path in aftermath.files if path.is_relative_to(aftermath.home / folder)] == []


def test_the_service_writes_where_it_may_and_nowhere_else(aftermath):
    allowed = (str(aftermath.home), str(aftermath.project / ".safelight"), os.devnull)
    assert [name for name in aftermath.trace.opened if not name.startswith(allowed)] == []
    files = [name for name in aftermath.trace.written if name.startswith("/")]
    assert [name for name in files if not name.startswith(allowed)] == []
    probes = [name for name in files if name.startswith(str(aftermath.home / "tmp"))]
    assert {aftermath.trace.written[name] for name in probes} <= {b"blat"}  # Python asks whether it could


def test_files_that_are_mapped_were_searched(aftermath):
    assert aftermath.trace.mapped and {Path(name) for name in aftermath.trace.mapped} <= set(aftermath.files)


def test_neither_log_nor_metrics_nor_audit_hold_a_canary(aftermath):
    audit = aftermath.project / ".safelight" / "audit"
    report = verify(audit, read_public_key(audit.with_suffix(".pub")), stopped=True)
    assert report.faults == [] and report.records > 2 * len(CASES)
    kept = b"".join(path.read_bytes() for path in audit.iterdir())
    for text in (aftermath.metrics, aftermath.log, kept):
        assert len(text) > 1000 and not any(needle in text for needle in NEEDLES)
    assert b'"protocol":"ohttp"' in kept and b'"protocol":"aws-encryption-sdk"' in kept and b'"status":415' in kept


def test_the_service_calls_nobody(aftermath):
    elsewhere = [c for c in aftermath.trace.connected if "AF_UNIX" not in c and not re.search(r"127\.0\.0\.1|::1", c)]
    assert elsewhere == []


def test_credentials_are_left_nowhere(traced, tmp_path, private_key):
    """Those that hold and those that do not: API keys, tokens with the text in them, on the outside and inside."""
    project = lay_out(tmp_path / "project", private_key)
    secret = b"0123456789abcdef" * 3
    for name, data in (("jwt.key", secret), ("keys.jsonl", b"")):
        path = project / ".safelight" / name
        path.write_bytes(data)
        path.chmod(0o600)
    settings = project / "conf" / "serving" / "gateway.yaml"
    issuer = "jwt: {main: {algorithm: HS256, key: .safelight/jwt.key, audience: safelight}}"
    settings.write_text(re.sub(r"jwt: \{\}", issuer, settings.read_text()))
    key, _ = KeyFile(project / ".safelight" / "keys.jsonl").add(
        ["models", "detect", "metrics"], None, lambda _: PLAIN_KEY
    )
    claims = {"sub": TEXT, "aud": "safelight", "exp": int(time.time()) + 900, "scope": "models detect", TEXT: TEXT}
    good = jwt.encode(claims, secret, "HS256")
    bad = [
        jwt.encode({**claims, "exp": 1}, secret, "HS256"),
        jwt.encode({**claims, "aud": TEXT}, secret, "HS256"),
        jwt.encode({**claims, "exp": TEXT}, secret, "HS256", headers={"kid": TEXT}),
        jwt.encode(claims, TEXT.encode() * 2, "HS256"),
        jwt.encode(claims, None, "none"),
        good[:-3],
        f"{key}{TEXT}",
        TEXT,
    ]

    def ask(service: Service, http: httpx.Client) -> None:
        config = decode_keys(http.get("/ohttp-keys").content)[0]
        for credential in (key, good, *bad):
            for name, value in (("authorization", f"Bearer {credential}"), ("x-api-key", credential)):
                expected = 200 if credential == key or (credential, name) == (good, "authorization") else 401
                case = Case("GET", "/v1/models")
                status = http.get(case.target, headers={name: value}).status_code
                request = InnerRequest("GET", case.target, ((name.encode(), value.encode()),), authority="a")
                outgoing = OhttpWrapper(config).wrap(request)
                answer = http.post("/ohttp", content=b"".join(outgoing.body), headers=dict(outgoing.headers))
                outgoing.answer.feed(answer.content)
                assert status == outgoing.answer.finish().status == expected, (credential, name)
        http.headers["authorization"] = f"Bearer {key}"  # for what follows

    keys = {"SAFELIGHT_ACCESS__API_KEYS": ".safelight/keys.jsonl"}
    after = asked(project, tmp_path / "home", ask, **keys)
    parts = [part.encode() for token in (good, *bad[:5]) for part in token.split(".") if len(part) > 20]
    secrets = [*TEXT_FORMS, PLAIN_KEY.encode(), *base64_forms(PLAIN_KEY.encode()), *parts[1:]]
    assert after.trace.holding(secrets) == []
    # The secret that checks tokens lies in its own file, which is no leak of what was sent.
    assert [p for p, data in after.files.items() if any(one in data for one in secrets)] == []
    audit = b"".join(path.read_bytes() for path in (project / ".safelight" / "audit").iterdir())
    callers = set(re.findall(rb'"caller":"([0-9a-f]{16})"', audit))
    assert len(callers) == 2 and b'"refusal":"unauthenticated"' in audit


LEAKS = {
    "a file that vanishes": "with tempfile.TemporaryFile() as file: file.write(canary)",
    "a named file that vanishes": "file = tempfile.NamedTemporaryFile(); file.write(canary); file.close()",
    "in two parts": "f = os.open('x', os.O_CREAT | os.O_WRONLY); os.write(f, canary[:7]); os.write(f, canary[7:])",
    "writev": "os.writev(os.open('x', os.O_CREAT | os.O_WRONLY), [canary[:3], canary[3:]]); os.unlink('x')",
    "pwrite": "os.pwrite(os.open('x', os.O_CREAT | os.O_WRONLY), canary, 9); os.unlink('x')",
    "memory": "os.write(os.memfd_create('x'), canary)",
    "a name": "os.mkdir(canary); os.rmdir(canary)",
    "a new name": "os.mkdir('x'); os.rename('x', canary); os.rmdir(canary)",
    "base64": "open('x', 'wb').write(base64.b64encode(b'.' + canary)); os.unlink('x')",
    "a child": 'subprocess.run([sys.executable, \'-c\', \'open(0, "rb"); open("x", "w").write(input())\'], input=canary)',
    "a pipe": "os.write(os.pipe()[1], canary)",
    "a socket": "pair = socket.socketpair(); pair[0].sendall(canary)",
    "standard error": "sys.stderr.write(os.fsdecode(canary))",
}
LEAKY = """
import base64, os, socket, subprocess, sys, tempfile
from serving.privacy.process import harden
harden()
canary = os.fsencode(sys.argv[1])[::-1]
"""


@pytest.mark.parametrize("how", list(LEAKS))
def test_the_tracer_finds_a_leak(traced, tmp_path, how):
    output = tmp_path / "trace"
    (tmp_path / "cwd").mkdir()
    script = LEAKY + LEAKS[how]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [*tracing.command(output), sys.executable, "-c", script, TEXT[::-1]]
    subprocess.run(arguments, cwd=tmp_path / "cwd", env=environ, capture_output=True, check=True)
    trace = tracing.read(output)
    found = trace.holding(forms(TEXT.encode()))
    assert found, how
    if "name" not in how or "named" in how:
        assert any(not place.startswith("a name") for place in found)


def test_the_tracer_finds_a_mapped_file(traced, tmp_path):
    output = tmp_path / "trace"
    script = LEAKY + (
        "import mmap; f = open('x', 'w+b'); f.truncate(100); m = mmap.mmap(f.fileno(), 100); m[:16] = canary; m.close()"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [*tracing.command(output), sys.executable, "-c", script, TEXT[::-1]]
    subprocess.run(arguments, cwd=tmp_path, env=environ, check=True)
    assert str(tmp_path / "x") in tracing.read(output).mapped


LEAKING_INTAKE = """

import tempfile

_image = Intake._image


async def _leaking(self, request, *rest):
    print(request.headers.get("content-type"), flush=True)
    upload = await _image(self, request, *rest)
    with tempfile.TemporaryFile() as file:
        file.write(upload.data)
    return upload


Intake._image = _leaking
"""


def test_a_leak_in_the_service_is_found(traced, tmp_path, private_key):
    """The same search, on a service that keeps uploads in a temp file for a moment and logs their type."""
    project = lay_out(tmp_path / "project", private_key)
    source = project / "serving" / "privacy" / "intake.py"
    source.write_text(source.read_text() + LEAKING_INTAKE)

    def ask(service: Service, http: httpx.Client) -> None:
        for case in (CASES[0], Case("POST", "/v1/detect", PNG, TEXT)):
            http.request(case.method, case.target, content=case.body, headers=case.headers)

    after = asked(project, tmp_path / "home", ask)
    places = after.trace.holding(NEEDLES, but=answers(after))
    assert any(place.startswith(str(tmp_path / "home" / "tmp")) for place in places)
    assert str(after.home / "log") in places and TEXT.encode() in after.log
    assert [path for path, data in after.files.items() if any(needle in data for needle in pixel_forms())] == []
