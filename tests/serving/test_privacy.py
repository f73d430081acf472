"""Who may pass, what the process is bound to, and what a sealed request looks like from inside."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from ipaddress import ip_address

import anyio
import pytest

from safelight.errors import PlaintextRefused
from serving.privacy.context import Seal, context_of, open_context, sealed_scope
from serving.privacy.listeners import is_loopback, listening_addresses
from serving.privacy.policy import SealedOnly
from serving.privacy.quiet import TALKATIVE, silence
from tests.conftest import ROOT
from tests.serving.conftest import LOOPBACK, encoded, squares
from tests.serving.test_bad_bodies import assert_problem

GOOD = encoded(squares(person=(8, 8)))
EVERYWHERE = (ip_address("0.0.0.0"),)


@pytest.mark.parametrize(
    ("allowed", "addresses", "passes"),
    [
        (True, LOOPBACK, True),
        (True, (*LOOPBACK, ip_address("::1")), True),
        (True, (ip_address("127.8.0.1"),), True),
        (True, (ip_address("::ffff:127.0.0.1"),), True),
        (False, LOOPBACK, False),
        (True, EVERYWHERE, False),
        (True, (*LOOPBACK, *EVERYWHERE), False),
        (True, (ip_address("::"),), False),
        (True, (ip_address("10.0.0.1"),), False),
        (True, (), False),
    ],
)
def test_plaintext_passes_only_where_allowed_and_bound_to_loopback(settings, make_client, allowed, addresses, passes):
    client = make_client(settings.model_copy(update={"allow_plaintext": allowed}), None, addresses)
    forged = {
        "host": "127.0.0.1",
        "x-forwarded-for": "127.0.0.1",
        "safelight.seal": "ohttp",
        "content-type": "image/png",
    }
    response = client.post("/v1/detect", content=GOOD, headers=forged)
    if passes:
        assert response.status_code == 200
    else:
        assert "docs/serving.md" in str(assert_problem(response, 403, "plaintext-refused")["detail"])
        assert_problem(client.get("/v1/anything/else"), 403, "plaintext-refused")
        local = bool(addresses) and all(is_loopback(address) for address in addresses)
        assert client.get("/v1/models").status_code == (200 if local else 403)
        assert client.get("/openapi.json").status_code == 200


def test_a_refused_body_is_not_looked_at(settings, make_client):
    client = make_client(settings.model_copy(update={"allow_plaintext": False}))
    for body in (b"", b"junk", bytes(3_000_000)):
        assert_problem(client.post("/v1/detect?nonsense=1", content=body), 403, "plaintext-refused")


def test_a_sealed_scope_passes_and_the_mark_stays_inside():
    seen = []

    async def app(scope, receive, send):
        seen.append(context_of(scope))

    policy = SealedOnly(app, open_paths=(), allow_plaintext=False, listeners=lambda: LOOPBACK)
    outer = {"type": "http", "path": "/v1/detect"}
    inner = sealed_scope(outer, Seal("ohttp"))
    open_context(outer, "outer")
    open_context(inner, "inner")
    anyio.run(policy, inner, None, None)
    assert seen[0].seal == Seal("ohttp") and seen[0].request_id == "inner"
    with pytest.raises(PlaintextRefused):
        anyio.run(policy, outer, None, None)
    with pytest.raises(KeyError):
        context_of(sealed_scope(outer, Seal("ohttp")))


def test_an_inner_request_is_dispatched_to_the_same_application(settings, portal):
    """What a middleware that opens sealed requests will do."""
    import httpx

    from serving.api.app import create_app
    from serving.models.loading import catalogue_of
    from serving.privacy.access import Access
    from serving.privacy.gate import Gate

    catalogue = catalogue_of(settings)
    catalogue.load()
    refusing = settings.model_copy(update={"allow_plaintext": False})
    gate = Gate(settings, now=lambda: 0.0)
    access = Access(refusing, listeners=lambda: [], now=lambda: 0.0)
    access.load()
    app = create_app(
        refusing, catalogue, gate, access, listeners=lambda: [], new_id=lambda: "0" * 32, clock=lambda: 0.0
    )

    async def opener(scope, receive, send):
        await app(sealed_scope(scope, Seal("test")), receive, send)

    async def call(application):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://gateway") as client:
            return await client.post("/v1/detect", content=GOOD)

    assert portal.call(call, app).status_code == 403
    assert portal.call(call, opener).json()["counts"] == {"person": 1}


def test_the_listening_sockets_of_this_process_are_found():
    script = """
import socket
from serving.privacy.listeners import listening_addresses
assert listening_addresses() == []
bound = [socket.socket(), socket.socket(socket.AF_INET6), socket.socket(type=socket.SOCK_DGRAM)]
for s, host in zip(bound, ["127.0.0.1", "::1", "0.0.0.0"]): s.bind((host, 0))
assert listening_addresses() == []
bound[0].listen(); bound[1].listen()
print(sorted(map(str, listening_addresses())))
client = socket.create_connection(bound[0].getsockname()); served = bound[0].accept()[0]
assert len(listening_addresses()) == 2
wide = socket.socket(); wide.bind(("0.0.0.0", 0)); wide.listen()
print(sorted(map(str, listening_addresses())))
served.sendall(b"x"); assert client.recv(1) == b"x"
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.splitlines() == ["['127.0.0.1', '::1']", "['0.0.0.0', '127.0.0.1', '::1']"], result.stderr


def test_asking_leaves_the_sockets_open():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for _ in range(3):
            assert ip_address("127.0.0.1") in listening_addresses()
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize(("text", "expected"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)])
def test_loopback(text, expected):
    assert is_loopback(ip_address(text)) is expected


def test_talkative_libraries_are_silent(caplog):
    levels = {name: logging.getLogger(name).level for name in TALKATIVE}
    try:
        with caplog.at_level(logging.DEBUG):
            silence()
            for name in (*TALKATIVE, "PIL.TiffImagePlugin", "python_multipart.multipart"):
                logging.getLogger(name).error("a payload")
        assert "a payload" not in caplog.text
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
