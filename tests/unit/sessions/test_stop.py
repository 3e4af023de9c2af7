"""Stopping step by step: the server, its kernels, its container, and nothing of somebody else's."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

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
from jupyter_launcher.sessions import stop as stop_module
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.labels import SessionLabels
from tests.unit.fakes import (
    TOKEN,
    FakeEngine,
    FakeJupyter,
    container,
    http_server,
    launcher_context,
    not_run,
    printed,
    refusal,
    session_info,
    session_labels,
)


def stop(context: Context, jupyter: FakeJupyter, labels: SessionLabels | None = None, **changes: Any) -> StopReport:
    """Stop a session that is there in this state."""
    labels = labels or session_labels()
    info = jupyter.add(session_info(labels, **changes))
    return stop_session(context, info, labels)


def on_gateway(jupyter: FakeJupyter, **changes: Any) -> SessionLabels:
    """The labels of a session with kernels on a gateway, which is at the same address."""
    gateway = Gateway(**{"name": "gw", "url": jupyter.url.rstrip("/"), "container_id": "9" * 64, **changes})
    if gateway.container_id is not None:
        jupyter.engine.known[gateway.container_id] = container(id=gateway.container_id, name="gw")
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
    assert stop_session(context, info, session_labels(), token=TOKEN).method is StopMethod.API
    assert jupyter.engine.execs == []


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
    monkeypatch.setattr(stop_module, "_TOKEN_SECONDS", 0.0)
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


def test_a_paused_session_is_killed_without_being_asked(context: Context, jupyter: FakeJupyter) -> None:
    assert stop(context, jupyter, state="paused").method is StopMethod.KILLED
    assert (jupyter.asked, jupyter.engine.execs) == ([], [])
    assert jupyter.engine.known == {}


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


def test_kernels_that_are_left_on_the_gateway_are_deleted(context: Context, jupyter: FakeJupyter) -> None:
    jupyter.kernels = {"a"}
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
    assert [argv[0] for argv in engine.execs] == ["sh", "python3", "python3", "python3"]


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
