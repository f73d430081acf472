"""Binary HTTP: RFC 9292's examples, both framings, padding and truncation, and what must be refused."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safelight.errors import SealBroken
from safelight.sealing import bhttp, varint
from safelight.sealing.messages import InnerRequest, InnerResponse
from tests.vectors.load import published

RFC = {name: bytes.fromhex(value) for name, value in published("rfc9292").items() if name != "source"}
LINES = (
    (b"user-agent", b"curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"),
    (b"host", b"www.example.com"),
    (b"accept-language", b"en, mi"),
)
HELLO = InnerRequest("GET", "/hello.txt", LINES)


# The examples of RFC 9292, section 5.


def test_the_request_of_known_length():
    assert bhttp.decode_request(RFC["request_known"]) == HELLO
    assert bhttp.encode_request(HELLO) == RFC["request_known"]


def test_the_request_of_indeterminate_length():
    assert bhttp.decode_request(RFC["request_indeterminate"]) == HELLO


@pytest.mark.parametrize(("name", "removable"), [("request_known", 2), ("request_indeterminate", 12)])
def test_the_requests_may_be_cut_as_far_as_the_rfc_says_and_no_further(name, removable):
    for cut in range(1, removable + 1):
        assert bhttp.decode_request(RFC[name][:-cut]) == HELLO
    with pytest.raises(SealBroken):
        bhttp.decode_request(RFC[name][: -removable - 1])


def test_the_response_with_informational_ones_before_it():
    response = bhttp.decode_response(RFC["response_indeterminate"])
    assert response.status == 200 and len(response.headers) == 8
    assert response.headers[0] == (b"date", b"Mon, 27 Jul 2009 12:28:53 GMT")
    assert response.headers[-1] == (b"content-type", b"text/plain")
    assert response.body == b"Hello World! My content includes a trailing CRLF.\r\n" and len(response.body) == 51


def test_the_response_with_a_trailer():
    """The trailer's name, `trailer`, is one of those that relate to a connection: that does not make it invalid."""
    assert bhttp.decode_response(RFC["response_known"]) == InnerResponse(
        200, (), b"This content contains CRLF.\r\n\r\n"[:29]
    )


@pytest.mark.parametrize("name", RFC)
def test_zeros_may_follow_and_nothing_else(name):
    decode = bhttp.decode_request if "request" in name else bhttp.decode_response
    whole = decode(RFC[name])
    assert decode(RFC[name] + bytes(1000)) == whole
    for padding in (b"\1", bytes(10) + b"\1", b"\1" + bytes(10), RFC[name]):
        with pytest.raises(SealBroken):
            decode(RFC[name] + padding)


@pytest.mark.parametrize("name", RFC)
def test_requests_are_no_responses(name):
    decode = bhttp.decode_response if "request" in name else bhttp.decode_request
    with pytest.raises(SealBroken):
        decode(RFC[name])


# Messages of any kind.

names = st.from_regex(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,30}", fullmatch=True).filter(
    lambda name: name not in bhttp._HOP_BY_HOP
)
values = st.binary(max_size=40).map(lambda v: bytes(c for c in v if c == 9 or 32 <= c != 127).strip(b" \t"))
fields = st.lists(st.tuples(names, values), max_size=8).map(tuple)
bodies = st.binary(max_size=2000)
requests = st.builds(
    InnerRequest,
    st.from_regex(r"[A-Za-z!#$%&'*+.^_`|~0-9-]{1,16}", fullmatch=True),
    st.from_regex(r"/[!$%&-;=?-\[\]_a-z~]{0,60}", fullmatch=True),
    fields,
    bodies,
    st.sampled_from(["https", "http", "", "a+b"]),
    st.sampled_from(["", "example.com", "[::1]:8080", "example.com:443"]),
)
responses = st.builds(InnerResponse, st.integers(200, 599), fields, bodies)


def sized(data: bytes, form: int = 0) -> bytes:
    """form: 0 for the shortest length, else the power of two of its size."""
    if not form or len(data) >= 1 << (8 * (1 << form) - 2):
        return varint.encode(len(data)) + data
    size = 1 << form
    return (len(data) | form << (8 * size - 2)).to_bytes(size, "big") + data


def in_pieces(message, cuts=(), trailers=(), informational=(), form: int = 0) -> bytes:
    """A message of indeterminate length: an encoder of its own. cuts: where the content is divided."""

    def section(lines):
        return b"".join(sized(name, form) + sized(value, form) for name, value in lines) + b"\0"

    if isinstance(message, InnerRequest):
        control = [message.method, message.scheme, message.authority, message.target]
        head = b"\2" + b"".join(sized(part.encode(), form) for part in control)
    else:
        head = b"\3" + b"".join(varint.encode(status) + section(lines) for status, lines in informational)
        head += varint.encode(message.status)
    borders = [0, *sorted(cut for cut in cuts if cut < len(message.body)), len(message.body)]
    pieces = [message.body[a:b] for a, b in itertools.pairwise(borders) if b > a]
    return (
        head + section(message.headers) + b"".join(sized(piece, form) for piece in pieces) + b"\0" + section(trailers)
    )


@given(requests)
def test_requests_come_back(request):
    assert bhttp.decode_request(bhttp.encode_request(request)) == request


@given(responses)
def test_responses_come_back(response):
    assert bhttp.decode_response(bhttp.encode_response(response)) == response


@given(requests, st.lists(st.integers(1, 2000), max_size=6), fields, st.integers(0, 3), st.integers(0, 50))
def test_requests_in_pieces(request, cuts, trailers, form, padding):
    assert bhttp.decode_request(in_pieces(request, cuts, trailers, form=form) + bytes(padding)) == request


@given(
    responses,
    st.lists(st.integers(1, 2000), max_size=6),
    fields,
    st.lists(st.tuples(st.integers(100, 199), fields), max_size=3),
)
def test_responses_in_pieces(response, cuts, trailers, informational):
    assert bhttp.decode_response(in_pieces(response, cuts, trailers, informational)) == response


@given(responses, st.lists(st.integers(1, 2000), max_size=6))
def test_what_the_writer_writes_is_the_response(response, cuts):
    writer = bhttp.ResponseWriter
    borders = [0, *sorted(cut for cut in cuts if cut < len(response.body)), len(response.body)]
    pieces = [writer.content(response.body[a:b]) for a, b in itertools.pairwise(borders)]
    message = writer.begin(response.status, response.headers) + b"".join(pieces) + writer.end()
    assert bhttp.decode_response(message) == response


@given(requests.filter(lambda request: len(request.body) < 200), fields)
@example(InnerRequest("GET", "/"), ())
def test_a_message_cut_anywhere_is_refused_or_ends_with_a_whole_section(request, trailers):
    """Sections that are missing altogether count as empty (3.1, 3.8); RFC 9458's own example has no header section."""
    wholes = (replace(request, headers=(), body=b""), replace(request, body=b""), request)
    for message in (bhttp.encode_request(request), in_pieces(request, (7,), trailers)):
        for end in range(len(message)):
            try:
                read = bhttp.decode_request(message[:end])
            except SealBroken:
                continue
            assert read in wholes


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data):
    for framing in range(5):
        for decode in (bhttp.decode_request, bhttp.decode_response):
            try:
                decode(bytes([framing]) + data)
            except SealBroken:
                continue


# What a message may not hold.


def message_with(line: tuple[bytes, bytes], known: bool) -> bytes:
    request = InnerRequest("GET", "/", (line,))
    return bhttp.encode_request(request) if known else in_pieces(request)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        (b"Upper", b"x"), (b"a b", b"x"), (b"a:", b"x"), (b":path", b"/"), (b"na\xefve", b"x"), (b"a\0", b"x"),
        (b"a" * 257, b"x"), (b"a", b" x"), (b"a", b"x "), (b"a", b"\tx"), (b"a", b"x\r\ny: z"), (b"a", b"x\0"), (b"a", b"\x7f"),
        (b"a", b"x" * 32769), (b"a\n", b"x"), (b"a", b"x\n"),
    ],
)  # fmt: skip
def test_field_lines_that_are_refused(line, known):
    with pytest.raises(SealBroken):
        bhttp.decode_request(message_with(line, known))


def test_a_name_is_never_empty():
    """In the indeterminate framing an empty name is what ends a section."""
    with pytest.raises(SealBroken):
        bhttp.decode_request(message_with((b"", b"x"), True))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", sorted(bhttp._HOP_BY_HOP))
def test_fields_of_a_connection_are_left_out(name, known):
    """RFC 9292, section 3.6: they cannot have an effect, and do not make the message invalid."""
    assert bhttp.decode_request(message_with((name, b"chunked"), known)) == InnerRequest("GET", "/")


@pytest.mark.parametrize(
    "control",
    [
        ("", "https", "", "/"), ("G T", "https", "", "/"), ("GET\n", "https", "", "/"), ("GET", "1http", "", "/"),
        ("GET", "https", "a b", "/"), ("GET", "https", "a/b", "/"), ("GET", "https", "a\r\nx", "/"), ("GET", "https", "", ""),
        ("GET", "https", "", "v1"), ("GET", "https", "", "*"), ("GET", "https", "", "/a b"), ("GET", "https", "", "/#x"),
        ("GET", "https", "", "/a\n"), ("GET", "https", "", "https://other/"), ("G" * 257, "https", "", "/"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("framing", [0, 2])
def test_control_data_that_is_refused(control, framing):
    message = bytes([framing]) + b"".join(sized(part.encode()) for part in control) + bytes(3)
    with pytest.raises(SealBroken):
        bhttp.decode_request(message)


@pytest.mark.parametrize("status", [0, 99, 600, 999, 2**40])
def test_other_statuses_are_refused(status):
    for framing in (1, 3):
        with pytest.raises(SealBroken):
            bhttp.decode_response(bytes([framing]) + varint.encode(status) + bytes(3))


@pytest.mark.parametrize("count", [100, 101])
@pytest.mark.parametrize("name", [b"a", b"te"])
def test_fields_are_limited_in_number(count, name):
    message = bhttp.encode_request(InnerRequest("GET", "/", ((name, b"x"),) * count))
    if count == 100:
        assert len(bhttp.decode_request(message).headers) == (count if name == b"a" else 0)
    else:
        with pytest.raises(SealBroken):
            bhttp.decode_request(message)


def test_fields_are_limited_in_size():
    lines = tuple((b"a%d" % number, b"x" * 4000) for number in range(9))
    assert bhttp.decode_request(bhttp.encode_request(InnerRequest("GET", "/", lines[:8])))
    with pytest.raises(SealBroken):
        bhttp.decode_request(bhttp.encode_request(InnerRequest("GET", "/", lines)))


def test_endless_informational_responses_are_refused():
    with pytest.raises(SealBroken):
        bhttp.decode_response(b"\1" + b"\x40\x64\0" * 1000 + b"\x40\xc8\0\0\0")


def test_lengths_beyond_the_message_are_refused():
    known = bhttp.encode_request(HELLO)
    for at in [match.start() for match in re.finditer(rb"\x0f|\x04|\x40", known)]:
        with pytest.raises(SealBroken):
            bhttp.decode_request(known[:at] + b"\xff" * 8 + known[at + 1 :])


def test_what_is_inside_is_not_shown():
    request = InnerRequest("POST", "/v1/detect", ((b"authorization", b"secret"),), b"picture")
    for shown in (repr(request), repr(InnerResponse(200, ((b"x", b"secret"),), b"picture"))):
        assert "secret" not in shown and "picture" not in shown
