"""What the engine tells of containers as time goes by: what one uses, and what happens to them."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from jupyter_launcher import EngineError, EngineUnavailableError, Stats
from jupyter_launcher.engine import logs, streams
from jupyter_launcher.engine.logs import parse_stats
from jupyter_launcher.engine.shapes import ContainerEvent
from jupyter_launcher.waiting import Deadline
from tests.unit.forks import in_a_fork
from tests.unit.sdk import FakeApi, answer_on_a_socket, api_error, docker_engine, http_response

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def event(action: str = "die", **changes: Any) -> dict[str, Any]:
    """One event of Docker's."""
    attributes = {"name": "n", "image": "i", "a-label": "b", "exitCode": "137"}
    actor = {"ID": "abc", "Attributes": attributes}
    return {"Type": "container", "Action": action, "Actor": actor, "time": 5, "timeNano": 5_250_000_000, **changes}


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


def line(*actions: str) -> bytes:
    return "".join(f"{json.dumps(event(action))}\n" for action in actions).encode()


# Events


def test_an_event_is_parsed() -> None:
    found = ContainerEvent.from_event(event())
    labels = {"name": "n", "image": "i", "a-label": "b", "exitCode": "137"}
    assert found == ContainerEvent(action="die", id="abc", name="n", labels=labels, time=5.25, exit_code=137)


def test_an_event_of_podman_is_parsed() -> None:
    actor = {"ID": "abc", "Attributes": {"name": "n", "containerExitCode": "0"}}
    found = ContainerEvent.from_event(event("died", Actor=actor, timeNano=None))
    assert (found.exit_code, found.time) == (0, 5.0)


@pytest.mark.parametrize(("code", "expected"), [("", None), ("-1", None), ("many", None), ("9" * 10, None), ("7", 7)])
def test_an_exit_code_that_is_none(code: str, expected: int | None) -> None:
    actor = {"ID": "abc", "Attributes": {"exitCode": code}}
    assert ContainerEvent.from_event(event(Actor=actor)).exit_code == expected


@pytest.mark.parametrize(
    "changes", [{"Action": None}, {"Actor": None}, {"Actor": {"ID": 5}}, {"timeNano": "x"}, {"Actor": {}}]
)
def test_an_event_of_another_shape_is_a_typed_error(changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="answer about an event has an unexpected shape"):
        ContainerEvent.from_event(event(**changes))


def test_events_come_as_they_happen_until_the_engine_ends_them() -> None:
    with answer_on_a_socket(chunk(line("die")), headers=CHUNKED) as (response, engine):
        api = FakeApi(get=response)
        found = docker_engine(api).events("a=b", "c", since=5.25)
        assert next(found).action == "die"
        engine.sendall(chunk(line("oom", "destroy")[:-20]))
        assert next(found).action == "oom"
        engine.sendall(chunk(line("oom", "destroy")[-20:]))
        assert next(found).action == "destroy"
        engine.close()
        with pytest.raises(EngineUnavailableError):
            next(found)
        with pytest.raises(StopIteration):
            next(found)
    assert api.arguments("get") == ("http+docker://localhost/v1.41/events",)
    options = api.options("get")
    assert json.loads(options["params"]["filters"]) == {"type": ["container"], "label": ["a=b", "c"]}
    assert (options["params"]["since"], options["timeout"], options["stream"]) == ("5.250000000", 60, True)


def test_a_stream_that_ends_says_how_to_go_on() -> None:
    api = FakeApi(get=http_response(b"\n" + line("die")))
    found = docker_engine(api).events("a")
    assert next(found).exit_code == 137
    assert "since" not in api.options("get")["params"]
    with pytest.raises(EngineUnavailableError, match="has ended its stream of events") as caught:
        next(found)
    assert "since=" in caught.value.hint


def test_a_time_that_no_clock_tells() -> None:
    api = FakeApi(get=http_response(b""))
    docker_engine(api).events(since=10**400)
    assert api.options("get")["params"]["since"] == "253402300799.000000000"


def test_another_thread_ends_a_wait_for_an_event() -> None:
    with answer_on_a_socket(chunk(line("die")), headers=CHUNKED) as (response, _):
        streams.limit_read(response, Deadline(60))
        found = docker_engine(FakeApi(get=response)).events("a")
        connection = streams.socket_of(response)
        assert connection is not None
        assert connection.gettimeout() is None
        assert next(found).action == "die"
        ended: list[object] = []
        reader = threading.Thread(target=lambda: ended.append(next(found, None)), daemon=True)
        reader.start()
        found.close()
        reader.join(30)
        assert ended == [None]
        found.close()
        with pytest.raises(StopIteration):
            next(found)


def test_a_fork_that_closes_a_stream_ends_nothing() -> None:
    with answer_on_a_socket(chunk(line("die")), headers=CHUNKED) as (response, engine):
        found = docker_engine(FakeApi(get=response)).events("a")
        in_a_fork(found.close)
        assert next(found).action == "die"
        engine.sendall(chunk(line("oom")))
        assert next(found).action == "oom"


def test_a_stream_without_a_socket_is_left_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_CLOSING_SECONDS", 0.01)
    reads, goes_on = threading.Event(), threading.Event()

    def wait(*_: object) -> Any:
        reads.set()
        yield line("die") if goes_on.wait(30) else b""

    response = http_response()
    response.iter_content = wait  # type: ignore[assignment]
    found = docker_engine(FakeApi(get=response)).events("a")
    reader = threading.Thread(target=lambda: next(found, None), daemon=True)
    reader.start()
    assert reads.wait(30)
    found.close()
    goes_on.set()
    reader.join(30)
    assert not reader.is_alive()


@pytest.mark.parametrize("body", [b"no JSON\n", b"[]\n", b"x" * (logs._LONGEST + 1)])
def test_what_is_no_event_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(EngineError):
        next(docker_engine(FakeApi(get=http_response(body))).events("a"))


def test_a_refusal_of_events_is_an_error_of_the_call() -> None:
    refusal, closed = http_response(b"<html>no</html>", 403, to="GET /v1.41/events"), threading.Event()
    refusal.close = closed.set  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="forbids") as caught:
        docker_engine(FakeApi(get=refusal)).events("a")
    assert "EVENTS=1" in caught.value.hint
    assert closed.is_set()


# What a container uses

USED: dict[str, Any] = {
    "memory_stats": {"usage": 1000, "limit": 4096, "stats": {"total_inactive_file": 300, "inactive_file": 1}},
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500}, "system_cpu_usage": 20_000, "online_cpus": 4},
    "precpu_stats": {"cpu_usage": {"total_usage": 500}, "system_cpu_usage": 10_000},
    "pids_stats": {"current": 7},
}


def test_what_a_container_uses() -> None:
    api = FakeApi(stats=USED)
    assert docker_engine(api).stats("abc") == Stats(memory=700, memory_limit=4096, cpus=0.8, pids=7)
    assert (api.arguments("stats"), api.options("stats")) == (("abc",), {"stream": False})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"memory_stats": {"usage": 1000, "limit": 2**63 - 1, "stats": {"inactive_file": 100}}}, {"memory": 900}),
        ({"memory_stats": {"usage": 5, "limit": 0, "stats": {"inactive_file": 100}}}, {"memory": 0}),
        ({"memory_stats": {}}, {}),
        ({"memory_stats": None}, {}),
        ({"pids_stats": {}}, {"pids": None}),
        ({"precpu_stats": {}}, {"cpus": None}),
        ({"precpu_stats": USED["cpu_stats"]}, {"cpus": None}),
        ({"precpu_stats": {"cpu_usage": {"total_usage": 9_000}, "system_cpu_usage": 10_000}}, {"cpus": None}),
        ({"cpu_stats": {**USED["cpu_stats"], "online_cpus": 0}}, {"cpus": None}),
        ({"cpu_stats": {**USED["cpu_stats"], "system_cpu_usage": "x"}}, {"cpus": None}),
    ],
)
def test_what_an_engine_does_not_tell_is_none(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    known: dict[str, Any] = {"memory": 700, "memory_limit": 4096, "cpus": 0.8, "pids": 7}
    if "memory_stats" in changes:
        known |= {"memory": None, "memory_limit": None}
    assert parse_stats({**USED, **changes}) == Stats(**{**known, **expected})


def test_an_engine_that_tells_nothing() -> None:
    assert parse_stats({}) == Stats()


@pytest.mark.parametrize("raw", [[], None, {"memory_stats": 5}, {"memory_stats": {"stats": "x"}}, {"cpu_stats": [1]}])
def test_what_is_no_answer_is_a_typed_error(raw: Any) -> None:
    with pytest.raises(EngineError, match="what a container uses"):
        parse_stats(raw)


def test_a_container_that_is_gone_uses_nothing() -> None:
    with pytest.raises(EngineError, match="ask what container abc uses") as caught:
        docker_engine(FakeApi(stats=api_error(404, "no such container"))).stats("abc")
    assert caught.value.status == 404


def test_a_followed_log_ends_where_its_host_goes_without_a_word() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    with listener, answer_on_a_socket(b"", pair=(client, server)) as (response, _):
        api = FakeApi(get=lambda *_, **__: response)
        docker_engine(api).read_log("abc")
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        docker_engine(api).read_log("abc", follow=True)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15


def test_a_followed_log_over_a_socket_of_this_host_needs_no_signs_of_life() -> None:
    with answer_on_a_socket(b"") as (response, _):
        docker_engine(FakeApi(get=lambda *_, **__: response)).read_log("abc", follow=True)
