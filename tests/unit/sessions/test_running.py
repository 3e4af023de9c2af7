"""A session that is paused, and goes on."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import EngineError, ExecError, ServerNotRunningError, SessionNotFoundError
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.sessions import running
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.running import pause_session, refuse_paused, resume_session
from jupyter_launcher.spec.server import read_script
from tests.unit.fakes import FakeEngine, FakeJupyter, refusal, session_info, session_labels


def renewals(engine: FakeEngine) -> int:
    return sum(read_script("renew_lease.sh") in argv for argv in engine.execs)


def paused(jupyter: FakeJupyter, state: str = "paused", **options: Any) -> ContainerInfo:
    return jupyter.add(session_info(session_labels(**options), state=state))


def test_a_session_that_runs_is_paused(context: Context, jupyter: FakeJupyter, engine: FakeEngine) -> None:
    info = paused(jupyter, "running")
    for _ in range(2):
        pause_session(context, info.id, session_labels())
        assert engine.known[info.id].state == "paused"


@pytest.mark.parametrize("lease", [None, 60])
def test_a_paused_session_goes_on_with_a_new_lease(
    context: Context, jupyter: FakeJupyter, engine: FakeEngine, lease: int | None
) -> None:
    info, labels = paused(jupyter, lease=lease), session_labels(lease=lease)
    resume_session(context, info.id, labels)
    assert (engine.known[info.id].state, renewals(engine)) == ("running", 0 if lease is None else 1)
    resume_session(context, info.id, labels)
    assert [call for call, _ in engine.calls].count("unpause") == 1


@pytest.mark.parametrize("act", [pause_session, resume_session])
def test_a_session_that_does_not_run_is_neither_paused_nor_resumed(
    context: Context, jupyter: FakeJupyter, engine: FakeEngine, act: type
) -> None:
    info = paused(jupyter, "exited")
    with pytest.raises(ServerNotRunningError, match="session one does not run"):
        act(context, info.id, session_labels())
    with pytest.raises(SessionNotFoundError, match="session one is gone"):
        act(context, "none", session_labels())
    assert not {"pause", "unpause"} & {call for call, _ in engine.calls}


@pytest.mark.parametrize(("status", "seconds"), [(409, 60.0), (500, 0.1)])
def test_an_engine_that_cannot_pause_says_so(
    context: Context,
    jupyter: FakeJupyter,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    seconds: float,
) -> None:
    monkeypatch.setattr(running, "_PAUSE_SECONDS", seconds)
    info = paused(jupyter, "running")
    engine.fail("pause", *[refusal(status, "no freezer")] * 100)
    with pytest.raises(EngineError, match="no freezer"):
        pause_session(context, info.id, session_labels())


def test_a_busy_machine_is_asked_again(context: Context, jupyter: FakeJupyter, engine: FakeEngine) -> None:
    info = paused(jupyter, "running")
    engine.fail("pause", refusal(500, "unable to freeze"))
    pause_session(context, info.id, session_labels())
    assert engine.known[info.id].state == "paused"


def test_of_a_paused_session_nobody_can_tell_more() -> None:
    with pytest.raises(ExecError, match="session one is paused") as caught:
        refuse_paused(session_info(state="paused"), session_labels())
    assert (caught.value.started, "jupyter-launcher resume" in caught.value.hint) == (False, True)
    refuse_paused(session_info(state="running"), session_labels())
