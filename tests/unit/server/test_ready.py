"""When a server is ready, and when a gateway gives kernel specs."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jupyter_launcher import (
    EngineError,
    Gateway,
    GatewayUnreachableError,
    ServerError,
    ServerInfoError,
    ServerStartError,
    ServerTimeoutError,
)
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.server import ready
from jupyter_launcher.server.api import JupyterApi, NoAnswerError, Response
from jupyter_launcher.server.ready import check_kernelspecs, check_server_info, find_kernelspecs, wait_until_ready
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import (
    APART,
    TOKEN,
    Answer,
    FakeEngine,
    container,
    http_server,
    not_run,
    printed,
    refusal,
    server_info,
)
from tests.unit.hostile import ENDLESS, KINDS, SOME, hostile_server, shown

GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888")


def test_ready_is_an_answer_with_our_token() -> None:
    asked: list[str | None] = []

    def answer(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append(headers.get("Authorization"))
        if len(asked) < 4:
            return 500, b"starting"
        return (200, b"{}") if headers.get("Authorization") == "token right" else (403, b"{}")

    with http_server(answer) as url:
        wait_until_ready(JupyterApi(url, "right"), FakeEngine(container()), "c", Deadline(5))
    assert asked == ["token right", None] * 3


def test_a_server_that_takes_another_token_is_not_ready() -> None:
    with http_server(lambda *_: (403, b"{}")) as url, pytest.raises(ServerTimeoutError, match="HTTP 403"):
        wait_until_ready(JupyterApi(url, "t"), FakeEngine(container()), "c", Deadline(0.2))


def test_a_server_without_authentication_is_refused() -> None:
    with http_server(lambda *_: (200, b"{}")) as url, pytest.raises(ServerError, match="without a token"):
        wait_until_ready(JupyterApi(url, "t"), FakeEngine(container()), "c", Deadline(5))


def test_a_server_that_was_ready_before_is_not_asked_without_a_token() -> None:
    asked: list[str | None] = []

    def answer(_: str, __: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append(headers.get("Authorization"))
        return 200, b"{}"

    with http_server(answer) as url:
        wait_until_ready(JupyterApi(url, "t"), FakeEngine(container()), "c", Deadline(5), is_new=False)
    assert asked == ["token t"]


def test_a_server_that_is_as_asked_for() -> None:
    check_server_info(server_info(), "/", FakeEngine(container()), "c")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"base_url": "/jupyter/"}, "has base_url '/jupyter/' where '/' was asked for"),
        ({"secure": True}, "has secure True where False was asked for"),
        ({"port": 9999}, "has port 9999 where 8888 was asked for"),
        ({"notebook_dir": "/home/x"}, "has root_dir '/home/x' where '/pipeline-dir' was asked for"),
        ({"password": True}, "has password True where False was asked for"),
        ({"port": 1, "secure": True}, "has secure True where False was asked for, and port 1 where 8888 was asked for"),
    ],
)
def test_a_server_that_is_otherwise_is_refused_by_name(change: dict[str, object], seen: str) -> None:
    info = replace(server_info(), **change)  # type: ignore[arg-type]
    with pytest.raises(ServerInfoError, match=re.escape(seen)) as caught:
        check_server_info(info, "/", FakeEngine(container()), "c")
    assert "lab_args" in caught.value.hint
    assert caught.value.log_tail == "the log"


def test_a_container_that_dies_while_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.0)
    engine = FakeEngine(container())

    def die(*_: object) -> tuple[int, bytes]:
        engine.change("c", state="exited", exit_code=137, oom_killed=True)
        return 500, b""

    with http_server(die) as url, pytest.raises(ServerStartError, match="it last gave HTTP 500") as caught:
        wait_until_ready(JupyterApi(url, "t"), engine, "c", Deadline(30))
    assert (caught.value.exit_code, caught.value.oom_killed, caught.value.log_tail) == (137, True, "the log")


@pytest.fixture
def nowhere() -> str:
    """A URL at which nobody listens any more."""
    with http_server(lambda *_: (200, b"")) as url:
        pass
    return url


def test_a_server_at_which_nobody_listens(nowhere: str) -> None:
    with pytest.raises(ServerTimeoutError, match="ConnectionRefusedError"):
        wait_until_ready(JupyterApi(nowhere, "t"), FakeEngine(container()), "c", Deadline(0.05))


def test_a_port_that_is_not_reached_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.05)
    monkeypatch.setattr(ready, "_UNREACHED_SECONDS", 0.2)
    deadline = Deadline(60)
    with pytest.raises(
        ServerTimeoutError, match=r"the server runs in container c, but no connection to .* can be made"
    ) as caught:
        wait_until_ready(JupyterApi(nowhere, TOKEN), FakeEngine(container()), "c", deadline)
    assert deadline.elapsed() < 10
    assert f"{nowhere} can be made (ConnectionRefusedError for " in caught.value.message
    assert "jupyter-launcher doctor" in caught.value.hint
    assert 0.2 <= caught.value.seconds < 10


def test_a_container_that_ended_is_not_taken_for_a_port_that_is_not_reached(
    monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.0)
    monkeypatch.setattr(ready, "_UNREACHED_SECONDS", 0.0)
    with pytest.raises(ServerStartError, match="exit code 3"):
        wait_until_ready(JupyterApi(nowhere, "t"), FakeEngine(container(state="exited", exit_code=3)), "c", Deadline(5))


@pytest.mark.parametrize("kind", ["silence", "closed at once", "a redirection to itself"])
def test_a_server_to_which_a_connection_is_made_is_waited_for(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.0)
    monkeypatch.setattr(ready, "_UNREACHED_SECONDS", 0.0)
    monkeypatch.setattr(ready, "_REQUEST_SECONDS", 0.1)
    with hostile_server(KINDS[kind]) as url, pytest.raises(ServerTimeoutError, match=r"was not ready after .* it gave"):
        wait_until_ready(JupyterApi(url, "t"), FakeEngine(container()), "c", Deadline(0.5))


def test_a_first_answer_is_proof_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the request after it makes none."""
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.0)
    monkeypatch.setattr(ready, "_UNREACHED_SECONDS", 0.0)
    asked: list[bool] = []

    def ask(*_: object, authenticated: bool = True) -> Response:
        asked.append(authenticated)
        if len(asked) > 4:
            return Response(200, None)
        if authenticated:
            return Response(500, None)
        seen = "TimeoutError"
        raise NoAnswerError(seen, connected=False)

    monkeypatch.setattr(JupyterApi, "request", ask)
    with pytest.raises(ServerError, match="without a token"):
        wait_until_ready(JupyterApi("http://h", "t"), FakeEngine(container()), "c", Deadline(5))


@pytest.mark.parametrize("kind", SOME)
def test_a_hostile_server_is_bounded_and_typed(kind: str) -> None:
    deadline = Deadline(0.2)
    with hostile_server(KINDS[kind]) as url, pytest.raises((ServerTimeoutError, ServerError)) as caught:
        wait_until_ready(JupyterApi(url, TOKEN), FakeEngine(container()), "c", deadline)
    assert deadline.elapsed() < 0.2 + 2
    assert not [text for text in shown(caught.value) if TOKEN in text]


@pytest.mark.parametrize("kind", SOME)
def test_kernel_specs_of_a_hostile_server_are_none(kind: str) -> None:
    begun = Deadline(5.0 if kind not in ENDLESS else 0.2)
    with hostile_server(KINDS[kind]) as url, pytest.raises(GatewayUnreachableError) as caught:
        check_kernelspecs(JupyterApi(url, TOKEN), GATEWAY, FakeEngine(container()), container(), begun.seconds)
    assert begun.elapsed() < begun.seconds + 2
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000
    assert not [text for text in shown(caught.value) if TOKEN in text]


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (503, b'{"message": "gateway is down"}', "gateway is down"),
        (503, b'{"message": "a\\n\\u001b[2Jb\\udcff"}', "HTTP 503: a  [2Jb )"),
        (503, b'{"message": "' + b"x" * 9999 + b'"}', f"({'HTTP 503: '}{'x' * 500})"),
        (503, b'{"message": ["x"]}', "HTTP 503: )"),
        (404, b"not found", "HTTP 404: no JSON"),
        (404, b"{}", "see that a kernel gateway listens there"),
        (404, b"{}", "below a base URL is given as http://NAME:PORT/BASE"),
        (503, b'{"message": "Error from Gateway: [%s] %s. Ensure x."}', "(HTTP 503: Error from Gateway: Ensure x.)"),
        (401, b"{}", "the gateway wants a token: give environment={'JUPYTER_GATEWAY_AUTH_TOKEN': ...}"),
        (403, b"{}", "the gateway wants a token"),
        (200, b'{"kernelspecs": {}}', "no kernel specs at all"),
        (200, b"[1, 2]", "JSON of type list"),
    ],
)
def test_a_gateway_that_gives_no_kernel_specs(status: int, body: bytes, seen: str) -> None:
    with http_server(lambda *_: (status, body)) as url, pytest.raises(GatewayUnreachableError) as caught:
        check_kernelspecs(JupyterApi(url, "t"), GATEWAY, FakeEngine(container()), container(), 5.0)
    assert seen in str(caught.value)
    assert (caught.value.status, caught.value.gateway_url) == (status, GATEWAY.url)
    assert caught.value.log_tail == "the log"


def test_a_gateway_with_a_certificate_that_nobody_knows() -> None:
    secure = replace(GATEWAY, url="https://gw:8888")
    with http_server(lambda *_: (500, b"{}")) as url, pytest.raises(GatewayUnreachableError) as caught:
        check_kernelspecs(JupyterApi(url, "t"), secure, FakeEngine(container()), container(), 5.0)
    assert "SSL_CERT_FILE" in caught.value.hint


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        ([container(id="9" * 64, state="exited", exit_code=137)], r"gw is exited \(exit code 137\)"),
        ([], "gw is gone"),
    ],
)
def test_a_gateway_that_has_ended_meanwhile(known: list[ContainerInfo], seen: str) -> None:
    gateway = replace(GATEWAY, container_id="9" * 64)
    with (
        http_server(lambda *_: (503, b"{}")) as url,
        pytest.raises(GatewayUnreachableError, match=f"{seen}: it ended while the session was starting") as caught,
    ):
        check_kernelspecs(JupyterApi(url, "t"), gateway, FakeEngine(*known), container(), 5.0)
    assert (caught.value.gateway, caught.value.gateway_url) == ("gw", gateway.url)
    assert caught.value.log_tail


def test_a_gateway_that_runs_and_gives_no_kernel_specs() -> None:
    gateway = replace(GATEWAY, container_id="9" * 64)
    with http_server(lambda *_: (503, b"{}")) as url, pytest.raises(GatewayUnreachableError):
        check_kernelspecs(JupyterApi(url, "t"), gateway, FakeEngine(container(id="9" * 64)), container(), 5.0)


def test_a_gateway_behind_a_server_that_does_not_answer(nowhere: str) -> None:
    with pytest.raises(GatewayUnreachableError, match=r"ConnectionRefusedError after \d\.\d s") as caught:
        check_kernelspecs(JupyterApi(nowhere, "t"), GATEWAY, FakeEngine(), container(), 5.0)
    assert caught.value.status is None
    assert caught.value.log_tail.startswith("(no log: ")


ALONE = replace(APART, allows_icc=False)
BESIDE = Gateway(name="gw", url="http://203.0.113.7:8888")
"""On that network."""
LOST, REFUSED, SILENT = printed("", 7, "timed out"), printed("401\n"), printed("", 1, "no answer within 5 s")


@pytest.mark.parametrize("network", [None, "mine"])
def test_a_network_that_keeps_its_containers_apart(nowhere: str, network: str | None) -> None:
    engine = FakeEngine(container(), answers=[LOST])
    engine.every_network = ALONE
    gateway = replace(BESIDE, network=network, token="t0ken")
    with pytest.raises(GatewayUnreachableError, match=r"does not reach the gateway gw .* \(timed out\)") as caught:
        check_kernelspecs(JupyterApi(nowhere, "t"), gateway, engine, container(), 5.0)
    assert f"network {network or 'bridge'} may not speak to each other" in caught.value.hint
    assert "docker network create" in caught.value.hint
    assert (caught.value.gateway_url, caught.value.log_tail) == (BESIDE.url, "the log")
    assert ("network", network or "bridge") in engine.calls
    assert engine.environments == [{}]  # the look needs no token


@pytest.mark.parametrize("answer", [REFUSED, SILENT, not_run()], ids=str)
def test_a_network_whose_rules_let_the_gateway_through(answer: Answer) -> None:
    """By a rule of the host. What an answer that did not come means, the server will say."""
    engine = FakeEngine(container(), answers=[answer])
    engine.every_network = ALONE
    with http_server(lambda *_: (200, b'{"kernelspecs": {"python3": {}}}')) as url:
        check_kernelspecs(JupyterApi(url, "t"), BESIDE, engine, container(), 5.0)
    assert len(engine.execs) == 1


def test_a_gateway_that_was_named_by_its_container_is_on_that_network(nowhere: str) -> None:
    engine = FakeEngine(container(), answers=[LOST])
    engine.every_network = ALONE
    gateway = replace(GATEWAY, container_id="9" * 64)
    with pytest.raises(GatewayUnreachableError, match="does not reach the gateway"):
        check_kernelspecs(JupyterApi(nowhere, "t"), gateway, engine, container(), 5.0)


@pytest.mark.parametrize("url", ["http://10.0.0.1:8888", "http://gateway.example:8888", "https://203.0.113.7:8888"])
def test_a_gateway_elsewhere_or_with_tls_is_not_looked_for(url: str) -> None:
    """That the network keeps its containers apart is then no reason."""
    engine = FakeEngine(container(), answers=[LOST])
    engine.every_network = ALONE
    with http_server(lambda *_: (200, b'{"kernelspecs": {"python3": {}}}')) as server:
        check_kernelspecs(JupyterApi(server, "t"), Gateway(name=url, url=url), engine, container(), 5.0)
    assert engine.execs == []


@pytest.mark.parametrize("found", [APART, None, refusal(403)])
def test_in_other_networks_nothing_is_looked_for(found: NetworkInfo | EngineError | None) -> None:
    engine = FakeEngine(container())
    if isinstance(found, EngineError):
        engine.fail("network", found)
    else:
        engine.every_network = found
    with http_server(lambda *_: (200, b'{"kernelspecs": {"python3": {}}}')) as url:
        check_kernelspecs(JupyterApi(url, "t"), BESIDE, engine, container(), 5.0)
    assert engine.execs == []


def test_kernel_specs_are_enough() -> None:
    with http_server(lambda *_: (200, b'{"kernelspecs": {"python3": {}}}')) as url:
        check_kernelspecs(JupyterApi(url, "t"), GATEWAY, FakeEngine(), container(), 5.0)
        assert find_kernelspecs(JupyterApi(url), Deadline(5)) == frozenset({"python3"})
    assert find_kernelspecs(JupyterApi(url), Deadline(5)) is None


def test_a_gateway_that_refuses_has_no_kernel_specs() -> None:
    with http_server(lambda *_: (403, b"{}")) as url:
        assert find_kernelspecs(JupyterApi(url), Deadline(5)) is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"kernelspecs": []}', b"[" * 100_000])
def test_a_gateway_that_answers_something_else_has_none_of_its_kernel_specs(body: bytes) -> None:
    with http_server(lambda *_: (200, body)) as url:
        assert find_kernelspecs(JupyterApi(url), Deadline(5)) == frozenset()
