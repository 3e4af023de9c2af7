"""Which engine is meant, and how it is reached: over real sockets with a made-up engine behind them."""

from __future__ import annotations

import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker import DockerClient
from docker.context import ContextAPI
from docker.transport import UnixHTTPAdapter

from jupyter_launcher import EngineUnavailableError, OptionError
from jupyter_launcher.engine import connection
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.connection import OLDEST_API, connect
from jupyter_launcher.waiting import Deadline, within
from tests.unit.fakes import http_server
from tests.unit.forks import in_a_fork
from tests.unit.sdk import FakeApi, sdk_client

VERSION = b'{"ApiVersion": "1.41", "Version": "20.10.24"}'
ENVIRONMENT = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "HTTP_PROXY", "http_proxy")


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


@pytest.fixture
def engine_socket(tmp_path: Path) -> Iterator[str]:
    """An engine that answers over a socket."""

    class Handler(BaseHTTPRequestHandler):
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

    path = tmp_path / "engine.sock"
    with UnixEngine(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join()


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


def test_nobody_listens(tmp_path: Path) -> None:
    endpoint = f"unix://{tmp_path}/no.sock"
    with pytest.raises(EngineUnavailableError, match="nothing listens there") as caught:
        connect(docker_host=endpoint)
    assert caught.value.endpoint == endpoint


def test_the_default_socket_is_taken_when_nothing_is_named() -> None:
    assert connection._find_endpoint(None, None) == "unix:///var/run/docker.sock"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_context_that_does_not_exist(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "environment":
        monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    with pytest.raises(OptionError, match="no Docker context 'nowhere'") as caught:
        connect(context="nowhere" if by == "argument" else None)
    assert caught.value.option == "context"


def test_a_context_that_exists(engine_socket: str) -> None:
    ContextAPI.create_context("far", host=engine_socket)
    made = connect(context="far")
    assert made.endpoint.endswith(engine_socket.removeprefix("unix://"))
    assert made.client.api.api_version == "1.41"
    made.close()


def creator(verify: bool | str, made: list[Any]) -> Callable[..., DockerClient]:  # noqa: FBT001 - requests' own
    """Makes clients of an engine with such certificates."""

    def create(**options: Any) -> DockerClient:
        api = FakeApi(version={"ApiVersion": "1.43"})
        api.verify = verify
        client = sdk_client(api)
        made.append(SimpleNamespace(client=client, api=api, options=options))
        return client

    return create


def test_an_engine_with_tls_is_asked_with_its_own_authority_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/company.pem")
    made: list[Any] = []
    client = connection._create_client(creator("/certs/ca.pem", made), timeout=5)
    assert [item.options for item in made] == [
        {"version": OLDEST_API, "timeout": 5},
        {"version": "1.43", "timeout": 5},
    ]
    assert [cast("Any", item.api).trust_env for item in made] == [False, False]
    assert (vars(made[0].client)["closed"], client) == (True, made[1].client)


def test_an_engine_without_tls_finds_its_version_by_itself() -> None:
    made: list[Any] = []
    client = connection._create_client(creator(True, made), timeout=5)  # noqa: FBT003 - requests' own
    assert [item.options for item in made] == [{"version": OLDEST_API, "timeout": 5}, {"timeout": 5}]
    assert client == made[1].client
    assert made[0].api.names == []


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
