"""Downloads from a local server that can fail in every way that servers fail."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gclrec.common.errors import InputError
from gclrec.data.catalog.download import fetch, unzip

CONTENT = bytes(range(256)) * 2000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers each path in its own way, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: dict[str, int] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.server.asked[self.path] = self.server.asked.get(self.path, 0) + 1
        kind = self.path.strip("/").split(".")[0]
        if kind == "missing":
            return self.send_error(404)
        if kind == "busy" or (kind == "busy-once" and asked == 1):
            return self.send_error(503)
        self.send_response(200)
        if kind != "unannounced":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        cut_off = kind == "cut" or (kind == "cut-once" and asked == 1)
        damaged = kind == "damaged-once" and asked == 1
        body = CONTENT[: len(CONTENT) // 3] if cut_off else CONTENT
        self.wfile.write(body[::-1] if damaged else body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def nothing_left(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("checksum", [None, MD5, SHA256])
@pytest.mark.parametrize("kind", ["good", "unannounced"])
def test_good_transfer(server: Server, tmp_path: Path, kind: str, checksum: str | None) -> None:
    path = fetch(server.url(f"{kind}.txt"), tmp_path / "new" / "data.txt", checksum=checksum)
    assert path == tmp_path / "new" / "data.txt"
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["data.txt"]


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    url = server.url("good.txt")
    for _ in range(2):
        fetch(url, tmp_path / "data.txt", checksum=MD5)
    assert server.asked == {"/good.txt": 1}
    (tmp_path / "data.txt").write_bytes(b"spoilt")
    assert fetch(url, tmp_path / "data.txt", checksum=MD5).read_bytes() == CONTENT
    assert server.asked == {"/good.txt": 2}


@pytest.mark.parametrize(
    ("kind", "tries", "message"),
    [
        ("missing", 1, "the server answered 404"),
        ("busy", 3, "the server answered 503"),
        ("cut", 3, "the transfer was cut off"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(
    server: Server, tmp_path: Path, kind: str, tries: int, message: str
) -> None:
    url = server.url(f"{kind}.txt")
    with pytest.raises(InputError, match=message) as caught:
        fetch(url, tmp_path / "new" / "data.txt")
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert server.asked == {f"/{kind}.txt": tries}
    assert nothing_left(tmp_path / "new")


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checksum differs"):
        fetch(server.url("good.txt"), tmp_path / "data.txt", checksum="md5:" + "0" * 32)
    assert nothing_left(tmp_path)


def test_a_failure_leaves_the_file_of_before(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_bytes(b"of before")
    with pytest.raises(InputError, match="cut off"):
        fetch(server.url("cut.txt"), tmp_path / "data.txt", checksum=MD5)
    assert (tmp_path / "data.txt").read_bytes() == b"of before"


def test_missing_bytes_are_noticed_whatever_the_library_does(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions of urllib3 take a closed connection for the end of the file."""

    def lenient(self: object, url: str, output_file: str, pooch: object) -> None:
        Path(output_file).write_bytes(CONTENT[:-1])
        self.progressbar.total = len(CONTENT)

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", lenient)
    with pytest.raises(InputError, match="cut off"):
        fetch(server.url("good.txt"), tmp_path / "data.txt")
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("kind", ["busy-once", "cut-once", "damaged-once"])
def test_the_second_try_succeeds(server: Server, tmp_path: Path, kind: str) -> None:
    path = fetch(server.url(f"{kind}.txt"), tmp_path / "data.txt", checksum=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == {f"/{kind}.txt": 2}


def test_no_connection(server: Server, tmp_path: Path) -> None:
    url = server.url("good.txt")
    server.server_close()  # nobody listens there any more
    with pytest.raises(InputError, match="no connection"):
        fetch(url, tmp_path / "data.txt", attempts=2)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("url", ["http://", "no-address"])
def test_no_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="not an address"):
        fetch(url, tmp_path / "data.txt")


def test_progress_bar_tells_the_bytes(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(server.url("good.txt"), tmp_path / "data.txt", progress=True)
    captured = capsys.readouterr()
    assert "data.txt: 100%" in captured.err
    assert captured.out == ""
    fetch(server.url("good.txt"), tmp_path / "quiet.txt", progress=False)
    assert capsys.readouterr() == ("", "")


def zip_of(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("prefix", ["", "ml-100k/"])
def test_unzip(tmp_path: Path, prefix: str) -> None:
    archive = zip_of(tmp_path / "x.zip", {f"{prefix}u.data": "1 2", f"{prefix}more/u.item": "3"})
    folder = unzip(archive, tmp_path / "cache" / "ml-100k")
    assert (folder / "u.data").read_text() == "1 2"
    assert (folder / "more" / "u.item").read_text() == "3"
    assert [each.name for each in folder.parent.iterdir()] == ["ml-100k"]


def test_unzip_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert (unzip(zip_of(tmp_path / "x.zip", {"a": "1"}), tmp_path / "there") / "a").exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "c:\\outside"])
def test_unzip_refuses_what_points_outside(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "x.zip", {"fine": "1", name: "2"})
    with pytest.raises(InputError, match="points outside"):
        unzip(archive, tmp_path / "cache" / "here")
    assert nothing_left(tmp_path / "cache")


def test_unzip_of_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", {"one": "1" * 1000, "two": "2" * 1000})
    broken = bytearray(archive.read_bytes())
    broken[60] ^= 255  # inside the first file: its own checksum tells
    archive.write_bytes(broken)
    with pytest.raises(InputError, match="not a zip file that can be unpacked"):
        unzip(archive, tmp_path / "cache" / "here")
    assert nothing_left(tmp_path / "cache")
