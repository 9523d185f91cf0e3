"""Published checkpoints: a file is complete and as published, or not there."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from hitagu_lib.cli.main import main
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import file_sha256
from hitagu_lib.runs import published as module
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.published import Published, fetch, read_names

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A server on loopback that replies with `answer` and counts the requests in `asked`."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked = content, 0
        self.answer: Answer = self.whole
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                server.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/k700_best.pt"

    def head(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(self.content)))
        request.end_headers()

    def whole(self, request: BaseHTTPRequestHandler) -> None:
        self.head(request)
        request.wfile.write(self.content)

    def half(self, request: BaseHTTPRequestHandler) -> None:
        self.head(request)
        request.wfile.write(self.content[: len(self.content) // 2])

    @staticmethod
    def missing(request: BaseHTTPRequestHandler) -> None:
        request.send_error(404)


@pytest.fixture
def server(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(untrained.read_bytes())
    thread = threading.Thread(target=server.http.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def published(server: Server, folder: Path, **changes: str) -> Published:
    values = {"url": server.url, "sha256": hashlib.sha256(server.content).hexdigest()} | changes
    return Published("k700", folder / "pretrained" / "k700_best.pt", "a test", **values)


def test_fetch_downloads_the_published_checkpoint_which_loads(server: Server, tmp_path: Path) -> None:
    one = published(server, tmp_path)
    assert fetch(one)
    assert one.file.read_bytes() == server.content and one.state() == "there, as published"
    assert {"params", "classes", "model"} <= load_checkpoint(one.file).keys()
    assert [file.name for file in one.file.parent.iterdir()] == ["k700_best.pt"]
    assert socket.getdefaulttimeout() is None, "the timeout was for this download alone"


def test_a_published_file_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    one = published(server, tmp_path)
    assert fetch(one) and not fetch(one) and not fetch(one, force=True)
    assert server.asked == 1


def test_a_different_file_is_replaced_only_with_force(server: Server, tmp_path: Path) -> None:
    one = published(server, tmp_path)
    one.file.parent.mkdir()
    one.file.write_bytes(b"mine")
    with pytest.raises(WeightsError, match=r"k700_best\.pt: exists, with SHA-256 .*--force"):
        fetch(one)
    assert one.file.read_bytes() == b"mine" and server.asked == 0
    assert fetch(one, force=True)
    assert one.file.read_bytes() == server.content


@pytest.mark.parametrize("own", [False, True], ids=["no file", "a different file"])
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("cut", r"invalid hash value .*got .*the connection ended early \(run the command again\)"),
        ("404", "the server answered 404 Not Found"),
        ("other content", f'invalid hash value .expected "{"0" * 64}", got ".*or the file is not the published one'),
        ("no checkpoint", r"the download is not a checkpoint of this library: "),
        ("closed port", "no connection: .*refused"),
        ("silence", "the server was silent"),
        ("other scheme", "the server answered 302 .*is not allowed"),
    ],
)
def test_a_failed_download_leaves_the_folder_unchanged(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, says: str, own: bool
) -> None:
    one, given_up, closed = published(server, tmp_path), threading.Event(), socket.socket()

    def silence(request: BaseHTTPRequestHandler) -> None:
        server.head(request)
        given_up.wait(10)

    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "file:///etc/hostname")
        request.end_headers()

    if what == "other content":
        one = published(server, tmp_path, sha256="0" * 64)
    elif what == "no checkpoint":
        server.content = b"<html>Please log in</html>"
        one = published(server, tmp_path)
    elif what == "closed port":
        closed.bind(("127.0.0.1", 0))  # nobody else can take the port, and nobody listens
        one = published(server, tmp_path, url=f"http://127.0.0.1:{closed.getsockname()[1]}/k700_best.pt")
    elif what == "silence":
        monkeypatch.setattr(module, "TIMEOUT", 0.2)
    answers: dict[str, Answer] = {
        "cut": server.half,
        "404": server.missing,
        "silence": silence,
        "other scheme": elsewhere,
    }
    server.answer = answers.get(what, server.whole)
    if own:
        one.file.parent.mkdir()
        one.file.write_bytes(b"mine")
    try:
        kept = "is unchanged" if own else "was not written"
        with pytest.raises(WeightsError, match=f"k700: http://127.*{says}.*{kept}"):
            fetch(one, force=True)
    finally:
        given_up.set()
        closed.close()
    left = {file.name: file.read_bytes() for file in one.file.parent.glob("*")}
    assert left == ({"k700_best.pt": b"mine"} if own else {})


def test_half_a_download_never_has_the_name_of_the_file(server: Server, tmp_path: Path) -> None:
    one, sent, go_on = published(server, tmp_path), threading.Event(), threading.Event()

    def slowly(request: BaseHTTPRequestHandler) -> None:
        server.head(request)
        half = len(server.content) // 2
        request.wfile.write(server.content[:half])
        sent.set()
        go_on.wait(10)
        request.wfile.write(server.content[half:])

    server.answer = slowly
    fetching = threading.Thread(target=fetch, args=[one])
    fetching.start()
    assert sent.wait(10)
    assert not one.file.exists()
    go_on.set()
    fetching.join(60)
    assert file_sha256(one.file) == one.sha256


def test_a_pickled_program_is_neither_run_nor_kept(server: Server, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "HACKED",)

    torch.save({"params": {}, "classes": [], "model": Evil()}, tmp_path / "evil.pt")
    server.content = (tmp_path / "evil.pt").read_bytes()
    one = published(server, tmp_path)
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        fetch(one)
    assert not one.file.exists() and not (tmp_path / "HACKED").exists()


# The file of names


def test_the_books_checkpoints_have_their_places() -> None:
    names = read_names(Path(__file__).resolve().parents[2] / "params" / "checkpoints.yaml")
    assert {name: str(one.file) for name, one in names.items()} == {
        "k700": "outputs/pretrained/k700_best.pt",
        "ssv2": "outputs/pretrained/ssv2_best.pt",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("k: 3", r"k: found 3; expected the keys"),
        ("k: {file: a.pt, uri: x}", "k: found uri; known here: file, sha256, url, what"),
        ("k: {file: 3}", r"k\.file: found 3 \(int\); expected text"),
        ("k: {url: null}", r"k\.file: found none"),
        ("k: {file: .}", r"k\.file: found none"),
        ("k: {file: a.pt, url: 'ftp://a/b'}", r"k\.url: found 'ftp://a/b'; expected an address that begins with https"),
        ("k: {file: a.pt, url: 'file:///etc/passwd'}", r"k\.url: "),
        ("k: {file: a.pt, url: 'http://a/b'}", "k: found one of url and sha256; expected both"),
        ("k: {file: a.pt, url: 'http://a/b', sha256: 12ab}", r"k\.sha256: found '12ab'; expected 64"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"names\.yaml: {says}"):
        read_names(tmp_path / "names.yaml")


def test_the_command(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = published(server, Path())
    Path("names.yaml").write_text(
        f"k700: {{what: here, file: k700.pt, url: '{given.url}', sha256: {given.sha256}}}\n"
        "ssv2: {what: not yet, file: ssv2.pt, url: null, sha256: null}\n"
    )
    assert main(["checkpoints", "list", "--params", "names.yaml"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("k700.pt  (here): not there; published")
    assert out[1].endswith("ssv2.pt  (not yet): not there; not published yet")
    assert main(["checkpoints", "fetch", "--params", "names.yaml"]) == 0, "what is not published is not asked for"
    assert capsys.readouterr().out == "k700.pt: fetched\n"
    assert main(["checkpoints", "fetch", "--params", "names.yaml"]) == 0
    assert capsys.readouterr().out == "k700.pt: there, as published\n"
    assert main(["checkpoints", "fetch", "ssv2", "--params", "names.yaml"]) == 2
    assert "ssv2: no weights are published yet; put your own at ssv2.pt" in capsys.readouterr().err
    Path("ssv2.pt").write_bytes(server.content)
    assert main(["checkpoints", "fetch", "ssv2", "--params", "names.yaml"]) == 0
    assert capsys.readouterr().out == "ssv2.pt: there, your own; not published yet\n"
    assert main(["checkpoints", "fetch", "k70", "--params", "names.yaml"]) == 2
    assert "names.yaml: found no 'k70'; known: k700, ssv2" in capsys.readouterr().err
    Path("k700.pt").write_bytes(b"changed")
    assert main(["checkpoints", "fetch", "k700", "--params", "names.yaml"]) == 2
    assert main(["checkpoints", "list", "--params", "names.yaml"]) == 0
    assert "there, another file than published" in capsys.readouterr().out
    assert main(["checkpoints", "fetch", "k700", "--params", "names.yaml", "--force"]) == 0
    assert Path("k700.pt").read_bytes() == server.content
