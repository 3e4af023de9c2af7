"""When a server is ready, and when a gateway gives kernel specs."""

from __future__ import annotations

import pytest

from jupyter_launcher import (
    Gateway,
    GatewayUnreachableError,
    ServerError,
    ServerStartError,
    ServerTimeoutError,
)
from jupyter_launcher.server import ready
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.ready import check_kernelspecs, has_kernelspecs, wait_until_ready
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import FakeEngine, container, http_server

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


def test_a_container_that_dies_while_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "_ALIVE_EVERY", 0.0)
    engine = FakeEngine(container())

    def die(*_: object) -> tuple[int, bytes]:
        engine.change("c", state="exited", exit_code=137, oom_killed=True)
        return 500, b""

    with http_server(die) as url, pytest.raises(ServerStartError, match="it last gave HTTP 500") as caught:
        wait_until_ready(JupyterApi(url, "t"), engine, "c", Deadline(30))
    assert (caught.value.exit_code, caught.value.oom_killed, caught.value.log_tail) == (137, True, "the log")


def test_a_server_at_which_nobody_listens() -> None:
    with http_server(lambda *_: (200, b"")) as url:
        pass
    with pytest.raises(ServerTimeoutError, match="ConnectionError"):
        wait_until_ready(JupyterApi(url, "t"), FakeEngine(container()), "c", Deadline(0.05))


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (503, b'{"message": "gateway is down"}', "gateway is down"),
        (404, b"not found", "HTTP 404"),
        (200, b'{"kernelspecs": {}}', "no kernel specs at all"),
        (200, b"[1, 2]", "[1, 2]"),
    ],
)
def test_a_gateway_that_gives_no_kernel_specs(status: int, body: bytes, seen: str) -> None:
    with http_server(lambda *_: (status, body)) as url, pytest.raises(GatewayUnreachableError) as caught:
        check_kernelspecs(JupyterApi(url, "t"), GATEWAY, FakeEngine(container()), "c", 5.0)
    assert seen in str(caught.value)
    assert (caught.value.status, caught.value.gateway_url) == (status, GATEWAY.url)
    assert caught.value.log_tail == "the log"


def test_a_gateway_behind_a_server_that_does_not_answer() -> None:
    with http_server(lambda *_: (200, b"")) as url:
        pass
    with pytest.raises(GatewayUnreachableError, match="ConnectionError after 5 s") as caught:
        check_kernelspecs(JupyterApi(url, "t"), GATEWAY, FakeEngine(), "c", 5.0)
    assert caught.value.status is None
    assert caught.value.log_tail.startswith("(no log: ")


def test_kernel_specs_are_enough() -> None:
    with http_server(lambda *_: (200, b'{"kernelspecs": {"python3": {}}}')) as url:
        check_kernelspecs(JupyterApi(url, "t"), GATEWAY, FakeEngine(), "c", 5.0)
        assert has_kernelspecs(JupyterApi(url), timeout=5)
    assert not has_kernelspecs(JupyterApi(url), timeout=1)


def test_a_gateway_that_refuses_has_no_kernel_specs() -> None:
    with http_server(lambda *_: (403, b"{}")) as url:
        assert not has_kernelspecs(JupyterApi(url), timeout=5)
