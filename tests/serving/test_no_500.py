"""Whatever is sent, the answer is a success or a refusal, never a 500."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.conftest import encoded, squares

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PICTURES = [
    encoded(squares(person=(8, 8), cat=(40, 40)), kind, **options)
    for kind, options in (
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    )
]
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(
    lambda text: text.strip().encode("latin-1")
)
TYPES = st.sampled_from(
    [b"image/png", b"image/jpeg", b"image/webp", b"", b"application/octet-stream", b"multipart/form-data; boundary=x",
     b"multipart/form-data; boundary", b'multipart/form-data; boundary="', b"multipart/form-data;boundary=\xff",
     b"multipart/mixed; boundary=x", b"image/png; q=\xff", b";", b"image/", b"IMAGE/PNG"]
)  # fmt: skip


def check(response):
    assert response.status_code == 200 or 400 <= response.status_code < 500, response.status_code
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


@BOUNDED
@given(st.binary(max_size=2000), TYPES | HEADER_TEXT)
def test_any_bytes_of_any_type(client, data, content_type):
    check(client.post("/v1/detect", content=data, headers={"content-type": content_type}))


@st.composite
def damaged(draw):
    """A picture that was cut, had bytes changed, taken out or put in."""
    data = bytearray(draw(st.sampled_from(PICTURES)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["cut", "change", "remove", "insert"])):
            case "cut":
                del data[at:]
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "remove":
                del data[at : at + draw(st.integers(1, 20))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
    return bytes(data)


@settings(BOUNDED, max_examples=250)
@given(damaged(), st.sampled_from(["", "?render=png", "?threshold=0.01", "?model=tree-crowns"]))
def test_damaged_pictures(client, data, query):
    check(client.post(f"/v1/detect{query}", content=data))


@settings(BOUNDED, max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [b"--x", b"--x--", b"\r\n", b"\n", b"\r", b"--", b"Content-Disposition: form-data", b"; name=image",
             b"; name", b'; name="image"', b"; filename=\xff\x00", b'; filename="a"', b"Content-Type: image/png", b": ",
             b"\x00", b"=", b"Content-Transfer-Encoding: base64", b"x" * 5000, PICTURES[0],
             b"; name*=utf-8''image", b" ", b"\t"]
        ),
        max_size=25,
    ).map(b"".join)
    | st.binary(max_size=300).map(lambda data: b"--x\r\n" + data)
)  # fmt: skip
def test_broken_forms(client, body):
    check(client.post("/v1/detect", content=body, headers={"content-type": "multipart/form-data; boundary=x"}))


@BOUNDED
@given(st.lists(st.binary(max_size=400), max_size=12))
def test_a_form_is_the_same_however_it_is_cut(client, cuts):
    """The parser sees any chunks; the picture comes out whole."""
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + PICTURES[0] + b"\r\n--x--\r\n"
    sizes, chunks, start = [len(cut) + 1 for cut in cuts], [], 0
    for size in sizes:
        chunks.append(body[start : start + size])
        start += size
    content = iter([*chunks, body[start:]])
    response = client.post("/v1/detect", content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    assert response.json()["counts"] == {"person": 1, "cat": 1}


@BOUNDED
@given(
    st.binary(max_size=80).map(
        lambda q: "".join(f"%{b:02x}" if b in b"#\r\n\0" or b > 126 or b < 33 else chr(b) for b in q)
    )
)
def test_any_query(client, query):
    check(client.post(f"/v1/detect?{query}", content=PICTURES[0]))


@BOUNDED
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(["coco", "tree-crowns", "", "x"]) | st.text(max_size=10),
            "threshold": st.floats().map(str) | st.text(max_size=5),
            "classes": st.lists(st.sampled_from(["person", "cat", "dog", " "])).map(",".join) | st.text(max_size=10),
            "render": st.sampled_from(["png", "", "json"]),
        },
    )
)
def test_any_options(client, options):
    check(client.post("/v1/detect", params=options, content=PICTURES[0]))


@pytest.mark.parametrize("length", ["-1", "abc", "99999999999999999999999", "1e9", "", "٣"])
def test_odd_lengths(client, length):
    check(client.post("/v1/detect", content=iter([PICTURES[0]]), headers={"content-length": length.encode()}))
