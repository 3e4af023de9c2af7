"""The REST API of servers and gateways, over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jupyter_launcher.server.api import CONTENTS, ExecApi, JupyterApi, NoAnswerError, Response
from tests.unit.fakes import FakeEngine, FakeJupyter, container, http_server, not_run, printed


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


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """What speaks no HTTP, or stops in the middle of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


@pytest.mark.parametrize(
    ("body", "parsed"), [(b'{"a": 1}', {"a": 1}), (b"[1]", [1]), (b"", None), (b"<html>", None), (b"[" * 100_000, None)]
)
def test_an_answer_is_a_status_and_json_or_none(body: bytes, parsed: Any) -> None:
    with http_server(lambda *_: (404, body)) as url:
        assert JupyterApi(url).request("GET", "api") == Response(404, parsed)


def test_the_token_is_sent_unless_it_is_not_wanted() -> None:
    seen: list[str | None] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        seen.append(headers.get("Authorization"))
        return 200, b"{}"

    with http_server(answer) as url:
        api = JupyterApi(url, "s3cret")
        api.request("GET", "api")
        api.request("GET", "api", authenticated=False)
        JupyterApi(url).request("GET", "api")
        api.is_alive(timeout=5)
    assert seen == ["token s3cret", None, None, None]


@pytest.mark.parametrize("base", ["x", "x/"])
def test_paths_lie_below_the_base_url(base: str) -> None:
    asked: list[str] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append(path)
        return 200, b"{}"

    with http_server(answer) as url:
        api = JupyterApi(url + base)
        assert api.takes_token()
        assert api.is_alive(timeout=5)
    assert asked == [f"/x/{CONTENTS}", "/x/api"]


def test_redirections_are_not_followed() -> None:
    with http_server(lambda *_: (302, b"")) as url:
        assert JupyterApi(url, "t").request("GET", "api").status == 302


def test_an_error_on_the_way_holds_no_token(nowhere: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        JupyterApi(nowhere, "s3cret").request("GET", "api")
    assert str(caught.value) == "ConnectionError"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_nobody_at_home(nowhere: str) -> None:
    api = JupyterApi(nowhere, "t")
    assert api.kernels() is None
    assert not api.takes_token()
    assert not api.is_alive(timeout=1)
    assert not api.shutdown(timeout=1)
    api.delete_kernels(["a"], timeout=1)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_what_speaks_no_http_is_no_server(answer: bytes) -> None:
    with raw_server(answer) as url, pytest.raises(NoAnswerError):
        JupyterApi(url).request("GET", "api", timeout=5)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n"])
def test_what_speaks_no_http_is_not_alive(answer: bytes) -> None:
    with raw_server(answer) as url:
        assert not JupyterApi(url).is_alive(timeout=5)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/é/",
        "http://127.0.0.1:1/a b/",
        f"http://[fe80::1%{'x' * 100}]:1/",
        "http://:1/",
    ],
)
def test_what_can_not_be_asked_is_not_alive(url: str) -> None:
    api = JupyterApi(url)
    assert not api.is_alive(timeout=1)
    assert not api.takes_token(timeout=1)


@pytest.mark.parametrize(("status", "alive"), [(200, True), (403, False), (500, False), (302, False)])
def test_a_server_is_alive_that_answers_200(status: int, alive: bool) -> None:  # noqa: FBT001 - pytest's
    with http_server(lambda *_: (status, b"{}")) as url:
        assert JupyterApi(url).is_alive(timeout=5) == alive
        assert JupyterApi(url).takes_token() == alive


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with http_server(lambda *_: (200, b"{}")) as url:
        assert JupyterApi(url, "t").takes_token()


def test_kernels_of_a_server(jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"b", "a"}
    assert JupyterApi(jupyter.url).kernels() == ("a", "b")


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
    ],
)
def test_kernels_that_must_not_be_listed_are_unknown(status: int, body: bytes) -> None:
    with http_server(lambda *_: (status, body)) as url:
        assert JupyterApi(url).kernels() is None


def test_no_kernels_are_known_to_be_none(jupyter: FakeJupyter) -> None:
    assert JupyterApi(jupyter.url).kernels() == ()


def test_kernels_are_deleted_each_by_its_id(jupyter: FakeJupyter) -> None:
    ours = [f"k{number}" for number in range(20)]  # more than are deleted at once
    jupyter.kernels = {*ours, "other"}
    JupyterApi(jupyter.url).delete_kernels(ours, timeout=5)
    assert jupyter.kernels == {"other"}


def test_without_kernels_nobody_is_asked(jupyter: FakeJupyter) -> None:
    JupyterApi(jupyter.url).delete_kernels([], timeout=5)
    assert jupyter.asked == []


@pytest.mark.parametrize(("status", "heeded"), [(200, True), (403, False)])
def test_a_server_says_whether_it_will_end(status: int, heeded: bool) -> None:  # noqa: FBT001 - pytest's
    with http_server(lambda *_: (status, b"{}")) as url:
        assert JupyterApi(url, "t").shutdown(timeout=5) == heeded


def exec_api(*answers: Any) -> tuple[ExecApi, FakeEngine]:
    engine = FakeEngine(container(), answers=answers)
    return ExecApi(engine, "c", "http://10.0.0.1:8888"), engine


def test_a_gateway_is_asked_from_inside_its_container() -> None:
    api, engine = exec_api(printed('200\n[{"id": "a"}]'))
    assert api.kernels(timeout=3) == ("a",)
    assert engine.execs[0][:2] == ("python3", "-c")
    assert engine.execs[0][3:] == ("GET", "http://10.0.0.1:8888/api/kernels", "3")


def test_an_answer_from_inside_that_is_no_json() -> None:
    assert exec_api(printed("403\n<html>"))[0].request("GET", "api") == Response(403, None)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (printed("Traceback\n" + "x" * 300), "Traceback"),
        (printed(""), "^$"),
        (printed("²\n{}"), "²"),
        (printed("", 1, "connection refused"), "connection refused"),
        (not_run("no python3"), "no python3"),
    ],
)
def test_no_answer_from_inside(answer: Any, seen: str) -> None:
    api, _ = exec_api(answer)
    with pytest.raises(NoAnswerError, match=seen) as caught:
        api.request("GET", "api")
    assert len(str(caught.value)) <= 200
    assert api.kernels() is None


def test_an_answer_is_of_any_shape() -> None:
    bodies = iter([{"id": "a"}, "text", 7, None, [[["a"]]]])
    with http_server(lambda *_: (200, json.dumps(next(bodies)).encode())) as url:
        assert [JupyterApi(url).kernels() for _ in range(5)] == [None] * 5
