"""The server of the page: what it gives, what it refuses, and that refusals do not disturb a measurement."""

import hashlib
import json
import re
import socket
import ssl
import threading
from contextlib import suppress

import numpy as np
import pytest

from benchmarks.browser import server as module
from benchmarks.browser.certificate import make_certificate
from benchmarks.browser.server import Server
from benchmarks.browser.session import BrowserSession
from benchmarks.device import SessionFailed, Unavailable
from benchmarks.exported import read_export
from tests.benchmarks.browser.visitor import FACTS, Visitor, reply
from tests.benchmarks.small_exports import VIDEO_ONLY, onnx_export


def raw(server: Server, text: str | bytes, *, end: bool = True) -> bytes:
    """The answer to these bytes, in which PORT stands for the port; `end` closes the sending side."""
    data = text.encode() if isinstance(text, str) else text
    data = data.replace(b"PORT", str(server.port).encode()).replace(b"\n", b"\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(data)
        answer = b""
        with suppress(OSError):  # the server may close before everything is sent
            if end:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        return answer


HOST = "Host: 127.0.0.1:PORT\n"
OWN = HOST + "Origin: http://127.0.0.1:PORT\n"
HOSTILE = {
    "no token": (f"GET / HTTP/1.1\n{HOST}\n", 404),
    "wrong token": (f"GET /guess/ HTTP/1.1\n{HOST}\n", 404),
    "token without a slash": (f"GET /t0ken HTTP/1.1\n{HOST}\n", 404),
    "non-ASCII token": (f"GET /t\u00f6ken/ HTTP/1.1\n{HOST}\n".encode("latin-1"), 404),
    "traversal": (f"GET /t0ken/../secret.txt HTTP/1.1\n{HOST}\n", 404),
    "encoded traversal": (f"GET /t0ken/assets/%2e%2e/%2e%2e/secret.txt HTTP/1.1\n{HOST}\n", 404),
    "traversal among assets": (f"GET /t0ken/assets/small/../../secret.txt HTTP/1.1\n{HOST}\n", 404),
    "absolute path": (f"GET /t0ken//etc/passwd HTTP/1.1\n{HOST}\n", 404),
    "null byte": (f"GET /t0ken/page/page.js%00.html HTTP/1.1\n{HOST}\n", 404),
    "file that is not offered": (f"GET /t0ken/files/0 HTTP/1.1\n{HOST}\n", 404),
    "broken address": (f"GET http://[ HTTP/1.1\n{HOST}\n", 404),
    "no host": ("GET /t0ken/ HTTP/1.1\n\n", 403),
    "host of another name": ("GET /t0ken/ HTTP/1.1\nHost: attacker.example:PORT\n\n", 403),
    "host of another port": ("GET /t0ken/ HTTP/1.1\nHost: 127.0.0.1:1\n\n", 403),
    "foreign origin": (f"GET /t0ken/ HTTP/1.1\n{HOST}Origin: http://attacker.example\n\n", 403),
    "foreign site": (f"GET /t0ken/ HTTP/1.1\n{HOST}Sec-Fetch-Site: cross-site\n\n", 403),
    "post of a foreign page": (
        f"POST /t0ken/hello HTTP/1.1\n{HOST}Origin: http://attacker.example\nContent-Length: 2\n\n{{}}",
        403,
    ),
    "post of a page without origin": (f"POST /t0ken/hello HTTP/1.1\n{HOST}Content-Length: 2\n\n{{}}", 403),
    "get of a command": (f"GET /t0ken/turn HTTP/1.1\n{OWN}\n", 405),
    "post to a file": (f"POST /t0ken/page/page.js HTTP/1.1\n{OWN}Content-Length: 0\n\n", 405),
    "delete": (f"DELETE /t0ken/ HTTP/1.1\n{OWN}\n", 405),
    "options": (f"OPTIONS /t0ken/hello HTTP/1.1\n{OWN}\n", 405),
    "unknown method": (f"BREW /t0ken/ HTTP/1.1\n{OWN}\n", 501),
    "body without a length": (f"POST /t0ken/hello HTTP/1.1\n{OWN}\n{{}}", 411),
    "chunked body": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Transfer-Encoding: chunked\n\n0\n\n", 411),
    "negative length": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: -1\n\n", 411),
    "huge body": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: 999999999\n\n", 413),
    "endless length": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: {'9' * 100}\n\n", 413),
    "truncated body": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: 500\n\n{{", 400),
    "no JSON": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: 3\n\n{{]}}", 400),
    "other facts": (f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: 2\n\n{{}}", 400),
    "reply of an unknown page": (
        f"POST /t0ken/turn?page=guess&answered=1 HTTP/1.1\n{OWN}Content-Length: 0\n\n",
        410,
    ),
    "farewell of an unknown page": (
        f"POST /t0ken/leave?page=guess HTTP/1.1\n{OWN}Content-Length: 0\n\n",
        410,
    ),
    "long line": (f"GET /{'a' * 70000} HTTP/1.1\n{HOST}\n", 414),
    "many headers": (f"GET /t0ken/ HTTP/1.1\n{HOST}{'X-A: 1' * 1}\n" + "X-A: 1\n" * 200 + "\n", 431),
}


@pytest.fixture
def measured(server, exchange, tmp_path):
    """A session of a file with a visitor that waits for its command."""
    (file,) = read_export(onnx_export(tmp_path)).files
    visitor = Visitor(server)
    assert visitor.hello() == 200
    session = BrowserSession(file, exchange=exchange, server=server, accelerator="wasm")
    return session, visitor


def in_thread(function, **arguments):
    """Starts the call; gives a function that waits for its result."""
    found = []

    def run():
        try:
            found.append(function(**arguments))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(30)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    return result


def test_hostile_requests_are_refused_and_the_measurement_goes_on(server, measured):
    session, visitor = measured
    loaded = in_thread(session.load, threads=1)
    header, _ = visitor.command()
    wrong = {}
    for name, (request, status) in HOSTILE.items():
        answer = raw(server, request)
        found = answer.split(b" ", 2)[1:2]
        if found != [str(status).encode()] or b"not for anybody" in answer or b"root:" in answer:
            wrong[name] = (status, answer[:200])
    assert wrong == {}
    assert raw(server, "\x16\x03\x01hello\n\n").startswith(b"Bad request syntax"), "no HTTP"
    for body in (b"", b"\xff" * 64, reply("done"), reply("ok", "", np.zeros(3))):
        visitor.answered = header["number"]
        if body:
            assert visitor.turn(body)[0] == 400
    assert visitor.request("POST", f"turn?page={visitor.secret}&answered=x", b"")[0] == 400
    held = in_thread(visitor.turn, body=reply("ok", "small runtime 1"))
    assert loaded() == "small runtime 1"
    assert visitor.tell("leave") == 204
    assert held()[0] == 410


def test_slow_requests_are_cut_off(exchange, measured, server, monkeypatch):
    monkeypatch.setattr(module, "_REQUEST_LIMIT_S", 0.3)
    for beginning in ("GET /t0ken/ HT", f"POST /t0ken/hello HTTP/1.1\n{OWN}Content-Length: 9\n\n{{"):
        assert b"200" not in raw(server, beginning, end=False)
    assert measured[1].tell("alive") == 204


def test_connections_without_a_request_are_limited(measured, server, monkeypatch):
    monkeypatch.setattr(module, "_MOST_CONNECTIONS", 3)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    answers = [raw(server, f"GET /t0ken/ HTTP/1.1\n{HOST}\n") for _ in range(20)]
    assert answers[-1] == b""
    for one in idle:
        one.close()
    for _ in range(100):
        with suppress(OSError):
            if measured[1].tell("alive") == 204:
                return
    pytest.fail("the page could not be reached again")


def test_the_page_is_isolated_and_loads_nothing_from_elsewhere(server):
    status, body, headers = Visitor(server).request("GET", "")
    assert status == 200 and b"<title>Pocketreel" in body
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert "Python" not in headers["Server"]
    for name, path in server.files.items():
        if path.suffix in (".html", ".css", ".js"):
            elsewhere = re.search(r"https?://|[\"'(]//", path.read_text())
            assert elsewhere is None, f"{name} refers to another place"


def test_assets_and_scripts_have_their_types(server):
    visitor = Visitor(server)
    for path, kind in {
        "page/page.js": "text/javascript; charset=utf-8",
        "page/page.css": "text/css; charset=utf-8",
        "assets/small/run.wasm": "application/wasm",
    }.items():
        status, _, headers = visitor.request("GET", path)
        assert (status, headers["Content-Type"]) == (200, kind)


def test_a_session_loads_times_and_infers(server, measured):
    session, visitor = measured
    file = session._file
    loaded = in_thread(session.load, threads=2)
    header, _ = visitor.command()
    argument = header["argument"]
    assert (header["name"], argument["format"], argument["threads"]) == ("load", "onnx", 2)
    status, body, _ = visitor.request("GET", argument["address"])
    assert status == 200 and body == file.path.read_bytes()
    pending = in_thread(visitor.command, body=reply("ok", "small runtime 1"))
    assert loaded() == "small runtime 1"
    assert visitor.request("GET", argument["address"])[0] == 404, "offered only while it is loaded"

    clips = VIDEO_ONLY.example(batch=2, seed=3)[0].numpy()
    session.begin_infer({"clip": clips})
    header, arrays = pending()
    assert header["name"] == "infer" and header["argument"]["clips"] == 2
    assert (arrays[0] == clips[:, None]).all(), "one clip after the other, each in the shape of the file"
    logits = np.arange(6, dtype="float32").reshape(2, 3)
    pending = in_thread(visitor.command, body=reply("ok", "", logits))
    assert (session.end_infer()[0] == logits).all()

    timed = in_thread(session.time_runs, count=3)
    assert pending()[0]["argument"]["count"] == 3
    pending = in_thread(visitor.command, body=reply("ok", "", np.array([1.5, 2.0, 0.25])))
    assert timed().tolist() == [1_500_000, 2_000_000, 250_000]

    timed = in_thread(session.time_runs, count=1)
    pending()
    pending = in_thread(visitor.command, body=reply("ok", "", np.array([np.nan])))
    with pytest.raises(SessionFailed, match="gave times in 'time_runs' that are not positive"):
        timed()
    timed = in_thread(session.time_runs, count=1)
    pending()
    held = in_thread(visitor.turn, body=reply("failed", "RuntimeError: unreachable"))
    with pytest.raises(
        SessionFailed, match=r"model\.onnx: onnxruntime-web in the browser failed in 'time_runs'"
    ):
        timed()
    visitor.tell("leave")
    held()


@pytest.mark.parametrize(
    ("facts", "threads", "accelerator", "reason"),
    [
        ({"isolated": False}, 2, "wasm", "2 threads need a cross-origin isolated page"),
        ({}, 1, "webgpu", "this browser has no webgpu; it has wasm$"),
        ({"secure": False}, 1, "webgpu", "no webgpu; it has wasm, because the page is no secure context"),
    ],
)
def test_what_the_browser_lacks_is_the_reason(
    server, exchange, tmp_path, facts, threads, accelerator, reason
):
    (file,) = read_export(onnx_export(tmp_path)).files
    Visitor(server, **facts).hello()
    session = BrowserSession(file, exchange=exchange, server=server, accelerator=accelerator)
    with pytest.raises(Unavailable, match=reason):
        session.load(threads=threads)


def test_a_second_page_is_refused_while_one_measures(server):
    first, second = Visitor(server), Visitor(server)
    assert (first.hello(), second.hello()) == (200, 409)
    assert second.hello(previous=first.secret) == 200
    assert first.tell("alive") == 410


def test_https_serves_with_the_certificate_of_the_fingerprint(exchange, tmp_path):
    try:
        certificate = make_certificate(tmp_path, "127.0.0.1")
    except Unavailable as error:
        pytest.skip(str(error))
    running = Server(
        ("127.0.0.1", 0),
        exchange=exchange,
        token="t0ken",
        assets={},
        hosts=("127.0.0.1",),
        tls=certificate.context,
    )
    running.start()
    try:
        assert raw(running, f"GET /t0ken/ HTTP/1.1\n{HOST}\n") == b"", "no plain http"
        trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
        with (
            socket.create_connection(("127.0.0.1", running.port), timeout=20) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            digest = hashlib.sha256(connection.getpeercert(binary_form=True)).hexdigest()
            connection.sendall(f"GET /t0ken/ HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n\r\n".encode())
            assert connection.recv(15).startswith(b"HTTP/1.1 200 OK")
        assert certificate.fingerprint.replace(":", "").lower() == digest
    finally:
        running.stop()
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0, "the key is the user's alone"


def test_facts_with_strange_values_are_refused(server):
    visitor = Visitor(server)
    for change in ({"cores": 0}, {"clock_ms": "x"}, {"backends": ["wasm"] * 11}, {"user_agent": "a" * 2000}):
        body = json.dumps(FACTS | change).encode()
        assert visitor.request("POST", "hello", body)[0] == 400
