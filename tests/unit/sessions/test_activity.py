"""What a session does and uses, and what is told where it does not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    ServerNotRunningError,
    ServerTimeoutError,
    Session,
    SessionNotFoundError,
    Stats,
    Timings,
)
from jupyter_launcher.server.api import JupyterApi, Response
from jupyter_launcher.sessions.context import Context
from tests.unit.fakes import FakeEngine, FakeJupyter, http_server, refusal, server_info, session_info, session_labels

STATUS = {"connections": 0, "started": "2023-11-14T22:13:20Z"}


@pytest.fixture
def session(context: Context, jupyter: FakeJupyter) -> Session:
    labels = session_labels()
    info = jupyter.add(session_info(labels))
    return Session(info, labels, server_info(), context=context, timings=Timings(), joined=False)


def test_a_server_is_asked_for_its_activity(session: Session, engine: FakeEngine) -> None:
    def answer(_method: str, path: str, _headers: dict[str, str]) -> tuple[int, bytes]:
        return 200, json.dumps(STATUS if "status" in path else []).encode()

    with http_server(answer) as url:
        engine.change(session.container_id, ports={"8888/tcp": (int(url.rstrip("/").rpartition(":")[2]),)})
        assert session.activity().last == 1_700_000_000


def test_the_engine_is_asked_for_what_a_session_uses(session: Session, engine: FakeEngine) -> None:
    engine.used = Stats(memory=5)
    engine.calls.clear()
    assert session.stats() == Stats(memory=5)
    assert [name for name, _ in engine.calls] == ["inspect", "stats"]


@pytest.mark.parametrize("ask", [Session.activity, Session.stats])
def test_a_session_that_has_ended_does_nothing(
    session: Session, engine: FakeEngine, ask: Callable[[Session], object]
) -> None:
    engine.end(session.container_id, 3)
    with pytest.raises(ServerNotRunningError, match="session one does not run") as caught:
        ask(session)
    assert (caught.value.exit_code, caught.value.session_id) == (3, "one")
    engine.remove(session.container_id)
    with pytest.raises(SessionNotFoundError, match="session one is gone"):
        ask(session)


def test_a_session_that_is_paused_does_not_tell_what_it_does(session: Session, engine: FakeEngine) -> None:
    engine.change(session.container_id, state="paused")
    with pytest.raises(ServerTimeoutError, match="is paused"):
        session.activity()


@pytest.mark.parametrize("answer", ["an error", "nothing"])
def test_a_session_that_ends_while_the_engine_is_asked(
    session: Session, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    def end(container: str) -> Stats:
        engine.end(container, 0)
        if answer == "an error":
            raise refusal(409, "it does not run")
        return Stats()

    monkeypatch.setattr(engine, "stats", end)
    with pytest.raises(ServerNotRunningError):
        session.stats()


def test_an_engine_that_tells_nothing_of_a_session_that_runs(session: Session, engine: FakeEngine) -> None:
    assert session.stats() == Stats()
    engine.fail("stats", refusal(500))
    with pytest.raises(EngineError):
        session.stats()


@pytest.mark.parametrize(("headers", "kills"), [({}, None), ({"x-jupyter-launcher-oom-kills": "2"}, 2)])
def test_the_status_has_what_the_server_tells_of_kills(
    session: Session, monkeypatch: pytest.MonkeyPatch, headers: Any, kills: int | None
) -> None:
    monkeypatch.setattr(JupyterApi, "_ask", lambda *_, **__: Response(200, [], headers))
    assert session.status().oom_kills == kills
    monkeypatch.setattr(JupyterApi, "_ask", lambda *_, **__: Response(403, [], headers))
    assert session.status().oom_kills is None
