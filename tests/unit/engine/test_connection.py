"""Which engine is meant, and how it is reached: over real sockets with a made-up engine behind them."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from docker import APIClient, DockerClient
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter

from jupyter_launcher import EngineError, EngineUnavailableError, OptionError
from jupyter_launcher.engine import connection
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.connection import connect
from jupyter_launcher.waiting import Deadline, within
from tests.unit.fakes import http_server
from tests.unit.forks import in_a_fork
from tests.unit.kernels.brokers import until
from tests.unit.sdk import FakeApi, http_response, sdk_client

VERSION = b'{"ApiVersion": "1.41", "Version": "20.10.24"}'
ENVIRONMENT = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
    *("HTTP_PROXY", "http_proxy"),
)


@pytest.fixture(autouse=True)
def _no_engine_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine is named by the environment, and no context is there."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config.json").write_text("{}")  # without it the SDK looks for contexts in the working directory
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture
def engine_url() -> Iterator[str]:
    """An engine that answers over TCP, and knows its version only."""
    with http_server(lambda *_: (200, VERSION)) as url:
        yield url.replace("http://", "tcp://").rstrip("/")


class UnixEngine(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64  # a full queue refuses a client of a socket file at once


class Answer(BaseHTTPRequestHandler):
    """An engine that knows its version only, over a socket."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(VERSION)))
        self.end_headers()
        self.wfile.write(VERSION)

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def engine_on(path: Path, handler: type[Answer]) -> Iterator[str]:
    with UnixEngine(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def engine_socket(tmp_path: Path) -> Iterator[str]:
    """An engine that answers over a socket."""
    with engine_on(tmp_path / "engine.sock", Answer) as url:
        yield url


@pytest.mark.parametrize(
    "given",
    [
        {"docker_host": "unix:///x", "context": "y"},
        {"docker_host": "unix:///x", "client": sdk_client(FakeApi())},
        {"context": "y", "client": sdk_client(FakeApi())},
    ],
)
def test_one_way_to_name_an_engine(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        DockerEngine.connect(**given)
    assert caught.value.option == "docker_host"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("docker_host", ""),
        ("docker_host", 5),
        ("docker_host", Path("/x")),
        ("context", ""),
        ("context", b"x"),
        ("client", "unix:///x"),
    ],
)
def test_what_names_no_engine(option: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        connect(**{option: value})
    assert caught.value.option == option


def test_a_client_that_was_handed_in_is_not_closed() -> None:
    client = sdk_client(FakeApi())
    made = connect(client=client)
    made.close()
    assert (made.owned, vars(client)["closed"]) == (False, False)


def test_a_client_that_was_handed_in_is_not_used_in_a_fork() -> None:
    client = sdk_client(FakeApi())
    made = connect(client=client)
    seen = in_a_fork(lambda: made.client)
    assert seen.startswith("EngineUnavailableError: the client was handed in before this process was forked")
    assert "docker_host=" in seen
    assert made.client is client


def test_a_fork_makes_a_client_of_its_own_and_leaves_its_parents_open(engine_socket: str) -> None:
    made = connect(docker_host=engine_socket)
    before = made.client

    def use_and_close() -> tuple[bool, str]:
        made.close()  # nothing of this process's is open yet
        own = made.client is not before
        version = made.client.api.version()["Version"]
        made.close()
        return own, version

    assert in_a_fork(use_and_close) == "(True, '20.10.24')"
    assert made.client is before
    assert before.api.version()["Version"] == "20.10.24"
    made.close()


def test_a_fork_that_cannot_connect_says_so(engine_socket: str) -> None:
    made = connect(docker_host=engine_socket)
    Path(engine_socket.removeprefix("unix://")).unlink()
    assert in_a_fork(lambda: made.client).startswith("EngineUnavailableError: could not connect")
    made.close()


def test_an_engine_by_its_host(engine_url: str) -> None:
    made = connect(docker_host=engine_url)
    assert (made.endpoint, made.owned, made.client.api.api_version) == (engine_url, True, "1.41")
    made.close()


def test_an_engine_by_the_environment(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine_url)
    made = connect()
    assert made.endpoint == engine_url
    made.close()


def test_all_calls_to_a_socket_share_their_connections(engine_socket: str) -> None:
    made = connect(docker_host=engine_socket)
    adapter = made.client.api.adapters["http+docker://"]
    assert isinstance(adapter, UnixHTTPAdapter)
    pools = {adapter.get_connection(f"http+docker://localhost/{path}", None) for path in ("a", "b", "c")}
    assert len(pools) == 1
    assert made.client.api.version()["Version"] == "20.10.24"
    made.close()


def test_few_connections_stay_open_after_many_calls_at_once(tmp_path: Path) -> None:
    count = 12
    together = threading.Barrier(count, timeout=20)
    opened: list[threading.Event] = []  # of each connection: it has ended

    class Engine(Answer):
        def setup(self) -> None:
            super().setup()
            self.ended = threading.Event()
            opened.append(self.ended)

        def do_GET(self) -> None:
            if self.path.endswith("/info"):
                together.wait()
            super().do_GET()

        def finish(self) -> None:
            super().finish()
            self.ended.set()

    def count_open() -> int:
        return sum(not ended.is_set() for ended in opened)

    with engine_on(tmp_path / "engine.sock", Engine) as url:
        made = connect(docker_host=url)
        with ThreadPoolExecutor(count) as pool:
            assert len(list(pool.map(lambda _: made.client.api.info(), range(count)))) == count
        until(lambda: count_open() == 4)
        seen = len(opened)
        for _ in range(8):
            made.client.api.version()
        assert (len(opened), count_open()) == (seen, 4)
        made.close()
        until(lambda: count_open() == 0)


def test_nobody_listens(tmp_path: Path) -> None:
    endpoint = f"unix://{tmp_path}/no.sock"
    with pytest.raises(EngineUnavailableError, match="nothing listens there") as caught:
        connect(docker_host=endpoint)
    assert caught.value.endpoint == endpoint


def test_an_engine_on_this_host_is_asked_without_a_proxy(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = connect(docker_host=engine_url)
    assert made.client.api.version()["Version"] == "20.10.24"
    made.close()


def test_an_engine_on_another_host_is_asked_over_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(method: str, path: str, _: dict[str, str]) -> tuple[int, bytes]:
        asked.append(f"{method} {path}")
        return 200, VERSION

    with http_server(answer) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        made = connect(docker_host="tcp://far.invalid:2375")
        made.client.api.info()
        made.close()
    assert asked == ["GET http://far.invalid:2375/version", "GET http://far.invalid:2375/v1.41/info"]


def test_an_engine_with_tls_is_asked_with_its_own_authority_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/company.pem")
    seen: list[tuple[str, Any]] = []

    def answer(self: APIClient, url: str, **_: Any) -> Any:
        found = self.merge_environment_settings(url, {}, None, None, None)
        seen.append((url, found["verify"]))
        return http_response(VERSION)

    monkeypatch.setattr(APIClient, "get", answer)
    authority = tmp_path / "ca.pem"
    authority.touch()
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    made = connect(docker_host="tcp://127.0.0.1:2376")
    made.client.api.info()
    assert seen == [(f"https://127.0.0.1:2376/{path}", str(authority)) for path in ("version", "v1.41/info")]
    made.close()


@pytest.mark.parametrize(
    ("certificates", "variable", "verify"),
    [
        ((), None, "/company.pem"),
        (("cert", "key"), None, False),
        (("ca",), "DOCKER_TLS", False),
    ],
)
def test_a_companys_authority_counts_where_the_engine_has_none(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    certificates: tuple[str, ...],
    variable: str | None,
    verify: str | bool,  # noqa: FBT001 - pytest's
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/company.pem")
    for name in certificates:
        (tmp_path / f"{name}.pem").touch()
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    if variable:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(APIClient, "get", lambda *_, **__: http_response(VERSION))
    made = connect(docker_host="https://far.example:2376")
    assert (
        made.client.api.merge_environment_settings("https://far.example:2376", {}, None, None, None)["verify"] == verify
    )
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert in_a_fork(lambda: made.client.api.verify) == str(verify)
    made.close()


def test_where_the_version_may_not_be_asked_for_the_ping_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"/version": http_response(b"<html>", 403), "/_ping": http_response(headers={"Api-Version": "1.43"})}
    monkeypatch.setattr(APIClient, "get", lambda self, url, **_: answers[url.removeprefix(self.base_url)])
    made = connect(docker_host="unix:///x")
    assert made.client.api.api_version == "1.43"
    made.close()


@pytest.mark.parametrize("ping", [http_response(b"<html>", 403), http_response(b"OK")])
def test_a_proxy_that_passes_neither_the_version_nor_the_ping(
    monkeypatch: pytest.MonkeyPatch, ping: requests.Response
) -> None:
    answers = {"/version": http_response(b"<html>", 403), "/_ping": ping}
    monkeypatch.setattr(APIClient, "get", lambda self, url, **_: answers[url.removeprefix(self.base_url)])
    with pytest.raises(EngineError, match="socket proxy") as caught:
        connect(docker_host="unix:///x")
    assert caught.value.status == 403


def test_an_engine_that_fails_to_tell_its_version() -> None:
    with (
        http_server(lambda *_: (500, b'{"message": "bad"}')) as url,
        pytest.raises(EngineUnavailableError, match="bad") as caught,
    ):
        connect(docker_host=url.replace("http://", "tcp://"))
    assert caught.value.endpoint == url.replace("http://", "tcp://")


@pytest.mark.parametrize("is_handed_in", [False, True])
@pytest.mark.parametrize(("is_wanted", "expected"), [(True, "http://proxy:3128"), (False, None)])
def test_the_proxies_for_containers(
    engine_socket: str,
    tmp_path: Path,
    is_handed_in: bool,  # noqa: FBT001 - pytest's
    is_wanted: bool,  # noqa: FBT001 - pytest's
    expected: str | None,
) -> None:
    (tmp_path / "config.json").write_text('{"proxies": {"default": {"httpProxy": "http://proxy:3128"}}}')
    given: dict[str, Any] = {"client": sdk_client(FakeApi())} if is_handed_in else {"docker_host": engine_socket}
    made = connect(**given, use_config_proxy=is_wanted)
    assert made.proxies.values.get("HTTP_PROXY") == expected
    made.close()


@pytest.mark.parametrize(
    ("base_url", "tls", "address"),
    [
        ("unix:///run/x.sock", False, "unix:///run/x.sock"),
        ("tcp://far.example:2375", False, "tcp://far.example:2375"),
        ("tcp://far.example:2376", TLSConfig(verify=False), "tcp://far.example:2376"),
        ("tcp://far.example:2375/x", False, "tcp://far.example:2375/x"),
    ],
)
def test_the_proxies_of_a_client_that_was_handed_in_are_those_of_its_engine(
    tmp_path: Path, base_url: str, tls: Any, address: str
) -> None:
    sections = {"default": {"httpProxy": "http://default"}, address: {"httpProxy": "http://own"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": sections}))
    client = DockerClient(base_url=base_url, tls=tls, version="1.41")
    made = connect(client=client)
    assert (made.endpoint, made.proxies.values["HTTP_PROXY"]) == (address, "http://own")
    client.close()


def test_a_tunnel_is_closed_when_nothing_answers_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Tunnel:
        def __init__(self, endpoint: str, seconds: float) -> None:
            self.url = "unix:///no/such.sock"

        def close(self) -> None:
            closed.append(self.url)

    monkeypatch.setattr(connection, "SshTunnel", Tunnel)
    with pytest.raises(EngineUnavailableError) as caught:
        connect(docker_host="ssh://far.example")
    assert caught.value.endpoint == "ssh://far.example"
    assert closed == ["unix:///no/such.sock"]


def test_a_tunnel_ends_with_its_connection(monkeypatch: pytest.MonkeyPatch, engine_socket: str) -> None:
    closed: list[str] = []

    class Tunnel:
        def __init__(self, endpoint: str, seconds: float) -> None:
            self.url = engine_socket

        def close(self) -> None:
            closed.append(self.url)

    monkeypatch.setattr(connection, "SshTunnel", Tunnel)
    made = connect(docker_host="ssh://far.example")
    assert made.endpoint == "ssh://far.example"
    assert closed == []
    made.close()
    assert closed == [engine_socket]


def test_a_fork_has_a_tunnel_of_its_own(monkeypatch: pytest.MonkeyPatch, engine_socket: str) -> None:
    made_by: list[int] = []
    closed_by: list[int] = []

    class Tunnel:
        def __init__(self, endpoint: str, seconds: float) -> None:
            self.url = engine_socket
            made_by.append(os.getpid())

        def close(self) -> None:
            closed_by.append(os.getpid())

        def has_ended(self) -> bool:
            return False

    monkeypatch.setattr(connection, "SshTunnel", Tunnel)
    made = connect(docker_host="ssh://far.example")

    def use_and_close() -> list[bool]:
        made.close()  # nothing of this process's is open yet
        seen = [(made_by[1:], closed_by) == ([], [])]
        made.client.api.version()
        made.close()
        return [*seen, made_by[1:] == closed_by == [os.getpid()]]

    assert in_a_fork(use_and_close) == "[True, True]"
    assert (made_by, closed_by) == ([os.getpid()], [])
    made.close()
    assert closed_by == [os.getpid()]


def test_a_tunnel_whose_ssh_has_ended_is_made_anew(monkeypatch: pytest.MonkeyPatch, engine_socket: str) -> None:
    tunnels: list[Any] = []

    class Tunnel:
        def __init__(self, endpoint: str, seconds: float) -> None:
            self.url, self.ended, self.closed = engine_socket, False, False
            tunnels.append(self)

        def close(self) -> None:
            self.closed = self.ended = True

        def has_ended(self) -> bool:
            return self.ended

    monkeypatch.setattr(connection, "SshTunnel", Tunnel)
    made = connect(docker_host="ssh://far.example")
    first = made.client
    assert made.client is first
    tunnels[0].ended = True
    assert made.client is not first
    assert made.client is made.client
    assert [tunnel.closed for tunnel in tunnels] == [True, False]
    made.close()
    _ = made.client  # what was closed stays so
    assert [tunnel.closed for tunnel in tunnels] == [True, True]


def test_the_question_for_the_version_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def send(_: object, request: object, **options: Any) -> Any:
        seen.append(options["timeout"])
        msg = "cut"
        raise requests.ConnectionError(msg)

    monkeypatch.setattr(requests.Session, "send", send)
    with within(Deadline(5.0)), pytest.raises(EngineUnavailableError):
        connect(docker_host="tcp://127.0.0.1:1", timeout=60.0)
    assert seen == [pytest.approx(5.0, abs=1.0)]


def test_an_engine_that_answers_no_json() -> None:
    with (
        http_server(lambda *_: (200, b"<html>")) as url,
        pytest.raises(EngineUnavailableError, match="could not connect"),
    ):
        connect(docker_host=url.replace("http://", "tcp://"))


def test_requests_within_a_deadline_end_with_it(engine_socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = connect(docker_host=engine_socket).client.api
    adapter = api.get_adapter(f"{api.base_url}/")
    send = adapter.send
    seen: list[float] = []

    def note(request: Any, **options: Any) -> Any:
        seen.append(options["timeout"])
        return send(request, **options)

    monkeypatch.setattr(adapter, "send", note)
    api.version()
    with within(Deadline(2)):
        api.version()
    assert seen[0] == api.timeout
    assert seen[1] <= 2
    api.close()
