"""Stopping step by step: the server, its kernels, its container, and nothing of somebody else's."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import (
    EngineUnavailableError,
    Event,
    EventKind,
    Gateway,
    Phase,
    StopMethod,
    StopReport,
    Timeouts,
)
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions import stop as stop_module
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.labels import SessionLabels, gateway_labels, gateway_name
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.unit.fakes import (
    DOCKER,
    GATEWAY_TOKEN,
    HERE,
    TOKEN,
    FakeEngine,
    FakeJupyter,
    container,
    http_server,
    launcher_context,
    not_run,
    printed,
    refusal,
    server_info,
    session_info,
    session_labels,
)
from tests.unit.hostile import ENDLESS, hostile_server


def stop(context: Context, jupyter: FakeJupyter, labels: SessionLabels | None = None, **changes: Any) -> StopReport:
    """Stop a session that is there in this state."""
    labels = labels or session_labels()
    info = jupyter.add(session_info(labels, **changes))
    return stop_session(context, info, labels)


def on_gateway(jupyter: FakeJupyter, **changes: Any) -> SessionLabels:
    """The labels of a session with kernels on a gateway, which is at the same address."""
    gateway = Gateway(**{"name": "gw", "url": jupyter.url.rstrip("/"), "container_id": "9" * 64, **changes})
    if gateway.container_id is not None:
        jupyter.engine.known[gateway.container_id] = container(
            id=gateway.container_id, name="gw", networks={"bridge": "127.0.0.1"}
        )
        jupyter.engine.every_network = HERE
    return session_labels(gateway)


def kinds(events: list[Event]) -> list[tuple[EventKind, str]]:
    return [(event.kind, event.detail) for event in events if event.phase is Phase.STOP]


def test_the_servers_api_comes_first(context: Context, jupyter: FakeJupyter, events: list[Event]) -> None:
    jupyter.kernels = {"a", "b"}
    report = stop(context, jupyter)
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.API, ("a", "b"), ("a", "b"))
    assert report.seconds >= 0
    assert [item for item in jupyter.asked if item[0] != "DELETE"] == [
        ("GET", "/api/kernels"),
        ("POST", "/api/shutdown"),
    ]
    assert ("DELETE", "/api/kernels/a") in jupyter.asked
    assert set(jupyter.authorizations) == {f"token {TOKEN}"}
    assert not any("terminate" in argv for argv in jupyter.engine.execs)
    assert jupyter.engine.known == {}
    assert kinds(events) == [(EventKind.STARTED, ""), (EventKind.PROGRESS, "api"), (EventKind.FINISHED, "api")]
    assert {event.session_id for event in events} == {"one"}


def test_a_token_that_is_known_is_not_read_again(context: Context, jupyter: FakeJupyter) -> None:
    info = jupyter.add(session_info())
    assert stop_session(context, info, session_labels(), server_info()).method is StopMethod.API
    assert jupyter.engine.execs == []
    assert set(jupyter.authorizations) == {f"token {TOKEN}"}


def test_sigterm_comes_where_the_api_refuses(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.shutdown_status = 403
    jupyter.heeds_shutdown = False
    assert stop(context, jupyter).method is StopMethod.SIGTERM
    assert jupyter.engine.known == {}


def test_sigterm_comes_where_the_server_said_that_it_would_end_and_did_not(
    context: Context, jupyter: FakeJupyter, caplog: pytest.LogCaptureFixture
) -> None:
    jupyter.heeds_shutdown = False
    with caplog.at_level(logging.INFO, "jupyter_launcher"):
        assert stop(context, jupyter).method is StopMethod.SIGTERM
    assert "did not end by its API" in caplog.text


def test_a_server_that_ignores_everything_is_killed(
    context: Context, jupyter: FakeJupyter, caplog: pytest.LogCaptureFixture
) -> None:
    jupyter.heeds_shutdown = jupyter.heeds_sigterm = False
    with caplog.at_level(logging.INFO, "jupyter_launcher"):
        assert stop(context, jupyter).method is StopMethod.KILLED
    assert "did not end by SIGTERM" in caplog.text
    assert jupyter.engine.known == {}


def test_a_server_to_which_no_signal_can_be_sent_is_killed(
    context: Context, jupyter: FakeJupyter, caplog: pytest.LogCaptureFixture
) -> None:
    jupyter.heeds_shutdown = False
    run = jupyter.run
    jupyter.engine.run = lambda found, argv: not_run("no sh") if "terminate" in argv else run(found, argv)
    with caplog.at_level(logging.INFO, "jupyter_launcher"):
        assert stop(context, jupyter).method is StopMethod.KILLED
    assert "no SIGTERM to the server" in caplog.text


def test_a_signal_whose_fate_is_unknown_may_have_been_sent(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.heeds_shutdown = False
    run = jupyter.run

    def lost(found: Any, argv: Any) -> Any:
        answer = run(found, argv)
        return not_run("its output was lost", started=None) if "terminate" in argv else answer

    jupyter.engine.run = lost
    assert stop(context, jupyter).method is StopMethod.SIGTERM


def test_a_gateway_into_which_nobody_can_look_is_warned_of(
    context: Context, jupyter: FakeJupyter, events: list[Event]
) -> None:
    labels = on_gateway(jupyter)
    jupyter.lists = False
    run = jupyter.run
    jupyter.engine.run = lambda found, argv: not_run("no sh") if "find" in argv else run(found, argv)
    stop(context, jupyter, labels)
    (warning,) = [event.detail for event in events if event.kind is EventKind.WARNING]
    assert warning == "nobody could look for the session's kernels in the gateway gw"


def test_a_gateway_that_is_gone_has_no_kernels(context: Context, jupyter: FakeJupyter, events: list[Event]) -> None:
    labels = on_gateway(jupyter)
    del jupyter.engine.known["9" * 64]
    stop(context, jupyter, labels)
    assert [event for event in events if event.kind is EventKind.WARNING] == []


def test_a_token_that_cannot_be_read_ends_nothing(
    context: Context, jupyter: FakeJupyter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_module, "_INFO_SECONDS", 0.05)
    jupyter.heeds_shutdown = False
    run = jupyter.run
    jupyter.engine.run = lambda found, argv: not_run("lost") if "look" in argv else run(found, argv)
    with caplog.at_level(logging.INFO, "jupyter_launcher"):
        assert stop(context, jupyter).method is StopMethod.SIGTERM
    assert "no token from container" in caplog.text


def test_kernels_that_cannot_be_listed_are_not_reported(context: Context, jupyter: FakeJupyter) -> None:
    info = jupyter.add(session_info())
    with http_server(lambda *_: (403, b"{}")) as url:
        port = int(url.rsplit(":", 1)[1].rstrip("/"))
        jupyter.engine.change(info.id, ports={"8888/tcp": (port,)})
        report = stop_session(context, info, session_labels())
    assert (report.method, report.kernels) == (StopMethod.SIGTERM, ())


def test_a_paused_session_goes_on_and_is_stopped_gracefully(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a"}
    report = stop(context, jupyter, state="paused")
    assert (report.method, report.kernels_gone) == (StopMethod.API, ("a",))
    assert ("unpause", "c" * 64) in jupyter.engine.calls
    assert jupyter.engine.known == {}


def port_of(url: str) -> dict[str, tuple[int, ...]]:
    """What a container publishes where this URL leads to."""
    return {"8888/tcp": (urlsplit(url).port or 0,)}


def test_a_session_that_stays_paused_is_killed_in_time(
    context: Context, jupyter: FakeJupyter, caplog: pytest.LogCaptureFixture
) -> None:
    info = jupyter.add(session_info(state="paused"))
    jupyter.engine.fail("unpause", refusal(500, "frozen"))
    deadline = Deadline(5)
    with hostile_server(ENDLESS["silence"]) as url:
        jupyter.engine.change(info.id, ports=port_of(url))
        quick = replace(context, timeouts=Timeouts(shutdown=0.2, terminate=0.2))
        assert stop_session(quick, info, session_labels()).method is StopMethod.KILLED
    assert not deadline.expired()
    assert "stays paused: frozen" in caplog.text
    assert jupyter.engine.known == {}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_server_that_never_answers_to_an_end_is_ended_in_time(
    context: Context, jupyter: FakeJupyter, kind: str
) -> None:
    info = jupyter.add(session_info())
    deadline = Deadline(5)
    with hostile_server(ENDLESS[kind]) as url:
        jupyter.engine.change(info.id, ports=port_of(url))
        quick = replace(context, timeouts=Timeouts(shutdown=0.3, terminate=0.3))
        assert stop_session(quick, info, session_labels()).method is StopMethod.SIGTERM
    assert not deadline.expired()
    assert jupyter.engine.known == {}


def test_a_server_that_another_stop_has_ended_is_already_stopped(context: Context, jupyter: FakeJupyter) -> None:
    """It answers no more, and its container is about to end."""
    info = jupyter.add(session_info())
    jupyter.engine.change(info.id, ports={"8888/tcp": (1,)})
    jupyter.engine.on_wait = jupyter.engine.end
    report = stop_session(context, info, session_labels())
    assert (report.method, report.kernels) == (StopMethod.ALREADY_STOPPED, ())
    assert not any("terminate" in argv for argv in jupyter.engine.execs)
    assert jupyter.engine.known == {}


def test_a_server_that_ends_before_it_gets_the_signal_is_already_stopped(
    context: Context, jupyter: FakeJupyter
) -> None:
    jupyter.heeds_shutdown, jupyter.shutdown_status = False, 403
    run = jupyter.run
    jupyter.engine.run = lambda found, argv: not_run("it has ended") if "terminate" in argv else run(found, argv)
    jupyter.engine.on_wait = jupyter.engine.end
    assert stop(context, jupyter).method is StopMethod.ALREADY_STOPPED
    assert jupyter.engine.known == {}


def test_each_step_has_its_share_of_the_time(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    jupyter.kernels = {"a"}
    jupyter.heeds_shutdown = jupyter.heeds_sigterm = False
    seen: dict[str, list[float]] = {}

    def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*given: Any) -> Any:
            seen.setdefault(name, []).append(given[-1].seconds)
            return call(*given)

        return note

    for name in ("kernels", "delete_kernels"):
        monkeypatch.setattr(JupyterApi, name, noting(name, getattr(JupyterApi, name)))
    monkeypatch.setattr(jupyter.engine, "wait", noting("wait", jupyter.engine.wait))
    quick = replace(context, timeouts=Timeouts(shutdown=3.0, terminate=1.0))
    assert stop(quick, jupyter).method is StopMethod.KILLED
    ((kernels,), (deletes,), (shutdown, sigterm)) = (seen[name] for name in ("kernels", "delete_kernels", "wait"))
    assert 0 < kernels <= 3.0
    assert 0 < deletes <= 1.5
    assert 1.0 < shutdown <= 3.0
    assert 0 < sigterm <= 1.0


def test_an_end_that_nobody_promised_is_waited_for_a_moment(
    context: Context, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = jupyter.add(session_info())
    jupyter.engine.change(info.id, ports={"8888/tcp": (1,)})
    run = jupyter.run
    jupyter.engine.run = lambda found, argv: not_run("no sh") if "terminate" in argv else run(found, argv)
    waits: list[float] = []
    wait = jupyter.engine.wait

    def note(found: str, deadline: Deadline) -> int | None:
        waits.append(deadline.seconds)
        return wait(found, deadline)

    monkeypatch.setattr(jupyter.engine, "wait", note)
    assert stop_session(context, info, session_labels()).method is StopMethod.KILLED
    assert [0 < seconds <= 2.0 for seconds in waits] == [True, True]


@pytest.mark.parametrize("where", ["wait", "request"])
def test_a_stop_that_is_cancelled_kills_what_is_left(context: Context, jupyter: FakeJupyter, where: str) -> None:
    event, soon = threading.Event(), Deadline(10)
    info = jupyter.add(session_info())

    def say_nothing(_: socket.socket, stopped: threading.Event) -> None:
        event.set()
        stopped.wait()

    def hang(_: str) -> None:
        event.set()
        for attempt in attempts(Deadline(60), NotYetError):
            with attempt:
                raise NotYetError

    jupyter.engine.on_wait = hang
    slow = replace(context, timeouts=Timeouts(shutdown=60.0))
    with contextlib.ExitStack() as opened:
        if where == "request":
            url = opened.enter_context(hostile_server(say_nothing))
            jupyter.engine.change(info.id, ports=port_of(url))
        with pytest.raises(KeyError):
            run_act(lambda: stop_session(slow, info, session_labels()), cancel=Cancel(event, KeyError))
    assert not soon.expired()
    assert jupyter.engine.known == {}


def test_a_stop_that_is_cancelled_ends_the_kernels_on_the_gateway_too(
    context: Context, jupyter: FakeJupyter, events: list[Event]
) -> None:
    """Nobody finds them later."""
    event = threading.Event()
    jupyter.kernels = jupyter.sticky = {"a"}
    jupyter.marked = ["a"]
    labels = on_gateway(jupyter)
    info = jupyter.add(session_info(labels))

    def hang(_: str) -> None:
        event.set()
        jupyter.sticky = set()
        for attempt in attempts(Deadline(60), NotYetError):
            with attempt:
                raise NotYetError

    jupyter.engine.on_wait = hang
    with pytest.raises(KeyError):
        run_act(lambda: stop_session(context, info, labels), cancel=Cancel(event, KeyError))
    assert jupyter.kernels == set()
    assert [item.name for item in jupyter.engine.known.values()] == ["gw"]
    assert kinds(events)[-1][0] is EventKind.FAILED


def test_kernels_on_the_gateway_are_ended_when_a_step_fails(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a"}
    jupyter.marked = ["a"]
    labels = on_gateway(jupyter)
    jupyter.engine.fail("wait", EngineUnavailableError("gone", hint="look"))
    jupyter.heeds_shutdown = False
    with pytest.raises(EngineUnavailableError):
        stop(context, jupyter, labels)
    assert jupyter.kernels == set()


@pytest.mark.parametrize("state", ["exited", "created", "dead"])
def test_a_session_that_does_not_run_is_removed(context: Context, jupyter: FakeJupyter, state: str) -> None:
    assert stop(context, jupyter, state=state).method is StopMethod.ALREADY_STOPPED
    assert jupyter.asked == []
    assert jupyter.engine.known == {}


def test_a_session_that_somebody_removed_is_already_stopped(context: Context, engine: FakeEngine) -> None:
    report = stop_session(context, session_info(), session_labels())
    assert report.method is StopMethod.ALREADY_STOPPED
    assert engine.removed == []


@pytest.mark.parametrize(
    "labels", [{}, {"jupyter-launcher.session-id": "one"}, session_labels(start_id="other").to_labels()]
)
def test_a_container_of_somebody_else_is_never_touched(
    context: Context, engine: FakeEngine, jupyter: FakeJupyter, labels: dict[str, str]
) -> None:
    info = jupyter.add(session_info())
    engine.change(info.id, labels=labels)
    assert stop_session(context, info, session_labels()).method is StopMethod.ALREADY_STOPPED
    assert list(engine.known) == [info.id]
    assert (engine.removed, jupyter.asked) == ([], [])


def test_a_server_that_answered_has_listed_what_is_the_sessions(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a", "b"}
    jupyter.marked = ["other"]
    report = stop(context, jupyter, on_gateway(jupyter))
    assert (report.kernels, report.kernels_gone, report.kernels_of_others) == (("a", "b"), ("a", "b"), ())
    assert not any("find" in argv for argv in jupyter.engine.execs)


def test_kernels_of_a_server_that_did_not_answer_are_found_and_deleted(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a"}
    jupyter.lists = False
    jupyter.marked = ["b", "a"]
    labels = on_gateway(jupyter)
    report = stop(context, jupyter, labels)
    assert (report.kernels, report.kernels_gone) == (("a", "b"), ("a", "b"))
    assert jupyter.engine.execs[-1][3:] == ("find", "KERNEL_JUPYTER_LAUNCHER=start-1")


def test_kernels_of_a_session_that_somebody_removed_are_found(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a", "other"}
    jupyter.marked = ["a"]
    report = stop_session(context, session_info(), on_gateway(jupyter))
    assert (report.method, report.kernels_gone) == (StopMethod.ALREADY_STOPPED, ("a",))
    assert jupyter.kernels == {"other"}


def test_a_gateway_by_url_is_asked_for_the_servers_kernels_alone(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a"}
    report = stop(context, jupyter, on_gateway(jupyter, container_id=None))
    assert (report.kernels, report.kernels_gone) == (("a",), ("a",))
    assert not any("find" in argv for argv in jupyter.engine.execs)


@pytest.mark.parametrize(("container_id", "warned"), [(None, True), ("9" * 64, False)])
def test_kernels_of_which_the_server_does_not_tell_are_a_warning_where_nobody_else_can(
    context: Context,
    jupyter: FakeJupyter,
    events: list[Event],
    container_id: str | None,
    warned: bool,  # noqa: FBT001 - pytest's
) -> None:
    labels = on_gateway(jupyter, container_id=container_id)
    info = jupyter.add(session_info(labels))
    jupyter.engine.change(info.id, ports={"8888/tcp": (1,)})
    report = stop_session(context, info, labels)
    assert (report.kernels, report.kernels_gone) == ((), ())
    text = "nobody could look for the session's kernels in the gateway gw"
    assert ((EventKind.WARNING, text) in kinds(events)) == warned


def test_without_kernels_the_gateway_is_not_asked(context: Context, jupyter: FakeJupyter) -> None:
    stop_session(context, session_info(), on_gateway(jupyter))
    assert jupyter.asked == []


def test_the_gateway_gets_its_token_from_the_sessions_environment(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.marked = ["a"]
    labels = on_gateway(jupyter)
    info = session_info(labels, environment={"JUPYTER_GATEWAY_AUTH_TOKEN": "s3cret"})
    stop_session(context, info, labels)
    assert jupyter.authorizations == ["token s3cret"]


def test_kernels_that_are_not_seen_gone_are_a_warning(
    context: Context, jupyter: FakeJupyter, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    jupyter.kernels = jupyter.sticky = {"a"}
    quick = replace(context, timeouts=Timeouts(gateway=0.05))
    report = stop(quick, jupyter, on_gateway(jupyter))
    assert (report.kernels, report.kernels_gone) == (("a",), ())
    text = "kernels a were not seen gone on the gateway gw"
    assert (EventKind.WARNING, text) in kinds(events)
    assert f"session one: {text}" in caplog.text


def test_a_gateway_that_does_not_answer_is_a_warning(
    context: Context, jupyter: FakeJupyter, events: list[Event]
) -> None:
    jupyter.kernels = {"a"}
    labels = on_gateway(jupyter, url="http://127.0.0.1:1", container_id=None)
    assert stop(context, jupyter, labels).kernels_gone == ()
    assert EventKind.WARNING in [kind for kind, _ in kinds(events)]
    assert jupyter.engine.removed != []


def test_with_a_remote_engine_the_gateway_is_asked_from_inside(jupyter: FakeJupyter) -> None:
    engine = FakeEngine(endpoint="tcp://10.0.0.7:2376", run=jupyter.run)
    jupyter.engine = engine
    jupyter.kernels = {"a"}
    jupyter.marked = ["a"]
    labels = on_gateway(jupyter)
    report = stop_session(launcher_context(engine), session_info(labels), labels)
    assert (report.kernels, report.kernels_gone) == (("a",), ("a",))
    assert [argv[3] for argv in engine.execs] == ["find", "run", "run", "run"]


def test_an_ip_that_only_the_engines_containers_have_is_not_asked(
    context: Context, jupyter: FakeJupyter, events: list[Event]
) -> None:
    """It may be another container's here, of an engine beside this one."""
    jupyter.kernels = {"a"}
    jupyter.engine.every_network = HERE
    jupyter.engine.traits = replace(DOCKER, rootless=True)
    report = stop(context, jupyter, on_gateway(jupyter, container_id=None))
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.API, ("a",), ())
    assert (EventKind.WARNING, "kernels a were not seen gone on the gateway gw") in kinds(events)
    assert ("GET", "/api/kernels") not in jupyter.asked[jupyter.asked.index(("POST", "/api/shutdown")) :]


def test_the_container_is_removed_when_a_step_fails(
    context: Context, jupyter: FakeJupyter, events: list[Event]
) -> None:
    jupyter.engine.fail("exec", EngineUnavailableError("gone", hint="look"))
    with pytest.raises(EngineUnavailableError):
        stop(context, jupyter)
    assert jupyter.engine.known == {}
    assert kinds(events)[-1] == (EventKind.FAILED, "EngineUnavailableError")


def test_a_container_that_cannot_be_removed_is_an_error(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.engine.fail("remove", refusal(500, "device busy"))
    with pytest.raises(Exception, match="device busy"):
        stop(context, jupyter)


def test_a_gateway_in_which_no_kernels_can_be_seen(context: Context, jupyter: FakeJupyter) -> None:
    labels = on_gateway(jupyter)
    run = jupyter.run
    jupyter.engine.run = lambda found, argv: printed("", 1) if "find" in argv else run(found, argv)
    assert stop(context, jupyter, labels).kernels == ()


def test_a_server_that_ended_by_itself_has_ended_its_kernels(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"other"}
    jupyter.marked = ["other"]
    assert stop(context, jupyter, on_gateway(jupyter), state="exited", exit_code=0).kernels == ()
    assert jupyter.kernels == {"other"}
    # The exit code of an ENTRYPOINT says nothing of the server's end.
    wrapped = stop(context, jupyter, on_gateway(jupyter), state="exited", exit_code=0, entrypoint=("/wrapper",))
    assert wrapped.kernels == ("other",)
    jupyter.kernels = {"other"}
    assert stop(context, jupyter, on_gateway(jupyter), state="exited", exit_code=137).kernels == ("other",)


def test_a_gateway_of_ours_gets_its_own_token(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.marked = ["a"]
    jupyter.kernels = {"a"}
    labels = on_gateway(jupyter)
    name = gateway_name("unit", "0" * 12)
    jupyter.engine.change("gw", name=name, labels=gateway_labels("unit", "me", "mark"))
    info = session_info(labels, environment={"JUPYTER_GATEWAY_AUTH_TOKEN": "another's"})
    assert stop_session(context, info, labels).kernels_gone == ("a",)
    assert set(jupyter.authorizations) == {f"token {GATEWAY_TOKEN}"}


def by_url(jupyter: FakeJupyter, url: str) -> SessionLabels:
    """The labels of a session with kernels on a gateway of ours, which a URL named; its IP is no one of this host's."""
    name = gateway_name("unit", "0" * 12)
    ours = container(
        id="9" * 64, name=name, labels=gateway_labels("unit", "me", "mark"), networks={"bridge": "172.17.0.3"}
    )
    jupyter.engine.known[ours.id] = ours
    return session_labels(Gateway(name=url, url=url.format(name=name)))


@pytest.mark.parametrize("url", ["http://172.17.0.3:8888", "http://{name}:8888"])
@pytest.mark.parametrize("exit_code", [None, 137], ids=["stopped", "killed"])
def test_a_gateway_of_ours_by_url_is_asked_from_inside(
    context: Context, jupyter: FakeJupyter, events: list[Event], url: str, exit_code: int | None
) -> None:
    jupyter.marked = ["a"]
    jupyter.kernels = {"a", "other"} if exit_code else {"a"}
    labels = by_url(jupyter, url)
    changes = {} if exit_code is None else {"state": "exited", "exit_code": exit_code}
    report = stop(context, jupyter, labels, **changes)
    assert (report.kernels, report.kernels_gone) == (("a",), ("a",))
    assert "a" not in jupyter.kernels
    assert not any(kind is EventKind.WARNING for kind, _ in kinds(events))


@pytest.mark.parametrize(
    ("url", "networks"),
    [
        ("https://172.17.0.3:8888", {"bridge": ""}),
        ("http://172.17.0.3:8888", {"another": ""}),
        ("http://172.17.0.4:8888", {"bridge": ""}),
    ],
)
def test_a_url_that_leads_elsewhere_is_no_gateway_of_ours(
    context: Context, jupyter: FakeJupyter, events: list[Event], url: str, networks: dict[str, str]
) -> None:
    labels = by_url(jupyter, url)
    assert stop(context, jupyter, labels, state="exited", exit_code=137, networks=networks).kernels == ()
    assert any(kind is EventKind.WARNING for kind, _ in kinds(events))
    assert jupyter.engine.execs == []


def test_kernels_that_carry_the_mark_by_a_mix_up_are_left_and_told_of(
    context: Context, jupyter: FakeJupyter, events: list[Event]
) -> None:
    number = f"1795651868.082-{'1' * 32}"
    jupyter.kernels = {"own", "other"}
    jupyter.marked = [f"own {number} 1795651868.100000000 9", f"other {number} 1795651868.200000000 5"]
    report = stop_session(context, session_info(), on_gateway(jupyter))
    assert (report.kernels, report.kernels_gone, report.kernels_of_others) == (("own",), ("own",), ("other",))
    assert jupyter.kernels == {"other"}
    text = "kernels other carry the session's mark by a mix-up of the gateway, and were left alone"
    assert (EventKind.WARNING, text) in kinds(events)
