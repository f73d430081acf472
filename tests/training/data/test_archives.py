import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator

import httpx
import pytest

from safelight.errors import FetchError
from training.data.archives import PinnedFile, download, extract, index_url, sha256_of

DATA = bytes(range(256)) * 5000


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Server:
    """A file server that answers ranges, and can break after some bytes."""

    def __init__(self, data, breaks_after=None, ranges=True):
        self.data, self.breaks_after, self.ranges, self.starts = data, breaks_after, ranges, []

    def client(self):
        return httpx.Client(transport=httpx.MockTransport(self.answer))

    def answer(self, request):
        start = int(request.headers.get("range", "bytes=0-")[6:-1]) if self.ranges else 0
        self.starts.append(start)
        if start >= len(self.data):
            return httpx.Response(416)
        body = self.data[start:]
        headers = {"content-length": str(len(body))}
        return httpx.Response(206 if start else 200, headers=headers, stream=Breaking(body, self.breaks_after))


class Breaking(httpx.SyncByteStream):
    def __init__(self, body, after):
        self.body, self.after = body, after

    def __iter__(self) -> Iterator[bytes]:
        yield self.body[: self.after]
        if self.after is not None:
            raise httpx.ReadError("gone")


def fetch(server, path, sha=None):
    seen = []
    with server.client() as client:
        download("http://index/a", path, sha or digest(DATA), client, lambda have, total: seen.append((have, total)))
    return seen


def test_a_download_arrives_whole_and_reports_progress(tmp_path):
    seen = fetch(Server(DATA), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_broken_transfer_resumes_where_it_stopped(tmp_path):
    with pytest.raises(FetchError, match="Run again: it resumes"):
        fetch(Server(DATA, breaks_after=700_000), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    kept = (tmp_path / "a.zip.part").stat().st_size
    assert kept > 0
    server = Server(DATA)
    fetch(server, tmp_path / "a.zip")
    assert server.starts == [kept]
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_server_without_ranges_starts_anew(tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"half")
    fetch(Server(DATA, ranges=False), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_whole_part_needs_no_bytes_more(tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA)
    fetch(Server(DATA), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_wrong_hash_is_said_and_nothing_stays(tmp_path):
    with pytest.raises(FetchError, match=f"expected SHA-256 {'0' * 64}, got {digest(DATA)}"):
        fetch(Server(DATA), tmp_path / "a.zip", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_index_is_said(tmp_path):
    with (
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(404))) as client,
        pytest.raises(FetchError, match="answered 404"),
    ):
        download("http://index/a", tmp_path / "a.zip", "0" * 64, client, lambda *_: None)


def archive(folder, kind):
    path = folder / f"a.{kind}"
    members = {"pkg/data/x.txt": b"wanted", "pkg/__init__.py": b"raise SystemExit('code ran')"}
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, data in members.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as tarred:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tarred.addfile(info, io.BytesIO(data))
            link = tarfile.TarInfo("pkg/data/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tarred.addfile(link)
    return path


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_only_the_wanted_file_comes_out(tmp_path, kind):
    path = archive(tmp_path, kind)
    wanted = PinnedFile("pkg/data/x.txt", tmp_path / "out" / "x.txt", digest(b"wanted"))
    assert not wanted.present()
    extract(path, sha256_of(path), [wanted])
    assert wanted.present()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.txt"]


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_an_archive_that_is_not_the_pinned_one_is_not_opened(tmp_path, kind):
    path = archive(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FetchError, match="It was not opened"):
        extract(path, "0" * 64, [])


@pytest.mark.parametrize(
    ("kind", "member", "message"),
    [
        ("whl", "pkg/none", "found none"),
        ("tar.gz", "pkg/none", "found none"),
        ("tar.gz", "pkg/data/link", "found none"),
        ("whl", "pkg/__init__.py", "expected SHA-256"),
    ],
)
def test_a_file_that_is_missing_or_wrong_is_said(tmp_path, kind, member, message):
    path = archive(tmp_path, kind)
    with pytest.raises(FetchError, match=message):
        extract(path, sha256_of(path), [PinnedFile(member, tmp_path / "out", digest(b"wanted"))])
    assert not (tmp_path / "out").exists()


def test_the_index_is_the_one_pip_uses(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1/simple/")
    assert index_url() == "http://127.0.0.1/simple/"
