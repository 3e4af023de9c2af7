"""The REST API of servers and gateways, over real HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.server import api as api_module
from jupyter_launcher.server import connect as connect_module
from jupyter_launcher.server.api import (
    CONTENTS,
    LIMIT,
    JupyterApi,
    NoAnswerError,
    Response,
    parse_kernel_ids,
)
from jupyter_launcher.server.exec_api import ExecApi
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import TOKEN, FakeEngine, FakeJupyter, container, http_server, not_run, printed
from tests.unit.hostile import ENDLESS, KINDS, SOME, Behaviour, hostile_server, sends, server_of_kernels, shown
from tests.unit.strategies import error_of, json_values

SLACK = 2.0
CALLS: dict[str, Callable[[JupyterApi, Deadline], object]] = {
    "request": lambda api, deadline: api.request("GET", "api", deadline),
    "send": lambda api, deadline: api.send("POST", "api", deadline, content=b"{}"),
    "open_channel": lambda api, deadline: api.open_channel("api", deadline, "a key"),
    "kernels": JupyterApi.kernels,
    "delete_kernels": lambda api, deadline: api.delete_kernels(["a", "b"], deadline),
    "shutdown": JupyterApi.shutdown,
    "is_alive": JupyterApi.is_alive,
    "takes_token": JupyterApi.takes_token,
}


def soon() -> Deadline:
    return Deadline(5)


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        yield found


@pytest.fixture
def nowhere() -> str:
    """A URL at which nobody listens any more."""
    with http_server(lambda *_: (200, b"{}")) as url:
        pass
    return url


# What is asked.


def test_the_token_is_sent_unless_it_is_not_wanted() -> None:
    seen: list[str | None] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        seen.append(headers.get("Authorization"))
        return 200, b"{}"

    with http_server(answer) as url:
        api = JupyterApi(url, "s3cret")
        api.request("GET", "api", soon())
        api.request("GET", "api", soon(), authenticated=False)
        JupyterApi(url).request("GET", "api", soon())
        api.is_alive(soon())
    assert seen == ["token s3cret", None, None, None]


@pytest.mark.parametrize("base", ["x", "x/"])
def test_paths_lie_below_the_base_url_and_looking_is_not_use(base: str) -> None:
    asked: list[tuple[str, str]] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append((method, path))
        return 200, b"[]"

    with http_server(answer) as url:
        api = JupyterApi(url + base)
        assert api.takes_token(soon())
        assert api.is_alive(soon())
        assert api.kernels(soon()) == ()
        assert api.shutdown(soon())
        api.delete_kernels(["a/../b c"], soon())
    assert asked == [
        ("GET", f"/x/{CONTENTS}&no_track_activity=1"),
        ("GET", "/x/api?no_track_activity=1"),
        ("GET", "/x/api/kernels?no_track_activity=1"),
        ("POST", "/x/api/shutdown"),
        ("DELETE", "/x/api/kernels/a%2F..%2Fb%20c"),
    ]


def test_the_head_is_plain_http() -> None:
    seen: list[dict[str, str]] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        seen.append(headers)
        return 200, b""

    with http_server(answer) as url:
        JupyterApi(url.replace("//", "//me:secret@")).request("GET", "api", soon())
        JupyterApi(url, "t").request("POST", "api/shutdown", soon())
    host = url.removeprefix("http://").rstrip("/")
    common = {"Host": host, "Accept-Encoding": "identity", "Connection": "close"}
    assert seen == [common, {**common, "Content-Length": "0", "Authorization": "token t"}]


def test_proxies_and_passwords_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[str | None] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        seen.append(headers.get("Authorization"))
        return 200, b"{}"

    with http_server(answer) as url:
        assert JupyterApi(url, "t").takes_token(soon())
        assert JupyterApi(url).takes_token(soon())
    assert seen == ["token t", None]


# What comes.


@pytest.mark.parametrize(
    ("body", "parsed"), [(b'{"a": 1}', {"a": 1}), (b"[1]", [1]), (b"", None), (b"<html>", None), (b"[" * 100_000, None)]
)
def test_an_answer_is_a_status_and_json_or_none(body: bytes, parsed: Any) -> None:
    with http_server(lambda *_: (404, body)) as url:
        assert JupyterApi(url).request("GET", "api", soon()) == Response(404, parsed)


def test_redirections_are_not_followed() -> None:
    with http_server(lambda *_: (302, b"")) as url:
        assert JupyterApi(url, "t").request("GET", "api", soon()).status == 302


@pytest.mark.parametrize(("status", "right"), [(200, True), (403, False), (500, False), (302, False)])
def test_a_server_is_alive_and_takes_the_token_that_answers_200(status: int, right: bool) -> None:  # noqa: FBT001 - pytest's
    with http_server(lambda *_: (status, b"{}")) as url:
        assert JupyterApi(url).is_alive(soon()) is right
        assert JupyterApi(url).takes_token(soon()) is right
        assert JupyterApi(url, "t").shutdown(soon()) is right


def test_nobody_at_home(nowhere: str) -> None:
    api = JupyterApi(nowhere, "t")
    assert api.kernels(soon()) is None
    assert api.takes_token(soon()) is None
    assert not api.is_alive(soon())
    assert not api.shutdown(soon())
    api.delete_kernels(["a"], soon())


def failure(url: str, deadline: Deadline | None = None, token: str | None = None) -> NoAnswerError:
    with pytest.raises(NoAnswerError) as caught:
        JupyterApi(url, token).request("GET", "api", deadline or soon())
    return caught.value


def test_an_error_says_what_was_seen_and_whether_there_was_a_connection(nowhere: str) -> None:
    def seen(url: str, seconds: float = 5) -> tuple[str, bool]:
        error = failure(url, Deadline(seconds))
        return str(error), error.connected

    assert seen(nowhere) == ("ConnectionRefusedError", False)
    assert seen(nowhere, 0.0) == ("TimeoutError", False)
    with hostile_server(KINDS["silence"]) as url:
        assert seen(url, 0.1) == ("TimeoutError", True)
        assert seen(url.replace("http:", "https:"), 0.1) == ("TimeoutError", True)
    with hostile_server(KINDS["closed at once"]) as url:
        assert seen(url) == ("RemoteDisconnected", True)
    with hostile_server(KINDS["no HTTP"]) as url:
        assert seen(url) == ("BadStatusLine", True)
        assert seen(url.replace("http:", "https:"))[0].startswith("SSL")
    with hostile_server(KINDS["less than it promised"]) as url:
        assert seen(url) == ("IncompleteRead", True)
    with hostile_server(KINDS["an endless body"]) as url:
        assert seen(url) == ("more than 1048576 bytes", True)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:1/a b/",
        f"http://[fe80::1%{'x' * 100}]:1/",
        "http://:1/",
        "http://[",
        "ftp://127.0.0.1/",
        "127.0.0.1",
        "",
        "http://127.0.0.1:0/",
    ],
)
def test_what_can_not_be_asked_is_not_alive(url: str) -> None:
    assert not JupyterApi(url).is_alive(soon())
    assert JupyterApi(url).takes_token(soon()) is None
    assert not failure(url).connected


@pytest.mark.parametrize(("base", "token"), [("é/", "t"), ("\x7f/", "t"), ("", "a\r\nX: b"), ("", "é"), ("", "\udcff")])
def test_what_http_cannot_carry_is_not_sent(base: str, token: str) -> None:
    with hostile_server(KINDS["silence"]) as url:
        assert "characters that HTTP cannot carry" in str(failure(url + base, token=token))
        assert str(failure(f"{url}a b/")) == "no URL that can be asked"


def test_each_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    with http_server(lambda *_: (200, b"{}")) as url:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", urlsplit(each).port)) for each in (nowhere, url)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert JupyterApi("http://gateway.example:1/").is_alive(soon())
        found.reverse()
        assert JupyterApi("http://gateway.example:1/").is_alive(soon())
        del found[0]
        assert str(failure("http://gateway.example:1/")) == "ConnectionRefusedError"


def test_a_resolver_that_hangs_has_the_deadline_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    try:
        with pytest.raises(NoAnswerError, match="TimeoutError"):
            JupyterApi("http://gateway.example:1/").request("GET", "api", Deadline(0.2))
    finally:
        over.set()


def test_over_tls_with_an_authority_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=unit", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run([*line, *names], cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                plain, _ = listener.accept()
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(1000)
                        connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}')
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert str(failure(url)) == "SSLCertVerificationError"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert JupyterApi(url).request("GET", "api", soon()).body == {"a": 1}
        thread.join()


# What is hostile.


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_ends_in_time_and_with_a_value_or_its_error(kind: str, call: str) -> None:
    results: list[object] = []
    deadline = Deadline(0.5 if kind in ENDLESS else 5)  # long enough to connect on a busy machine
    with hostile_server(KINDS[kind]) as url:
        api = JupyterApi(url, TOKEN)
        error = error_of(NoAnswerError, lambda: results.append(CALLS[call](api, deadline)))
        assert deadline.elapsed() < deadline.seconds + SLACK
    if error is None:
        assert isinstance(results[0], (Response, bool)) or results[0] is None
    else:
        assert call in ("request", "send", "open_channel"), "only these say why"
        assert error.connected
        assert 0 < len(str(error)) <= 200


@pytest.mark.parametrize("kind", KINDS.keys() - ENDLESS)
def test_memory_does_not_grow_with_what_is_sent(kind: str) -> None:
    with hostile_server(KINDS[kind]) as url:
        api = JupyterApi(url, TOKEN)
        tracemalloc.start()
        try:
            for call in (JupyterApi.kernels, JupyterApi.takes_token):
                call(api, Deadline(10))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * 2**20


def test_an_answer_up_to_the_limit_is_read() -> None:
    body = b'"' + b"a" * (LIMIT - 1000) + b'"'
    with http_server(lambda *_: (200, body)) as url:
        assert JupyterApi(url).request("GET", "api", soon()).body == body.decode()[1:-1]


def test_kernels_that_do_not_end_cost_no_more_than_the_deadline() -> None:
    asked: list[bytes] = []
    many = tuple(f"k{number}" for number in range(300))
    with server_of_kernels(many, asked) as url:
        api = JupyterApi(url)
        assert api.kernels(soon()) == many
        deadline = Deadline(3)  # long enough to ask for sixteen on a busy machine
        api.delete_kernels(many, deadline)
        assert deadline.elapsed() < 3 + SLACK
    assert len(asked) == 1 + 16


_HEADS = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 0",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Content-Length: " + b"9" * 5000,
            b"Content-Length: x",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip",
            b"Content-Type: message/delivery-status",
            b"Content-Type: multipart/mixed; boundary*0*=x''%ff",
            b"Connection: keep-alive",
            b": a",
            b" folded",
            b"\xff: \xfe",
            b"",
        ]
    ),
    max_size=4,
).map(b"\r\n".join)
_FIRST_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200",
        b"HTTP/1.1 204 x",
        b"HTTP/1.1 101 x",
        b"HTTP/1.1 100 x",
        b"HTTP/0.9 200",
        b"x",
    ]
)
_BODIES = st.binary(max_size=50) | st.sampled_from([b"5\r\n12345\r\n0\r\n\r\n", b"-1\r\n", b"g\r\n", b"5;a=b\r\n123"])
_HTTP = st.tuples(_FIRST_LINES, _HEADS, st.just(b""), _BODIES).map(b"\r\n".join)


def test_any_bytes_are_an_answer_or_none() -> None:
    current: list[bytes] = []
    statuses: list[int] = []

    with hostile_server(lambda connection, *_: connection.sendall(current[0])) as url:

        @settings(max_examples=300, deadline=None)
        @given(st.binary(max_size=200) | _HTTP)
        @example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        def check(answer: bytes) -> None:
            current[:] = [answer]
            api, deadline = JupyterApi(url, TOKEN), Deadline(5)
            error = error_of(NoAnswerError, lambda: statuses.append(api.request("GET", "api", deadline).status))
            assert error is None or error.connected
            kernels = api.kernels(deadline)
            assert kernels is None or isinstance(kernels, tuple)
            assert isinstance(api.is_alive(deadline), bool)
            assert deadline.elapsed() < 5

        check()
    assert all(100 <= status <= 999 for status in statuses)
    assert len(statuses) > 10, "no answer was an answer"


@settings(max_examples=100, deadline=None)
@given(json_values())
def test_any_json_is_kernels_or_none(value: Any) -> None:
    # As the reader of an answer sees it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JupyterApi, "_ask", lambda *_, **__: Response(200, value))
        kernels = JupyterApi("http://h").kernels(soon())
    assert kernels is None or all(isinstance(item, str) for item in kernels)
    assert (kernels == ()) == (value == [])


# The token.


@pytest.mark.parametrize("kind", [*KINDS, "nobody", "no address", "over TLS"])
def test_no_local_of_a_traceback_holds_the_token(kind: str, nowhere: str) -> None:
    urls = {"nobody": nowhere, "no address": "http://h h/"}
    with hostile_server(KINDS.get(kind, KINDS["no HTTP"])) as url:
        asked = urls.get(kind, url.replace("http:", "https:") if kind == "over TLS" else url)
        error = error_of(NoAnswerError, lambda: JupyterApi(asked, TOKEN).request("GET", "api", Deadline(0.1)))
    if error is not None:
        assert error.__cause__ is None
        assert error.__context__ is None
        texts = list(shown(error))
        assert any("deadline = " in text for text in texts), "the frames were not seen at all"
        assert [text for text in texts if TOKEN in text] == []


@pytest.mark.parametrize("place", ["connect", "_receive"])
def test_no_local_holds_the_token_at_an_interrupt(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with hostile_server(KINDS["silence"]) as url:
        monkeypatch.setattr(api_module, place, interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            JupyterApi(url, TOKEN).takes_token(soon())
    assert [text for text in shown(caught.value) if TOKEN in text] == []


def test_a_request_ends_when_its_act_is_cancelled() -> None:
    event = threading.Event()

    def behave(_: socket.socket, stopped: threading.Event) -> None:
        event.set()
        stopped.wait()

    with hostile_server(behave) as url:
        begun = time.monotonic()
        for call in (JupyterApi.takes_token, CALLS["delete_kernels"]):
            event.clear()
            with pytest.raises(ValueError, match="cancelled"):
                run_act(
                    lambda call=call: call(JupyterApi(url), Deadline(60)),  # type: ignore[misc]
                    cancel=Cancel(event, lambda _: ValueError("cancelled")),
                )
        assert time.monotonic() - begun < 10


# Kernels.


def test_kernels_of_a_server(jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"b", "a"}
    assert JupyterApi(jupyter.url).kernels(soon()) == ("a", "b")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b"{}"),
        (200, b"{}"),
        (200, b"no json"),
        (200, b'[{"id": "a"}, {}]'),
        (200, b'[{"id": "a"}, 7]'),
        (200, b'[{"id": ""}]'),
        (200, b'[{"id": null}]'),
        (200, b"[1, 2]"),
        (200, json.dumps([{"id": "a"}] * 1001).encode()),
    ],
)
def test_kernels_that_must_not_be_listed_are_unknown(status: int, body: bytes) -> None:
    with http_server(lambda *_: (status, body)) as url:
        assert JupyterApi(url).kernels(soon()) is None


@pytest.mark.parametrize(
    ("found", "ids"),
    [
        ([], ()),
        (["5d1e-a", "a.b_c", "...", "a" * 128], ("5d1e-a", "a.b_c", "...", "a" * 128)),
        (["a"] * 1000, ("a",) * 1000),
        (["a"] * 1001, None),
        *(
            (["a", wrong], None)
            for wrong in (".", "..", "a/b", "a\n", "", "é", "a b", "a" * 129, "%2e", 1, None, ["a"])
        ),
    ],
)
def test_ids_of_kernels(found: list[object], ids: tuple[str, ...] | None) -> None:
    assert parse_kernel_ids(found) == ids


def test_no_kernels_are_known_to_be_none(jupyter: FakeJupyter) -> None:
    assert JupyterApi(jupyter.url).kernels(soon()) == ()


def test_kernels_are_deleted_each_by_its_id(jupyter: FakeJupyter) -> None:
    ours = [f"k{number}" for number in range(20)]  # more than are deleted at once
    jupyter.kernels = {*ours, "other"}
    JupyterApi(jupyter.url).delete_kernels(ours, soon())
    assert jupyter.kernels == {"other"}


def test_without_kernels_nobody_is_asked(jupyter: FakeJupyter) -> None:
    JupyterApi(jupyter.url).delete_kernels([], soon())
    assert jupyter.asked == []


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A URL to which no connection is made, and none is refused: the queue of those that wait is full."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = opened.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_a_connection_that_is_not_made_is_given_up(monkeypatch: pytest.MonkeyPatch, black_hole: str) -> None:
    monkeypatch.setattr(connect_module, "_CONNECT_SECONDS", 0.1)
    deadline = Deadline(60)
    with pytest.raises(NoAnswerError, match="TimeoutError") as caught:
        JupyterApi(black_hole).list_kernels(deadline)
    assert not caught.value.connected
    assert deadline.elapsed() < 30


def test_an_address_that_nobody_answers_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, black_hole: str, jupyter: FakeJupyter
) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", urlsplit(url).port))
        for url in (black_hole, jupyter.url)
    ]
    monkeypatch.setattr(connect_module, "_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert JupyterApi("http://name/").is_alive(Deadline(30))


def test_a_name_that_nobody_knows_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, end = threading.Event(), threading.Event()

    def wait(*_: object, **__: object) -> None:
        asked.set()
        end.wait(60)

    monkeypatch.setattr(connect_module, "_NAME_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", wait)
    deadline = Deadline(60)
    with pytest.raises(NoAnswerError, match="TimeoutError"):
        JupyterApi("http://name/").list_kernels(deadline)
    end.set()
    assert asked.is_set()
    assert deadline.elapsed() < 30


# From inside a container.


def exec_api(*answers: Any) -> tuple[ExecApi, FakeEngine]:
    engine = FakeEngine(container(), answers=answers)
    return ExecApi(engine, "c", "http://10.0.0.1:8888"), engine


def test_a_gateway_is_asked_from_inside_its_container() -> None:
    api, engine = exec_api(printed('200\n[{"id": "a"}]'))
    assert api.kernels(Deadline(3)) == ("a",)
    assert engine.execs[0][:5] == ("sh", "-c", read_script("run_python.sh"), "run", read_script("request.py"))
    assert engine.execs[0][5:7] == ("GET", "http://10.0.0.1:8888/api/kernels?no_track_activity=1")
    assert 2 < float(engine.execs[0][7]) <= 3
    api.delete_kernels(["a"], Deadline(3))
    assert engine.execs[1][5:7] == ("DELETE", "http://10.0.0.1:8888/api/kernels/a")


def test_over_https_a_gateways_container_asks_itself_whoever_signed() -> None:
    engine = FakeEngine(container(), answers=[printed("200\n[]"), printed("200\n[]")])
    for scheme in ("http", "https"):
        assert ExecApi(engine, "c", f"{scheme}://gw:8888").kernels(Deadline(3)) == ()
    assert [argv[8:] for argv in engine.execs] == [(), ("any-certificate",)]


@pytest.mark.parametrize(
    ("answer", "connected"),
    [(printed("", 7, "timed out"), False), (printed("", 1, "timed out"), True), (not_run("timed out"), True)],
)
def test_from_inside_it_is_known_whether_there_was_a_connection(answer: Any, connected: bool) -> None:  # noqa: FBT001 - pytest's
    with pytest.raises(NoAnswerError, match="timed out" if connected else "^timed out$") as caught:
        exec_api(answer)[0].list_kernels(soon())
    assert caught.value.connected is connected


def test_an_answer_from_inside_that_is_no_json() -> None:
    assert exec_api(printed("403\n<html>"))[0].request("GET", "api", soon()) == Response(403, None)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (printed("Traceback\n" + "x" * 300), "Traceback"),
        (printed(""), "^$"),
        (printed("²\n{}"), "²"),
        (printed("9" * 5000 + "\n{}"), "999"),
        (printed("", 1, "connection refused"), "connection refused"),
        (not_run("no python3"), "no python3"),
    ],
)
def test_no_answer_from_inside(answer: Any, seen: str) -> None:
    api, _ = exec_api(answer)
    with pytest.raises(NoAnswerError, match=seen) as caught:
        api.request("GET", "api", soon())
    assert len(str(caught.value)) <= 200
    assert api.kernels(soon()) is None
    assert not api.is_alive(soon())


def test_after_the_deadline_nobody_is_asked_from_inside() -> None:
    api, engine = exec_api(printed("200\n[]"))
    with pytest.raises(NoAnswerError, match="TimeoutError"):
        api.request("GET", "api", Deadline(0))
    assert engine.execs == []


@pytest.mark.parametrize("kind", [*SOME, "go on, for ever", "a huge length of a chunk"])
def test_the_script_inside_ends_in_time_too(kind: str, tmp_path: Path) -> None:
    seconds = 0.3 if kind in ENDLESS else 10.0
    with hostile_server(KINDS[kind]) as url:
        line = ["python3", "-c", read_script("request.py"), "GET", url, str(seconds)]
        with (tmp_path / "out").open("wb") as out:
            deadline = Deadline(seconds)
            ended = subprocess.run(line, check=False, stdout=out, stderr=subprocess.PIPE, timeout=60)
    assert deadline.elapsed() < seconds + SLACK
    assert (tmp_path / "out").stat().st_size < 4 * LIMIT
    assert ended.returncode in (0, 1)
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("behave", [sends(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (LIMIT + 1)), KINDS["an endless body"]])
def test_the_script_inside_reads_no_more_than_the_limit(behave: Behaviour) -> None:
    with hostile_server(behave) as url:
        line = ["python3", "-c", read_script("request.py"), "GET", url, "10"]
        ended = subprocess.run(line, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "more than 1048576 bytes\n")


def test_a_token_enters_the_gateways_container_by_the_execs_environment() -> None:
    engine = FakeEngine(container(), answers=[printed("200\n[]")])
    assert ExecApi(engine, "c", "http://10.0.0.1:8888", "t0ken").kernels(Deadline(3)) == ()
    assert ExecApi(engine, "c", "http://10.0.0.1:8888").kernels(Deadline(3)) == ()
    assert engine.environments == [{"KG_AUTH_TOKEN": "t0ken"}, {}]
    assert not any("t0ken" in text for argv in engine.execs for text in argv)
